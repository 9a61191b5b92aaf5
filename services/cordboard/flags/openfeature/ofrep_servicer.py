"""OfrepService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api.httpbody_pb2 import HttpBody

from cordboard.core import headers
from cordboard.core.caller import current_caller
from cordboard.core.http_answers import STATUS
from cordboard.flags.evaluation import context_of
from cordboard.flags.openfeature import ofrep
from cordboard.flags.openfeature.ofrep_events import CONTENT_TYPE, streams
from cordboard.flags.v1 import ofrep_service_pb2 as pb
from cordboard.flags.v1.ofrep_service_pb2_grpc import OfrepServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.experiments.exposures import Exposures
    from cordboard.flags.openfeature.ofrep_events import OfrepEvents
    from cordboard.flags.openfeature.tickets import Tickets


class OfrepServicer(OfrepServiceServicer):
    """Serves OFREP."""

    def __init__(self, live: LiveFlags, exposures: Exposures, tickets: Tickets, events: OfrepEvents) -> None:
        """Takes the set that holds now, what experiments want to know, what opens streams, and what is told there."""
        self._live = live
        self._exposures = exposures
        self._tickets = tickets
        self._events = events

    async def EvaluateOfrepFlag(self, request: pb.EvaluateOfrepFlagRequest, context: Any) -> HttpBody:
        try:
            known = context_of(current_caller(), ofrep.context_of(request.body.data))
        except ofrep.RequestUnusable as problem:
            return await sent(ofrep.refusal(problem, request.key), context)
        self._exposures.note(current_caller(), request.key, known)
        return await sent(ofrep.one(self._live.flags, request.key, known), context)

    async def EvaluateOfrepFlags(self, request: pb.EvaluateOfrepFlagsRequest, context: Any) -> HttpBody:
        try:
            known = context_of(current_caller(), ofrep.context_of(request.body.data))
        except ofrep.RequestUnusable as problem:
            return await sent(ofrep.refusal(problem), context)
        told = streams(await self._tickets.give())
        seen = headers.combined(context, "if-none-match")
        return await sent(ofrep.every(self._live.flags, known, seen, told), context)

    async def WatchOfrepEvents(self, request: pb.WatchOfrepEventsRequest, context: Any) -> AsyncIterator[HttpBody]:
        stream = self._events.stream(request.ticket, headers.combined(context, "last-event-id"))
        async for text in stream:
            yield HttpBody(content_type=CONTENT_TYPE, data=text)


async def sent(answer: ofrep.Answer, context: Any) -> HttpBody:
    """Sends what Envoy needs for an answer ahead of it, and returns its body."""
    tag = (("etag", answer.tag),) if answer.tag else ()
    # What a workspace gets is nobody else's, and no cache between may keep it for the next one.
    caching = ("cache-control", "private, no-cache")
    await context.send_initial_metadata(((STATUS, str(answer.status)), caching, *tag))
    return HttpBody(content_type="application/json", data=answer.body)
