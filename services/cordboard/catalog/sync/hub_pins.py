"""What the pins of the hub make of those at an edge: they hold, except where one was set here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING

from cordboard.catalog.store import PinRecord
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.taking import UPDATER
from cordboard.catalog.v1 import sync_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.snapshot import Key, PinKey
    from cordboard.catalog.sync.pin_store import PinStore
    from cordboard.catalog.sync.store import ReplicaStore
    from cordboard.catalog.v1.lifecycle_pb2 import Pin
    from cordboard.core.times import Clock


@dataclass(frozen=True)
class Told:
    """What an envelope says that pins depend on."""

    pins: Sequence[Pin]
    slugs: Collection[str]
    """The integrations that it has versions of."""
    begins: bool
    """It begins a log: what the hub said before is said again, or holds no longer."""
    current: bool
    """With it the edge has everything."""


class HubPins:
    """Takes the hub's pins in."""

    def __init__(self, store: PinStore, replica: ReplicaStore, clock: Clock) -> None:
        """Takes the tables and the time."""
        self._store = store
        self._replica = replica
        self._clock = clock

    async def take(self, connection: AsyncConnection, told: Told) -> None:
        """Takes in what an envelope says, once its versions are written; raises Rejected."""
        if not (told.pins or told.slugs or told.begins or (told.current and await self._store.are_left(connection))):
            return
        said = {_key(pin): pin for pin in told.pins}
        if not told.slugs:
            # Nobody may pin here meanwhile: numbers are given under a lock that lasts until the commit. Versions have
            # taken it already.
            await self._replica.advance(connection, 0)
        if told.begins:
            await self._store.begin_anew(connection)
        found = await self._store.concerned(connection, keys=said, slugs=told.slugs, ended=told.current)
        known = {(one.workspace_id, one.environment, one.slug): one for one in found}
        meant = known | {key: self._meant(key, known.get(key), pin) for key, pin in said.items()}
        if not meant:
            return
        there = await self._store.there(connection, {(one.slug, one.hub_version) for one in meant.values()})
        changed = [(key, self._settled(one, there)) for key, one in meant.items()]
        changed = [(key, one) for key, one in changed if one != known.get(key)]
        if not changed:
            return
        first = await self._replica.advance(connection, len(changed)) - len(changed) + 1
        records = [
            replace(one, revision=one.revision + 1, sequence=number) for number, (_, one) in enumerate(changed, first)
        ]
        await self._store.put(connection, records)

    def _meant(self, key: PinKey, known: PinRecord | None, pin: Pin) -> PinRecord:
        record = known or PinRecord(*key, "", "", 0, 0, self._clock.now(), UPDATER)
        if _is_own(record):
            return replace(record, hub_version=pin.version)
        time = pin.update_time.ToDatetime(tzinfo=UTC)
        return replace(record, hub_version=pin.version, reason=pin.reason, creator=pin.creator, update_time=time)

    def _settled(self, record: PinRecord, there: set[Key]) -> PinRecord:
        if _is_own(record):
            return record
        if not record.hub_version:
            return replace(record, version="", reason="", from_hub=False)
        if (record.slug, record.hub_version) in there:
            return replace(record, version=record.hub_version, from_hub=True)
        # It is for a version that comes later, or that cannot run here: what held goes on holding.
        return record


def _is_own(record: PinRecord) -> bool:
    return bool(record.version) and not record.from_hub


def _key(pin: Pin) -> PinKey:
    parts = pin.name.split("/")
    if len(parts) != 6 or parts[::2] != ["workspaces", "environments", "pins"] or not all(parts):
        raise Rejected(pb.REJECTION_REASON_UNREADABLE, "a pin has no name")
    return parts[1], parts[3], parts[5]
