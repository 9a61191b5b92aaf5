"""Envoy's spans where not all traces are kept: Envoy sends all of its own, and here they wait for what the mesh says.

Envoy cannot wait itself, and it begins a trace before anybody picks it. What the first service behind it picked is
soon in the store; what fails or is slow, for Envoy or for a service, is kept; everything else is let go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from cordboard.core.errors import CordboardError
from cordboard.core.layers import endless
from cordboard.core.measures import Reading
from cordboard.core.sampling import ERROR, HOLD_SECONDS, SLOW, Allowance
from cordboard.core.telemetry import KEPT
from cordboard.telemetry.spans import NANOS, Harvest
from cordboard.telemetry.v1.trace_service_pb2 import Span

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from cordboard.telemetry.intake import Intake
    from cordboard.telemetry.kept_traces import KeptTraces
    from cordboard.telemetry.spans import Resource, SpanRow

logger = logging.getLogger(__name__)

GATEWAY: Final = "envoy"
"""The service name of Envoy's spans."""
LOOK_AFTER: Final = 4.0
"""Seconds until the store is looked at: services send what they picked within one."""
EVERY: Final = 1.0


@dataclass
class _Waiting:
    since: float
    looked: bool = False
    rows: list[SpanRow] = field(default_factory=list)
    resources: dict[UUID, Resource] = field(default_factory=dict)


class GatewaySpans:
    """Holds Envoy's spans until their trace is kept, or nobody wanted it."""

    def __init__(
        self,
        intake: Intake,
        kept: KeptTraces,
        *,
        slow: float,
        most: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes where spans go, what knows the traces that are kept, and how many spans may wait."""
        self._intake = intake
        self._kept = kept
        self._slow_ns = slow * NANOS
        self._most = most
        self._now = now
        self._traces: OrderedDict[UUID, _Waiting] = OrderedDict()
        self._spans = 0
        self._allowance = Allowance(now)
        self._counts: Counter[str] = Counter()

    def readings(self) -> list[Reading]:
        """Returns, since the start, how many traces were kept and why, how many were not, and what waits now."""
        return [Reading((state,), float(count)) for state, count in [*self._counts.items(), ("waiting", self._spans)]]

    def without_held(self, taken: Harvest) -> Harvest:
        """Returns what is to be stored at once of an export; the rest waits here."""
        if not any(row.service == GATEWAY for row in taken.rows):
            return taken
        now = self._now()
        passed = Harvest(resources=taken.resources, refused=taken.refused)
        for row in taken.rows:
            if row.service != GATEWAY:
                passed.rows.append(row)
                continue
            why = self._reason(row)
            if why and not self._allowance.take():
                self._counts["too_many"] += 1
                why = ""
            if why:
                self._counts[why] += 1
                passed.rows.append(_marked(row, why))
                if (earlier := self._pop(row.trace_id)) is not None:
                    passed.rows += earlier.rows
                    passed.resources |= earlier.resources
                continue
            waiting = self._traces.setdefault(row.trace_id, _Waiting(now))
            waiting.rows.append(row)
            waiting.resources[row.resource] = taken.resources[row.resource]
            self._spans += 1
        while self._spans > self._most:
            self._pop(next(iter(self._traces)))
            self._counts["crowded_out"] += 1
        return passed

    async def run(self) -> None:
        """Looks every second, for ever, which of them are kept."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except CordboardError as error:
                logger.warning("Envoy's spans were not looked after", extra={"problem": error.text})

    async def look(self) -> None:
        """Stores what is kept, and lets go of what waited long enough."""
        if not self._traces:
            return
        now = self._now()
        wanted = await self._kept.recent() & self._traces.keys()
        new = [key for key, each in self._traces.items() if not each.looked and now - each.since >= LOOK_AFTER]
        wanted |= await self._kept.stored(new)
        for key in new:
            if key in self._traces:
                self._traces[key].looked = True
        harvest = Harvest()
        for key in wanted:
            if (found := self._pop(key)) is not None:
                harvest.rows += found.rows
                harvest.resources |= found.resources
                self._counts["told"] += 1
        while self._traces:
            key, each = next(iter(self._traces.items()))
            if now - each.since < HOLD_SECONDS:
                break
            self._pop(key)
            self._counts["let_go"] += 1
        await self._intake.keep(harvest, 0)

    def _reason(self, row: SpanRow) -> str:
        if row.status == Span.STATUS_ERROR:
            return ERROR
        if row.duration_ns < self._slow_ns:
            return ""
        path = str(orjson.loads(row.attributes).get("url.full", ""))
        return "" if endless(path.strip("/")) else SLOW

    def _pop(self, trace_id: UUID) -> _Waiting | None:
        found = self._traces.pop(trace_id, None)
        if found is not None:
            self._spans -= len(found.rows)
        return found


def _marked(row: SpanRow, why: str) -> SpanRow:
    span = otlp.Span.FromString(row.body)
    span.attributes.add(key=KEPT).value.string_value = why
    attributes = orjson.dumps({**orjson.loads(row.attributes), KEPT: why}).decode()
    return row._replace(attributes=attributes, body=span.SerializeToString())
