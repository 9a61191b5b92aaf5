"""One attempt: sends a request to the vendor, inside a CLIENT span of its own, and reads the answer whole."""

from __future__ import annotations

import contextlib
import math
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from opentelemetry.trace import Span, SpanKind
from yarl import URL

from cordboard.core import telemetry
from cordboard.core.egress import ResponseTooLarge, read_limited
from cordboard.core.measures import Histogram, Measures
from cordboard.core.times import Clock
from cordboard.planning.answers import Answer, read_answer
from cordboard.planning.dialect import Dialect
from cordboard.proxy.credentials import Ready, new_nonce
from cordboard.proxy.feed import Feed
from cordboard.proxy.retry import Fate
from cordboard.proxy.signing.certificates import Certificates
from cordboard.proxy.signing.digest import authorization, strongest
from cordboard.proxy.stages import SEND

TOO_LARGE: Final = "response_too_large"
TIMEOUT: Final = "timeout"
# The library rounds five seconds and more up to a whole second, which is after the deadline.
_EXACT: Final = math.inf


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


def attempt_durations(measures: Measures) -> Histogram:
    """Returns the measure of attempts (semantic conventions: http.client.request.duration, in seconds)."""
    labels = ("http.request.method", "http.response.status_code", "error.type", telemetry.INTEGRATION)
    return measures.histogram("http.client.request.duration", "s", labels)


class Unanswered(Exception):
    """An attempt got no answer."""

    def __init__(self, fate: Fate, problem: str) -> None:
        """Takes what is known of the request, and a fixed word for the problem."""
        super().__init__(problem)
        self.fate = fate
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Timing:
    timeout: float
    feed: Feed | None


class Sender:
    """Sends requests."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock, max_bytes: int, attempts: Histogram) -> None:
        """Takes a session of the mesh's egress, how large an answer may be, and what counts attempts."""
        self._session = session
        self._clock = clock
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._certificates = Certificates()

    async def send(
        self,
        request: Ready,
        url: URL,
        dialect: Dialect,
        *,
        timeout: float,
        resend: int,
        labels: Mapping[str, str],
        feed: Feed | None = None,
    ) -> Answer:
        """Returns the vendor's answer, whatever its status; raises Unanswered, and EgressDenied at the socket.

        A Digest challenge is answered here: it is a part of the attempt, within its time and in its span. Raises
        ReconnectRequired where the client certificate cannot be shown.

        With a `feed` an answer of 200 to 299 comes without a body: the feed has it.

        `url` is the request's, checked; `timeout` is in seconds; `resend` counts the attempts before this one;
        `labels` are attributes of the span.
        """
        span = telemetry.tracer().start_span(
            SEND,
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": request.method,
                "url.template": request.template,
                "server.address": url.raw_host or "",
                "server.port": url.port or 0,
                **labels,
                **({"http.request.resend_count": resend} if resend else {}),
            },
        )
        began, status, problem = self._clock.monotonic(), "", ""
        try:
            headers = {**request.headers, **trace_headers(span)}
            answer = await self._exchange(request, url, headers, dialect, _Timing(timeout, feed))
        except BaseException as error:
            telemetry.mark_failed(span, error)
            problem = type(error).__name__
            if isinstance(error, Unanswered):
                problem = error.problem
                span.set_attribute("error.type", error.problem)
            raise
        else:
            status = str(answer.status)
            problem = status if answer.status >= 400 else ""
            telemetry.mark_answered(span, answer.status)
            return answer
        finally:
            integration = labels.get(telemetry.INTEGRATION, "")
            self._attempts.record(
                self._clock.monotonic() - began, (_method(request.method), status, problem, integration)
            )
            span.end()

    async def pieces(self, feed: Feed) -> AsyncGenerator[bytes]:
        """Yields the body of an answer as it comes; raises Unanswered where it breaks off."""
        with _told():
            async for piece in feed.pieces():
                yield piece

    async def _exchange(
        self, request: Ready, url: URL, headers: dict[str, str], dialect: Dialect, timing: _Timing
    ) -> Answer:
        begin = self._clock.monotonic()
        feed = timing.feed
        with _told():
            tls: ssl.SSLContext | bool = True
            if request.certificate is not None:
                tls = await self._certificates.context(request.certificate)
            asked = request.user is not None
            while True:
                left = max(0.001, timing.timeout - (self._clock.monotonic() - begin))
                async with contextlib.AsyncExitStack() as stack:
                    response = await stack.enter_async_context(
                        self._session.request(
                            request.method,
                            url,
                            data=request.body,
                            headers=headers,
                            allow_redirects=False,
                            timeout=_timeout(left, feed),
                            ssl=tls,
                        )
                    )
                    if feed is not None and 200 <= response.status < 300:
                        feed.open(response, stack.pop_all())
                        return read_answer(response.status, response.headers, b"", dialect, self._clock.now())
                    body = await read_limited(response, self._max_bytes)
                    challenge = None
                    if asked and request.user is not None and response.status == 401:
                        challenge = strongest(response.headers.getall("WWW-Authenticate", []))
                    if challenge is None or request.user is None:
                        return read_answer(response.status, response.headers, body, dialect, self._clock.now())
                # Once: whoever asks again has refused the answer.
                asked = False
                value = authorization(challenge, request.user, request.method, url.raw_path_qs, new_nonce())
                headers = {**headers, "Authorization": value}


def _timeout(left: float, feed: Feed | None) -> aiohttp.ClientTimeout:
    connect = min(left, 3.0)
    if feed is None:
        return aiohttp.ClientTimeout(total=left, sock_connect=connect, ceil_threshold=_EXACT)
    # A stream may take as long as its caller waits; it is silence that is bounded.
    return aiohttp.ClientTimeout(total=feed.longest, sock_connect=connect, sock_read=left, ceil_threshold=_EXACT)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tells in our words how an exchange broke off."""
    try:
        yield
    except ResponseTooLarge:
        raise Unanswered(Fate.LOST, TOO_LARGE) from None
    except aiohttp.ClientConnectorDNSError:
        raise Unanswered(Fate.NOT_SENT, "dns") from None
    except (aiohttp.ClientSSLError, ssl.SSLError):
        raise Unanswered(Fate.NOT_SENT, "tls") from None
    except aiohttp.ClientConnectorError:
        raise Unanswered(Fate.NOT_SENT, "refused") from None
    except aiohttp.ConnectionTimeoutError:
        raise Unanswered(Fate.NOT_SENT, TIMEOUT) from None
    except TimeoutError:
        raise Unanswered(Fate.LOST, TIMEOUT) from None
    except (aiohttp.ClientError, HttpProcessingError, OSError):
        raise Unanswered(Fate.LOST, "reset") from None


def trace_headers(span: Span) -> dict[str, str]:
    """Returns the headers that tell the vendor the trace (W3C); none outside of one."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    # No tracestate: what other people's tracing says of a caller is not the vendor's to know.
    return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


def _method(given: str) -> str:
    # The conventions' word for what a definition may have invented.
    return given if given in _METHODS else "_OTHER"
