"""What happens to every request of the vendor, whatever it asks for: limits, faults, counting, refusals as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from aiohttp import web

from cordboard.sandbox.access import Caller
from cordboard.sandbox.answers import Answer
from cordboard.sandbox.document import BASE_PATH
from cordboard.sandbox.faults import Effect
from cordboard.sandbox.intake import CALLER, response
from cordboard.sandbox.refusals import Broken, LimitExceeded, Refusal
from cordboard.sandbox.signatures import Evidence
from cordboard.sandbox.vendor import Vendor

CONTROL_PATH = "/_sandbox"
# The schemes whose signature may cover the body.
_SIGNED = frozenset({"oauth", "aws4-hmac-sha256"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Door:
    """The middleware of one vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._numbers = count(1)

    @web.middleware
    async def pass_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets the request through to its handler, and spoils it when a fault says so."""
        path = request.path
        request_id = f"req_{next(self._numbers):08d}"
        if path.startswith(CONTROL_PATH):
            return await _answered(request, handler, request_id)
        vendor = self._vendor
        traffic = vendor.traffic
        seen = traffic.arrived(request.method, path, request.query_string, request.headers)
        effect = vendor.faults.strike(request.method, path)
        answer: web.StreamResponse | None = None
        try:
            headers = {"X-Request-Id": request_id}
            if path.startswith(f"{BASE_PATH}/"):
                handler = await self._limited(request, handler, headers)
            answer = await _under(effect, request, handler, request_id)
            answer.headers.update(headers)
        finally:
            traffic.left(seen, _route(request), status=None if answer is None else answer.status, cut=effect.cut)
        return await _cut(request, answer) if effect.cut else answer

    async def _limited(self, request: web.Request, handler: Handler, headers: dict[str, str]) -> Handler:
        """Finds out who is calling and counts the request; returns the handler, or one that refuses."""
        vendor = self._vendor
        caller: Caller | Refusal
        try:
            caller = vendor.access.caller(await _evidence(request))
        except Refusal as refusal:
            caller = refusal
        request[CALLER] = caller
        allowance = vendor.rate_limit.take("" if isinstance(caller, Refusal) else caller.id)
        headers.update(allowance.headers())
        if allowance.allowed:
            return handler

        async def refuse(_request: web.Request) -> web.StreamResponse:
            raise LimitExceeded(allowance.reset_seconds)

        return refuse


async def _evidence(request: web.Request) -> Evidence:
    """Returns what the request proves who sent it with; its body is read for the schemes that sign it."""
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    body = await request.read() if scheme in _SIGNED else b""
    peer = None if request.transport is None else request.transport.get_extra_info("peercert")
    names = dict(pair for group in (peer or {}).get("subject", ()) for pair in group)
    return Evidence(
        request.method,
        request.raw_path,
        f"{request.scheme}://{request.host}{request.raw_path}",
        request.headers,
        request.query,
        request.cookies,
        body,
        names.get("commonName", ""),
    )


async def _under(effect: Effect, request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    """Returns the answer as the effect leaves it."""
    if effect.latency_seconds and not effect.after_work:
        await asyncio.sleep(effect.latency_seconds)
    if effect.status is None or effect.after_work:
        answer = await _answered(request, handler, request_id)
    if effect.latency_seconds and effect.after_work:
        await asyncio.sleep(effect.latency_seconds)
    if effect.status is None:
        return answer
    return response(Answer.refusing(Broken(effect.status, retry_after=effect.retry_after), request_id=request_id))


async def _answered(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    """Returns the handler's answer; a refusal of ours or of the HTTP layer becomes an error answer."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return response(Answer.refusing(refusal, request_id=request_id))
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        told = Refusal(refusal.reason, headers={"Allow": refusal.headers["Allow"]} if refusal.status == 405 else None)
        told.status, told.code = refusal.status, _CODES.get(refusal.status, "bad_request")
        return response(Answer.refusing(told, request_id=request_id))


async def _cut(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """Sends the beginning of the answer, and closes the connection where the rest should come."""
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    torn = web.StreamResponse(status=answer.status, headers=answer.headers)
    torn.content_length = max(2, len(body))
    await torn.prepare(request)
    await torn.write(body[: len(body) // 2] or b"{")
    if request.transport is not None:
        request.transport.close()
    return torn


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(none)"
