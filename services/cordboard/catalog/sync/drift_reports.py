"""Drift between an edge and its hub: what the edge tells, and what the hub keeps of it."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cordboard.catalog.drift import KEPT, drift_message, is_sign, is_text
from cordboard.catalog.drift_store import Sign
from cordboard.catalog.usage import RECENT
from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cordboard.catalog.drift_store import DriftStore, Place
    from cordboard.catalog.sync.store import EdgeRecord
    from cordboard.catalog.v1 import drift_service_pb2 as pb
    from cordboard.core.times import Clock

MAX_DRIFTS: Final = 200
"""Signs in one message."""
MAX_KEPT: Final = 2_000
"""Signs that an edge tells, and that a hub keeps of an edge: the newest."""
LOOK_EVERY: Final = 5.0
VERSION: Final = "integrations/*/versions/*"


class EdgeDrift:
    """What an edge tells its hub: each sign until it has arrived, and again when more answers showed it."""

    def __init__(self, store: DriftStore, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Takes the tables and the time."""
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self.begin()

    def begin(self) -> None:
        """Begins anew: nothing is known to have arrived."""
        self._arrived: dict[Place, int] = {}
        self._waiting: deque[Sign] = deque()
        self._told: list[Sign] = []
        self._next = 0.0

    async def next(self) -> list[pb.Drift]:
        """Returns what is to be told now. What it returned before has arrived: the hub went on after it."""
        self._arrived |= {sign.key: sign.answers for sign in self._told}
        if not self._waiting and self._monotonic() >= self._next:
            self._next = self._monotonic() + LOOK_EVERY
            signs = await self._store.newest(since=self._clock.now() - RECENT, limit=MAX_KEPT)
            self._arrived = {sign.key: self._arrived.get(sign.key, 0) for sign in signs}
            self._waiting.extend(sign for sign in signs if self._arrived[sign.key] != sign.answers)
        self._told = [self._waiting.popleft() for _ in range(min(MAX_DRIFTS, len(self._waiting)))]
        return [drift_message(sign) for sign in self._told]


class HubDrift:
    """What a hub keeps of what its edges tell."""

    def __init__(self, store: DriftStore, clock: Clock) -> None:
        """Takes the tables and the time."""
        self._store = store
        self._clock = clock

    async def take(self, edge: EdgeRecord, drifts: Iterable[pb.Drift]) -> None:
        """Keeps what an edge tells of versions that it may have; anything else in it is left out."""
        now = self._clock.now()
        signs = {sign.key: sign for one in list(drifts)[:MAX_DRIFTS] if (sign := _sign(one, now)) is not None}
        if signs:
            await self._store.put_edge(
                edge.id, edge.workspaces, list(signs.values()), forget_before=now - KEPT, limit=MAX_KEPT
            )


def _sign(drift: pb.Drift, now: datetime) -> Sign | None:
    try:
        slug, version = parse(drift.definition_version, VERSION)
        first, last = (one.ToDatetime(UTC) for one in (drift.first_time, drift.last_time))
    except (InvalidFields, ValueError):
        return None
    counted = 0 < drift.answers <= drift.answers_looked_at < 2**62
    if not (counted and is_text(drift.action) and is_sign(drift) and first <= last):
        return None
    # An edge's clock may be ahead: nothing was seen after now.
    return Sign(
        "", slug, version, drift.action, drift.kind, drift.place, drift.rule, drift.answers,
        min(first, now), min(last, now), drift.trace_id, drift.answers_looked_at,
    )  # fmt: skip
