"""Asks the candidate of a route what the primary was asked, and keeps how the answers differ. Nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import CordboardError
from cordboard.proxy.backends.difference import Difference, Manner, differences
from cordboard.proxy.backends.findings import Finding
from cordboard.proxy.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.planning.answers import Answer
    from cordboard.proxy.admission import Admission
    from cordboard.proxy.asking import Asking
    from cordboard.proxy.backends.findings import Findings
    from cordboard.proxy.backends.route import Route
    from cordboard.proxy.recorder import Recorder
    from cordboard.proxy.target import Target

logger = logging.getLogger(__name__)

# At once in this process; a comparison that finds no place is not made.
MOST_AT_ONCE: Final = 16
LONGEST: Final = 60.0
_QUICK: Final = 256 * 1024


class Shadow:
    """Compares candidates with primaries."""

    def __init__(
        self,
        admission: Admission,
        asking: Asking,
        findings: Findings,
        recorder: Recorder,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Takes the stages of a call, and where findings go; `draw` gives random numbers in [0, 1)."""
        self._admission = admission
        self._asking = asking
        self._findings = findings
        self._recorder = recorder
        self._draw = draw
        self._running: set[asyncio.Task[None]] = set()

    def consider(self, call: Call, target: Target, answer: Answer) -> None:
        """Has the candidate asked too, where there is one, the call only reads, and its turn comes."""
        route = self._admission.routes.route(call.order.workspace, target.definition.slug)
        if route is None or route.candidate is None or not route.shadow_rate or target.via != route.primary:
            return
        if not target.action.safe or len(self._running) >= MOST_AT_ONCE or self._draw() >= route.shadow_rate:
            return
        took = time.monotonic() - call.began
        task = asyncio.create_task(self._compare(route, call, target, answer, took))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Gives up what is under way."""
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nobody waits for it, so this is the only place where it can be told.
            logger.error("a comparison broke off", exc_info=error)

    async def _compare(self, route: Route, call: Call, target: Target, answer: Answer, took: float) -> None:
        order = replace(call.order, idempotency_key="", background=True, remaining=LONGEST)
        shadow = Call(order)
        shadow.given = call.given
        shadow.integration, shadow.version = call.integration, call.version
        found: list[Difference] = []
        failure = ""
        error: CordboardError | None = None
        try:
            other = await self._asked(shadow, route, target)
            found = await _told_apart(answer, other)
        except CordboardError as problem:
            error = problem
        row = shadow.record(error)
        if error is not None:
            failure = row.reason
        # The vendor was asked, so there is a record of it; it is no call of its caller's.
        await self._recorder.record(replace(row, action=f"shadow.{row.action}"))
        finding = Finding(route, order.action, call.name, took, shadow.duration, found, failure)
        try:
            await self._findings.add(finding)
        except CordboardError as problem:
            logger.warning("a comparison was not kept", extra={"problem": type(problem).__name__})

    async def _asked(self, shadow: Call, route: Route, target: Target) -> Answer:
        with self._admission.admitted(shadow):
            other = await self._admission.candidate(shadow, route, target)
            request = self._asking.planned(shadow, other, shadow.given)
            with self._admission.room(shadow, target.definition.slug):
                answer, _ = await self._asking.output(shadow, other, request)
                return answer


async def _told_apart(primary: Answer, candidate: Answer) -> list[Difference]:
    if max(len(primary.body), len(candidate.body)) <= _QUICK:
        return _differences(primary, candidate)
    return await asyncio.to_thread(_differences, primary, candidate)


def _differences(primary: Answer, candidate: Answer) -> list[Difference]:
    found = []
    if primary.status != candidate.status:
        found.append(Difference(Manner.STATUS, "", str(primary.status), str(candidate.status)))
    return found + differences(_value(primary), _value(candidate))


def _value(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.body
