"""Looks at a sample of the answers of vendors, beside the calls, and tells the Catalog where definitions have fallen
behind.

Of each action of a version one answer is looked at now and then, whatever the number of calls, and nobody waits for it.
It is no record: what was found is lost when the Proxy is killed, and a report that may have arrived is told again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import grpc

from cordboard.catalog.v1.drift_service_pb2 import ReportDriftRequest
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceStub
from cordboard.core.channel import Channels, failure
from cordboard.planning.answers import Answer
from cordboard.proxy.definitions import Action
from cordboard.proxy.drift_signs import Sign, signs_of_answer, signs_of_refusal
from cordboard.proxy.target import Target

logger = logging.getLogger(__name__)

REPORT_EVERY: Final = 5.0
REPORT_SECONDS: Final = 10.0
# A larger answer is not looked at: reading it again would cost more than it tells.
MAX_BYTES: Final = 256 * 1024
# Answers that wait to be looked at; what comes beyond them is not.
MAX_WAITING: Final = 32
# As many as a report may have, and signs of each.
MAX_LOOKS: Final = 1_000
MAX_SIGNS: Final = 50
# Actions of which it is known when they were looked at last.
MAX_KNOWN: Final = 20_000

Key = tuple[str, str, str]
"""An integration, a version, and an action."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    key: Key
    action: Action
    answer: Answer
    trace_id: str
    refused: bool
    reads_output: bool


@dataclass(slots=True)
class _Found:
    answers: int = 0
    last: float = 0.0
    signs: dict[Sign, tuple[int, str]] = field(default_factory=dict)
    """In how many answers, and the trace of the last one."""

    def add(self, signs: dict[Sign, tuple[int, str]], answers: int, last: float) -> None:
        self.answers += answers
        self.last = max(self.last, last)
        for sign, (count, trace_id) in signs.items():
            if sign in self.signs or len(self.signs) < MAX_SIGNS:
                self.signs[sign] = (self.signs.get(sign, (0, ""))[0] + count, trace_id)


class Drift:
    """Compares answers with definitions."""

    def __init__(self, channels: Channels, *, every: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Takes the way to the Catalog, after how many seconds another answer of one action is looked at (0: none ever
        is), and the time; `look` and `run` have to run.
        """
        self._channels = channels
        self._every = every
        self._monotonic = monotonic
        self._next: dict[tuple[Key, bool], float] = {}
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._found: dict[Key, _Found] = {}
        self._looking = False

    @property
    def idle(self) -> bool:
        """Tells whether every answer that was taken has been looked at."""
        return self._waiting.empty() and not self._looking

    def answered(self, target: Target, answer: Answer, trace_id: str, *, streams: bool) -> None:
        """Takes a success; `streams` tells that its body is not in it."""
        self._consider(target, answer, trace_id, refused=False, streams=streams)

    def refused(self, target: Target, answer: Answer, trace_id: str) -> None:
        """Takes an error."""
        self._consider(target, answer, trace_id, refused=True, streams=False)

    def _consider(self, target: Target, answer: Answer, trace_id: str, *, refused: bool, streams: bool) -> None:
        if not self._every:
            return
        key = (target.definition.slug, target.definition.version, target.action.id)
        now = self._monotonic()
        # Errors have a turn of their own: an action that mostly fails is looked at all the same.
        if now < self._next.get((key, refused), 0.0) or self._waiting.full() or len(answer.body) > MAX_BYTES:
            return
        if len(self._next) >= MAX_KNOWN:
            self._next.clear()
        self._next[key, refused] = now + self._every
        reads_output = target.action.describes_output and not streams
        self._waiting.put_nowait(_Waiting(key, target.action, answer, trace_id, refused, reads_output))

    async def look(self) -> None:
        """Looks at answers, for ever, one after the other."""
        while True:
            one = await self._waiting.get()
            self._looking = True
            try:
                await self._look_at(one)
            except Exception as error:
                # Whatever a vendor sends, the next answer is looked at.
                logger.error("an answer could not be looked at", extra={"action": one.action.name}, exc_info=error)
            finally:
                self._looking = False

    async def _look_at(self, one: _Waiting) -> None:
        signs = await asyncio.to_thread(_signs, one)
        if one.key in self._found or len(self._found) < MAX_LOOKS:
            found = self._found.setdefault(one.key, _Found())
            found.add(dict.fromkeys(signs, (1, one.trace_id)), 1, time.time())

    async def run(self) -> None:
        """Tells the Catalog what was found, for ever."""
        while True:
            await asyncio.sleep(REPORT_EVERY)
            await self.report()

    async def report(self) -> None:
        """Tells the Catalog what was found since the last report; keeps it for the next one where that fails."""
        if not self._found:
            return
        found, self._found = self._found, {}
        try:
            stub = DriftServiceStub(self._channels.to("catalog"))
            await stub.ReportDrift(_request(found), timeout=REPORT_SECONDS)
        except (grpc.aio.AioRpcError, KeyError) as error:
            code = failure(error)
            logger.warning("drift was not reported", extra={"code": code})
            # What is refused would be refused again.
            if code != grpc.StatusCode.INVALID_ARGUMENT.name:
                self._keep(found)

    def _keep(self, found: dict[Key, _Found]) -> None:
        for key, one in found.items():
            if key in self._found or len(self._found) < MAX_LOOKS:
                self._found.setdefault(key, _Found()).add(one.signs, one.answers, one.last)


def _signs(one: _Waiting) -> list[Sign]:
    if one.refused:
        return signs_of_refusal(one.answer)
    return signs_of_answer(one.action, one.answer, reads_output=one.reads_output)


def _request(found: dict[Key, _Found]) -> ReportDriftRequest:
    request = ReportDriftRequest()
    for (integration, version, action), one in found.items():
        look = request.looks.add(integration=integration, version=version, action=action, answers=one.answers)
        look.last_time.FromNanoseconds(int(one.last * 1e9))
        for (kind, place, rule), (answers, trace_id) in one.signs.items():
            look.signs.add(kind=kind, place=place, rule=rule, answers=answers, trace_id=trace_id)
    return request
