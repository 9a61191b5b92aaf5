"""Webhooks as HTTP: `/webhooks/{token}` behind Envoy. What is answered with 200 is committed."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from aiohttp import web
from opentelemetry.trace import SpanKind

from cordboard.core import telemetry
from cordboard.core.errors import CordboardError, NotFound
from cordboard.core.telemetry import INTEGRATION, WORKSPACE
from cordboard.planning.webhooks import Arrived, Forged, TooMany

if TYPE_CHECKING:
    from cordboard.core.measures import Measures
    from cordboard.proxy.events.event import Endpoint
    from cordboard.proxy.events.intake import Intake

logger = logging.getLogger(__name__)

WEBHOOKS: Final = "/webhooks/"
SPAN: Final = "POST /webhooks/{token}"
RETRY_AFTER: Final = "5"


class Door:
    """Answers vendors."""

    def __init__(self, intake: Intake, measures: Measures, longest: int) -> None:
        """Takes what keeps events, what counts requests, and the most bytes of a body."""
        self._intake = intake
        self._longest = longest
        self._requests = measures.histogram(
            "cordboard.webhook.duration", "s", (WORKSPACE, INTEGRATION, "cordboard.outcome")
        )

    async def answer(self, request: web.Request) -> web.Response:
        """Returns the answer to a vendor's request. Whoever is refused is not told why."""
        began = time.monotonic()
        with telemetry.tracer().start_as_current_span(
            SPAN, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            endpoint: Endpoint | None = None
            outcome, response = "unknown", web.Response(status=404)
            try:
                if request.method not in ("POST", "GET"):
                    return web.Response(status=405, headers={"Allow": "GET, POST"})
                endpoint = await self._intake.endpoint(request.match_info["token"])
                span.set_attributes({WORKSPACE: endpoint.workspace_id, INTEGRATION: endpoint.integration})
                body = await self._body(request)
                if body is None:
                    outcome, response = "too_large", web.Response(status=413)
                else:
                    taken = await self._intake.take(endpoint, _arrived(request, body))
                    outcome = "kept" if taken.new else "repeated" if taken.told else "challenge"
                    response = _answered(taken.body)
            except Forged:
                outcome, response = "forged", web.Response(status=401)
                logger.warning("a webhook was refused", extra={"endpoint": endpoint.name if endpoint else ""})
            except TooMany:
                outcome, response = "too_large", web.Response(status=413)
            except NotFound:
                outcome, response = "unknown", web.Response(status=404)
            except CordboardError as error:
                telemetry.mark_failed(span, error)
                outcome, response = "failed", web.Response(status=503, headers={"Retry-After": RETRY_AFTER})
            except Exception as error:
                logger.error("a webhook could not be taken", exc_info=error)
                outcome, response = "failed", web.Response(status=503, headers={"Retry-After": RETRY_AFTER})
            # An address that nobody made belongs to no workspace: a guess must not make a label.
            labels = (endpoint.workspace_id, endpoint.integration) if endpoint is not None else ("", "")
            self._requests.record(time.monotonic() - began, (*labels, outcome))
            return response

    async def _body(self, request: web.Request) -> bytes | None:
        if (request.content_length or 0) > self._longest:
            return None
        chunks, size = [], 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > self._longest:
                return None
            chunks.append(chunk)
        return b"".join(chunks)


def _arrived(request: web.Request, body: bytes) -> Arrived:
    headers: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in request.raw_headers:
        headers[name.decode("latin-1").lower()].append(value.decode("utf-8", "replace"))
    return Arrived(request.method, headers, dict(request.query), body)


def _answered(body: bytes) -> web.Response:
    if not body:
        return web.Response()
    kind = "application/json" if body.startswith(b"{") else "text/plain"
    # What a vendor asks back is its own text: no browser is to read more into it.
    return web.Response(body=body, headers={"Content-Type": kind, "X-Content-Type-Options": "nosniff"})
