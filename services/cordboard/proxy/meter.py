"""Counts the calls of actions: whose, of what, how they ended, how long they took, how much came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.measures import BYTES, Reading
from cordboard.core.telemetry import ACTION, DEFINITION_VERSION, FLAG, INTEGRATION, VARIANT, WORKSPACE
from cordboard.proxy.breakers.standing import Cause, State
from cordboard.proxy.v1 import proxy_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cordboard.core.measures import Measures
    from cordboard.proxy.breakers.breakers import Breakers
    from cordboard.proxy.calls import CallRecord, Led

LABELS = (WORKSPACE, INTEGRATION, ACTION, DEFINITION_VERSION, FLAG, VARIANT)
# How a call that went wrong is counted, where the fault is the vendor's or the mesh's and not the caller's.
FAILURES = frozenset({pb.Call.OUTCOME_VENDOR_ERROR, pb.Call.OUTCOME_VENDOR_UNREACHABLE, pb.Call.OUTCOME_FAULT})


class Meter:
    """Counts calls that have ended."""

    def __init__(self, measures: Measures) -> None:
        """Takes the measures of the process."""
        self._calls = measures.histogram("cordboard.call.duration", "s", (*LABELS, "cordboard.outcome", "error.type"))
        self._sizes = measures.histogram("cordboard.call.response.size", "By", LABELS, BYTES)

    def ended(self, row: CallRecord, received: int, led: Led | None) -> None:
        """Counts a call by its record, the bytes that its vendor sent, and the variant that chose its version."""
        # Before the lease is used the action is only what the caller wrote: any text, without bound.
        action = row.action if row.generation else ""
        flag, variant = (led.flag, led.variant) if led is not None else ("", "")
        labels = (row.workspace_id, row.integration, action, row.version, flag, variant)
        outcome = pb.Call.Outcome.Name(row.outcome).removeprefix("OUTCOME_").lower()  # type: ignore[arg-type]
        failure = row.reason if row.outcome in FAILURES else ""
        self._calls.record(row.duration_us / 1e6, (*labels, outcome, failure))
        if received:
            self._sizes.record(float(received), labels)


def observe_breakers(measures: Measures, breakers: Breakers) -> None:
    """Has the state of breakers sent: 0 closed, 1 half open, 2 open, the worst of each integration's hosts."""
    levels = {State.CLOSED: 0.0, State.HALF_OPEN: 1.0, State.OPEN: 2.0}

    def read() -> Iterator[Reading]:
        worst: dict[str, float] = {}
        for reading in breakers.readings(workspace=None):
            if reading.key.cause in (Cause.VENDOR, Cause.ENDPOINT):
                level = levels[reading.state]
                worst[reading.key.integration] = max(level, worst.get(reading.key.integration, 0.0))
        for integration, level in worst.items():
            yield Reading((integration,), level)

    measures.gauge("cordboard.breaker.state", "{state}", (INTEGRATION,), read)
