"""Logging in at a vendor by the request that a definition declares: a token for what a person typed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import aiohttp
from opentelemetry.trace import SpanKind

from cordboard.auth.oauth import MAX_ANSWER_BYTES, REFRESH_SECONDS, Granted, Refused, at, is_token, life, parsed, pause
from cordboard.auth.schemes import filled, filled_url
from cordboard.core.egress import ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import EgressDenied
from cordboard.core.secrets import Secret
from cordboard.core.telemetry import mark_answered, mark_asked, span

if TYPE_CHECKING:
    from cordboard.auth.schemes import Login

# The vendor says that what was typed in is wrong: nothing but other values will help.
_WRONG: Final = frozenset({400, 401, 403, 422})


class Logins:
    """Logs in at vendors, through the guarded way out."""

    def __init__(self, session: aiohttp.ClientSession, *, plain_http: bool) -> None:
        """Takes a session of `Egress`; `plain_http` allows http, for vendors inside a private network."""
        self._session = session
        self._schemes = ("https", "http") if plain_http else ("https",)

    async def log_in(self, login: Login, values: Mapping[str, Secret[str]]) -> Granted | Refused:
        """Returns what came of the request; it raises nothing."""
        headers = {name: filled(text, values) for name, text in login.headers.items()}
        body = {name: filled(text, values) for name, text in login.body.items()}
        if any(not text.isprintable() for text in headers.values()):
            return Refused("values_malformed")
        data: bytes | None = None
        if login.body and login.encoding == "form":
            headers["Content-Type"], data = "application/x-www-form-urlencoded", urlencode(body).encode()
        elif login.body:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        try:
            target = check_url(filled_url(login.url, values))
            if target.scheme not in self._schemes:
                return Refused("insecure_endpoint")
            with span("session login", SpanKind.CLIENT) as asked:
                mark_asked(asked, login.method, target.host, target.port)
                async with self._session.request(
                    login.method,
                    target,
                    data=data,
                    headers={"Accept": "application/json", **headers},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=REFRESH_SECONDS, sock_connect=3.0),
                ) as response:
                    mark_answered(asked, response.status)
                    answer = await read_limited(response, MAX_ANSWER_BYTES)
                    return _read(login, response, answer)
        except EgressDenied:
            return Refused("egress_denied")
        except ResponseTooLarge:
            return Refused("answer_too_large")
        except TimeoutError:
            return Refused("timeout")
        except (aiohttp.ClientError, OSError, ValueError):
            return Refused("unreachable")


def _read(login: Login, response: aiohttp.ClientResponse, body: bytes) -> Granted | Refused:
    if not 200 <= response.status < 300:
        retry = pause(response.headers.get("Retry-After", ""))
        return Refused(f"http_{response.status}", response.status in _WRONG, retry)
    document = parsed(body)
    kind, _, name = login.token.partition(":")
    if kind == "header":
        token: object = response.headers.get(name)
    elif kind == "cookie":
        token = _cookie(response.headers.getall("Set-Cookie", []), name)
    else:
        token = at(document, login.token)
    if not isinstance(token, str) or not is_token(token):
        return Refused("answer_invalid")
    try:
        seconds = life(at(document, login.expires_in)) if login.expires_in else None
    except ValueError:
        return Refused("answer_invalid")
    return Granted(Secret(token), None, seconds or login.seconds, None)


def _cookie(headers: list[str], name: str) -> str | None:
    for header in headers:
        try:
            found = SimpleCookie(header).get(name)
        except CookieError:
            continue
        if found is not None:
            return found.value
    return None
