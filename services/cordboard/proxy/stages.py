"""The stages of a call in its trace.

A stage that only computes takes microseconds, and a span of its own would cost more than the stage does: it is an event
of the call's span, at the time when it began. A stage that waits for others is a span, with their spans below it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Final

from opentelemetry import trace

from cordboard.core.telemetry import span

ADMIT: Final = "proxy.admit"
RESOLVE: Final = "proxy.resolve"
GATE: Final = "proxy.gate"
AUTHORISE: Final = "proxy.authorise"
PLAN: Final = "proxy.plan"
GUARD: Final = "proxy.guard"
SEND: Final = "proxy.send"
INTERPRET: Final = "proxy.interpret"
RECORD: Final = "proxy.record"

# The stage in which a call was refused or failed.
FAILED_STAGE: Final = "cordboard.proxy.stage"


class Stages:
    """The stages of one call, one after the other."""

    def __init__(self) -> None:
        """Begins in the current span; outside a trace that is recorded it notes nothing."""
        current = trace.get_current_span()
        self._span = current if current.is_recording() else None
        self.current = ""
        self._noted: list[tuple[str, int]] = []

    def enter(self, name: str) -> None:
        """Begins a stage, unless the call is in it already."""
        if self._span is not None and name != self.current:
            self._noted.append((name, time.time_ns()))
        self.current = name

    @contextlib.contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Runs a stage, or a part of one, that waits for others."""
        self.current = name
        with span(name):
            yield

    def failed(self) -> None:
        """Says in the trace in which stage the call ended."""
        if self._span is not None:
            self._span.set_attribute(FAILED_STAGE, self.current)

    def tell(self, attributes: Mapping[str, str]) -> None:
        """Writes what was noted into the trace, and what the call is about: when nothing else is left to do."""
        if self._span is not None:
            self._span.set_attributes(attributes)
            for name, began in self._noted:
                self._span.add_event(name, timestamp=began)
            self._noted.clear()
