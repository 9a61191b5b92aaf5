"""Asks a vendor for what an action gives: plans a request, has it answered, and reads the output."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer
from cordboard.planning.decoders import Undecodable
from cordboard.planning.plan import Outbound
from cordboard.proxy.backends.hub import Errand, Hub
from cordboard.proxy.calls import Call
from cordboard.proxy.definitions import Action
from cordboard.proxy.exchange import Exchange
from cordboard.proxy.feed import Feed
from cordboard.proxy.refusals import mismatch
from cordboard.proxy.stages import PLAN
from cordboard.proxy.target import Target
from cordboard.proxy.vendor_jobs import Finished, finish

T = TypeVar("T")


class Asking:
    """The stages from the plan to the output."""

    def __init__(self, exchange: Exchange, hub: Hub) -> None:
        """Takes what sends requests and gets answers, and what runs actions at the hub."""
        self.exchange = exchange
        self.hub = hub

    @staticmethod
    def planned(call: Call, target: Target, given: Mapping[str, Any]) -> Outbound:
        """Returns the request that an input makes; raises InvalidFields."""
        call.stages.enter(PLAN)
        action = target.action
        action.check(dict(given))
        if target.elsewhere:
            return Errand.of(given)
        place = target.place
        if action.statement is not None:
            return action.statement.query(action.plan.method, given, place.template)
        return action.plan.outbound(given, place.base, place.template, target.values, vendor_key(call, action))

    async def answered(
        self, call: Call, target: Target, request: Outbound, feed: Feed | None = None
    ) -> tuple[Answer, Target]:
        """Returns the answer to a request, as `Exchange.answer` does."""
        answer, used = await self.exchange.answer(call, target, request, keyed=target.action.takes_key, feed=feed)
        call.received += len(answer.body)
        return answer, used

    async def output(self, call: Call, target: Target, request: Outbound) -> tuple[Answer, Target]:
        """Returns the output of a request; raises VendorError where the answer cannot be read."""
        if isinstance(request, Errand):
            answer = await self.hub.output(call, target, request)
            call.received += len(answer.body)
            return answer, target
        answer, target = await self.answered(call, target, request)
        return await read_beside(call, target, answer, target.action.interpretation.output), target

    async def asked(self, call: Call, target: Target, given: Mapping[str, Any]) -> tuple[Answer, Target]:
        """Returns the output of an input."""
        return await self.output(call, target, self.planned(call, target, given))

    async def finished(self, call: Call, target: Target, started: Answer, job: pb.AsyncJob) -> Finished:
        """Waits for a job of the vendor's; returns how it ended."""
        return await finish(call, target, started, job, lambda other, given: self.asked(call, other, given))


def vendor_key(call: Call, action: Action) -> str:
    """Returns the idempotency key for the vendor: one of our own lets it know a repeated attempt for what it is."""
    return (call.order.idempotency_key or secrets.token_hex(16)) if action.takes_key else ""


async def read_beside(call: Call, target: Target, answer: Answer, read: Callable[[Answer], T]) -> T:
    """Returns what a reader makes of an answer; a large one is read beside the event loop."""
    try:
        if target.action.interpretation.is_quick(answer):
            return read(answer)
        return await asyncio.to_thread(read, answer)
    except Undecodable as problem:
        # The vendor did what was asked, and what it says of it cannot be given to anybody.
        call.doubtful = True
        raise mismatch(target, answer, str(problem)) from None
