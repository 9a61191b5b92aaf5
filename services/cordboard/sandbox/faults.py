"""Breaks the vendor on purpose: slow answers, failures, cut connections."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How the vendor is to fail, and for which requests.

    A request that fails is answered `status` (500 when only a rate is given), or its connection is cut in mid-answer.
    """

    latency_ms: int = 0
    error_rate: float | None = None
    status: int | None = None
    retry_after: int | None = None
    cut_connections: bool = False
    # The work is done before the fault shows: the client cannot tell whether it was.
    after_work: bool = False
    times: int | None = None
    path: str = "/"
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to one request."""

    latency_seconds: float = 0.0
    status: int | None = None
    retry_after: int | None = None
    cut: bool = False
    after_work: bool = False


_NONE = Effect()


class Faults:
    """Decides the effect on each request; the same fault hits the same requests every time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Ends the fault."""
        self.put(None)

    def put(self, fault: Fault | None) -> None:
        """Puts a fault in place of the one before."""
        self.fault = fault
        self.remaining = None if fault is None else fault.times
        self._chance = random.Random(self._seed)  # noqa: S311  repeatable on purpose

    def strike(self, method: str, path: str) -> Effect:
        """Returns what happens to the request, and counts it against `times`."""
        fault = self.fault
        if fault is None or not path.startswith(fault.path) or fault.method not in {None, method}:
            return _NONE
        if self.remaining is not None:
            if self.remaining == 0:
                return _NONE
            self.remaining -= 1
        fails = fault.status is not None or fault.cut_connections or fault.error_rate is not None
        if fails and fault.error_rate is not None:
            fails = self._chance.random() < fault.error_rate
        if not fails:
            return Effect(latency_seconds=fault.latency_ms / 1000, after_work=fault.after_work)
        return Effect(
            latency_seconds=fault.latency_ms / 1000,
            status=None if fault.cut_connections and fault.status is None else fault.status or 500,
            retry_after=fault.retry_after,
            cut=fault.cut_connections,
            after_work=fault.after_work,
        )
