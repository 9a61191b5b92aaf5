"""The edge's side: takes what was judged good into its own catalog, each envelope in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cordboard.catalog.sync.envelope import Place, Standing, open_envelope
from cordboard.catalog.sync.hub_pins import HubPins, Told
from cordboard.catalog.sync.pin_store import PinStore
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.store import FlagsRecord, ReplicaRecord
from cordboard.catalog.sync.taking import Taking
from cordboard.catalog.sync.trust import trusted
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.definition_pb2 import Definition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.store import CatalogStore
    from cordboard.catalog.sync.envelope import Opened
    from cordboard.catalog.sync.store import ReplicaStore
    from cordboard.catalog.v1.lifecycle_pb2 import Pin
    from cordboard.core.times import Clock

MAX_ERROR: Final = 500


@dataclass(frozen=True)
class Begin:
    """Whom the edge follows, and what it trusts."""

    hub: str
    edge: str
    keys: dict[str, bytes]
    capabilities: tuple[str, ...]
    """What this release can run, in order."""


class Replica:
    """What an edge has of its hub's catalog."""

    def __init__(self, store: ReplicaStore, catalog: CatalogStore, clock: Clock, begin: Begin) -> None:
        """Takes the edge's tables, the catalog's, the time, and whom to follow."""
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._begin = begin
        self._pins = HubPins(PinStore(), store, clock)
        self._trusted: dict[str, bytes] = {}

    async def record(self) -> ReplicaRecord:
        """Returns what the edge follows and has; nothing yet where it has begun to follow another hub."""
        async with self._store.reading() as connection:
            return await self._record(connection)

    async def learn(self, offered: Iterable[pb.HubKey]) -> None:
        """Takes in the keys that a trusted key has signed; the others are left alone."""
        async with self._store.reading() as connection:
            known = await self._keys(connection)
            found = trusted(self._begin.hub, known, offered)
            if found.keys() != known.keys():
                await self._store.trust(connection, self._begin.hub, found)

    async def apply(self, envelope: pb.Envelope) -> Place:
        """Judges an envelope, applies it, and returns where the edge is then; raises Rejected, and nothing changed."""
        async with self._store.writing() as connection:
            record, opened = await self._open(connection, envelope, lock=True)
            await self._take(connection, opened)
            await self._store.put_replica(connection, self._advanced(record, opened))
        return opened.place

    async def note(self, problem: str) -> None:
        """Writes down what went wrong last."""
        async with self._store.reading() as connection:
            record = await self._record(connection, lock=True)
            await self._store.put_replica(connection, replace(record, last_error=problem[:MAX_ERROR]))

    async def _record(self, connection: AsyncConnection, *, lock: bool = False) -> ReplicaRecord:
        found = await self._store.replica(connection, lock=lock)
        begin = self._begin
        if found is None or (found.hub_id, found.edge_id) != (begin.hub, begin.edge):
            return ReplicaRecord(begin.hub, begin.edge, capabilities=begin.capabilities)
        if found.capabilities != begin.capabilities:
            # What this release can run and the one before could not was never sent: everything is asked for again.
            return replace(found, capabilities=begin.capabilities, sequence=0, hash=b"")
        return found

    async def _keys(self, connection: AsyncConnection, wanted: str = "") -> dict[str, bytes]:
        # What was trusted once always is, so that the tables are asked only for a key that is not known here.
        if wanted not in self._trusted:
            self._trusted = {**self._begin.keys, **await self._store.trusted(connection, self._begin.hub)}
        return self._trusted

    async def _open(
        self, connection: AsyncConnection, envelope: pb.Envelope, *, lock: bool
    ) -> tuple[ReplicaRecord, Opened]:
        record = await self._record(connection, lock=lock)
        standing = Standing(
            record.hub_id,
            record.edge_id,
            record.epoch,
            Place(record.sequence, record.hash),
            record.highest,
            record.issue_time,
        )
        return record, open_envelope(envelope, standing, await self._keys(connection, envelope.key))

    def _advanced(self, record: ReplicaRecord, opened: Opened) -> ReplicaRecord:
        header = opened.header
        current = _is_current(header)
        return replace(
            record,
            epoch=header.epoch,
            sequence=header.sequence,
            hash=opened.place.hash,
            highest=max(header.sequence, record.highest if header.epoch == record.epoch else 0),
            target=header.target_sequence,
            issue_time=opened.issue_time,
            fresh_time=self._clock.now() if current else record.fresh_time,
            last_error="",
        )

    async def _take(self, connection: AsyncConnection, opened: Opened) -> None:
        told: list[tuple[str, str, pb.VersionChange]] = []
        pins: list[Pin] = []
        for change in opened.delta.changes:
            if change.WhichOneof("kind") == "flags":
                record = FlagsRecord(change.flags.revision, change.flags.records, change.sequence)
                await self._store.put_flags(connection, record)
            elif change.WhichOneof("kind") == "version":
                told.append((*_names(change.version), change.version))
            elif change.WhichOneof("kind") == "pin":
                pins.append(change.pin)
            # Another kind comes from a hub that is newer than this release, which has no use for it.
        if told:
            await self._take_versions(connection, told)
        # Pins come after the versions that they name, whatever their order was.
        slugs = {slug for slug, _, _ in told}
        about = Told(pins, slugs, begins=opened.begins, current=_is_current(opened.header))
        await self._pins.take(connection, about)

    async def _take_versions(self, connection: AsyncConnection, told: list[tuple[str, str, pb.VersionChange]]) -> None:
        # Everything is read at once and written at once: what it costs is not the number of statements.
        slugs = sorted({slug for slug, _, _ in told})
        last = await self._store.advance(connection, len(told))
        taking = Taking(*await self._store.known(connection, slugs))
        for number, (slug, version, about) in enumerate(told, last - len(told) + 1):
            taking.take(slug, version, about, number)
        for slug in slugs:
            if taking.announces(slug):
                taking.announce(slug, await self._store.advance(connection, 1))
            record_of = taking.described(slug)
            if record_of is not None and taking.definition(record_of) is None:
                content = await self._catalog.content_in(connection, slug, record_of.version)
                taking.know(record_of, Definition.FromString(content or b""))
        await self._store.put_integrations(connection, [one for one in map(taking.integration, slugs) if one])
        await self._store.add_versions(connection, taking.added)
        await self._store.put_states(connection, taking.changed())


def _is_current(header: pb.DeltaHeader) -> bool:
    return header.sequence == header.target_sequence


def _names(change: pb.VersionChange) -> tuple[str, str]:
    parts = change.version.name.split("/")
    if len(parts) != 4 or parts[0] != "integrations" or parts[2] != "versions":
        raise Rejected(pb.REJECTION_REASON_UNREADABLE, "a version has no name")
    return parts[1], parts[3]
