"""Who follows the flags: what services and edges report, and the streams of clients that are open here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.flags.consumers.store import ConsumerRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cordboard.core.times import Clock
    from cordboard.flags.consumers.store import ConsumerStore
    from cordboard.flags.evaluation import LiveFlags

logger = logging.getLogger(__name__)

SERVICE: Final = "service"
EDGE: Final = "edge"
CLIENT: Final = "client"
OWN_PROTOCOL: Final = "cordboard.flags.v1"
# What has changed is written this often, in seconds.
WRITE_EVERY: Final = 2.0
# That an open stream is still there is written this often: services say it themselves, as often.
ALIVE_EVERY: Final = 10.0
# Those who are silent are forgotten this often.
DROP_EVERY: Final = 15.0
SILENT_AFTER: Final = timedelta(seconds=60)
EDGES_SILENT_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True)
class Report:
    """Which change a follower has."""

    id: str
    kind: str
    sequence: int
    """0: not known."""
    fresh_time: datetime | None = None
    """When it was last known to have everything, where it is not asked now."""


class Follower:
    """A client's stream while it is open."""

    def __init__(self, id: str, protocol: str, workspace: str) -> None:  # noqa: A002 - as the record has it
        """Takes what it is called, what it speaks, and whose it is."""
        self.id = id
        self.protocol = protocol
        self.workspace = workspace
        self.sequence = 0

    def has(self, sequence: int) -> None:
        """Notes that everything until a change was written to it."""
        self.sequence = sequence


class Consumers:
    """Knows consumers. All replicas know the same, a few seconds later."""

    def __init__(self, store: ConsumerStore, live: LiveFlags, clock: Clock) -> None:
        """Takes where consumers are kept, what knows the newest change, and the time."""
        self._store = store
        self._live = live
        self._clock = clock
        self._open: dict[str, Follower] = {}
        self._written: dict[str, ConsumerRecord] = {}
        self._closed: set[str] = set()
        self._reported: dict[str, ConsumerRecord] = {}
        self._dropped = -DROP_EVERY

    @contextlib.contextmanager
    def following(self, protocol: str, workspace: str) -> Iterator[Follower]:
        """Knows a client's stream for as long as the block runs."""
        follower = Follower(f"{CLIENT}-{secrets.token_hex(8)}", protocol, workspace)
        self._open[follower.id] = follower
        try:
            yield follower
        finally:
            del self._open[follower.id]
            self._closed.add(follower.id)

    def report(self, report: Report) -> None:
        """Notes what a follower says."""
        now = self._clock.now()
        fresh = None
        if report.sequence >= self._live.snapshot.sequence:
            fresh = now if report.kind == SERVICE else report.fresh_time
        self._reported[report.id] = ConsumerRecord(
            id=report.id,
            kind=report.kind,
            protocol=OWN_PROTOCOL,
            workspace_id="",
            sequence=report.sequence,
            ack_time=now if report.sequence else None,
            fresh_time=fresh,
            report_time=now,
        )

    async def page(self, *, after: str, limit: int) -> list[ConsumerRecord]:
        """Returns up to `limit` consumers with an id above `after`, in order; raises DependencyUnavailable."""
        await self.write()
        return await self._store.page(after=after, limit=limit)

    @property
    def newest(self) -> int:
        """Returns the number of the newest change; raises DependencyUnavailable before it is known."""
        return self._live.snapshot.sequence

    async def run(self) -> None:
        """Writes what is new, for ever."""
        while True:
            try:
                await self.write()
            except CordboardError as error:
                # What was not written is written the next time, or said again.
                logger.info("the consumers could not be written", extra={"problem": type(error).__name__})
            await asyncio.sleep(WRITE_EVERY)

    async def write(self) -> None:
        """Writes what is new; raises DependencyUnavailable."""
        now = self._clock.now()
        streams = [self._record(follower, now) for follower in self._open.values()]
        due = [record for record in streams if self._is_due(record)]
        reported, self._reported = self._reported, {}
        closed, self._closed = self._closed, set()
        try:
            if due or reported:
                # In one order everywhere, so that no two replicas wait for each other.
                await self._store.put(sorted([*due, *reported.values()], key=lambda record: record.id))
            if closed or self._clock.monotonic() - self._dropped >= DROP_EVERY:
                await self._store.drop(closed, heard_before=now - SILENT_AFTER, edges_before=now - EDGES_SILENT_AFTER)
                self._dropped = self._clock.monotonic()
        except CordboardError:
            self._reported = {**reported, **self._reported}
            self._closed |= closed
            raise
        written = self._written | {record.id: record for record in due}
        self._written = {key: record for key, record in written.items() if key in self._open}

    def _is_due(self, record: ConsumerRecord) -> bool:
        known = self._written.get(record.id)
        return (
            known is None
            or known.sequence != record.sequence
            or (record.report_time - known.report_time).total_seconds() >= ALIVE_EVERY
        )

    def _record(self, follower: Follower, now: datetime) -> ConsumerRecord:
        known = self._written.get(follower.id)
        fresh = now if follower.sequence >= self._live.snapshot.sequence else known.fresh_time if known else None
        record = ConsumerRecord(
            id=follower.id,
            kind=CLIENT,
            protocol=follower.protocol,
            workspace_id=follower.workspace,
            sequence=follower.sequence,
            ack_time=now if follower.sequence else None,
            fresh_time=fresh,
            report_time=now,
        )
        if known is not None and known.sequence == record.sequence:
            return replace(record, ack_time=known.ack_time)
        return record
