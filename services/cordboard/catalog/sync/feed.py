"""What an edge is to be told next: the changes after the last one it has, as far as it may see and can run them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.catalog.capabilities import RUNTIME, needed
from cordboard.catalog.messages import pin_message
from cordboard.catalog.sync.abilities import PINS
from cordboard.catalog.sync.envelope import Payload
from cordboard.catalog.sync.flag_scope import scoped
from cordboard.catalog.sync.store import ChangedVersion
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2 import DefinitionVersion
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_DEPRECATED, VERSION_STATE_RETIRED
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.store import PinRecord
    from cordboard.catalog.sync.customer_store import CustomerStore
    from cordboard.catalog.sync.pin_store import PinStore
    from cordboard.catalog.sync.store import FlagsRecord, HubStore
    from cordboard.catalog.v1.lifecycle_pb2 import Pin

# A delta is applied in one transaction, and a break costs at most one delta: neither very large nor very small.
MOST_CHANGES: Final = 200
MOST_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Scope:
    """What an edge may see and can run."""

    workspaces: tuple[str, ...]
    capabilities: frozenset[str]

    def runs(self, content: bytes) -> bool:
        """Tells whether the edge can run a serialised definition. Nothing here needs more than this release can do."""
        return self.capabilities >= RUNTIME or self.capabilities >= needed(Definition.FromString(content))


@dataclass(frozen=True)
class Step:
    """The next changes, and how far they go."""

    payload: Payload
    sequence: int
    """The number that the edge has once it has applied them."""
    target: int
    """The number of the newest change."""


class Feed:
    """Reads changes for edges. Costs by what changed and not by what there is."""

    def __init__(self, store: HubStore, customers: CustomerStore, pins: PinStore) -> None:
        """Takes the hub's tables."""
        self._store = store
        self._customers = customers
        self._pins = pins
        self._steps: dict[tuple[int, Scope], asyncio.Task[Step]] = {}
        self._head: asyncio.Task[int] | None = None

    async def head(self) -> int:
        """Returns the number of the newest change; however many edges ask at once, it is read once."""
        if self._head is None or self._head.done():
            self._head = asyncio.create_task(self._store.newest())
        return await asyncio.shield(self._head)

    async def step(self, after: int, scope: Scope) -> Step:
        """Returns what comes after a change; without changes when nothing does that concerns the edge.

        Edges that are at the same place and may see the same share the work.
        """
        key = (after, scope)
        task = self._steps.get(key)
        if task is None:
            task = self._steps[key] = asyncio.create_task(self._step(after, scope))
            task.add_done_callback(lambda _: self._steps.pop(key, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends what is being read."""
        reading = [*self._steps.values(), *([self._head] if self._head is not None else [])]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def _step(self, after: int, scope: Scope) -> Step:
        async with self._store.reading() as connection:
            # The head comes first: what is committed while we read has a higher number, and comes with the next step.
            head = await self._store.head(connection)
            found = await self._found(connection, after, head, scope)
            taken = _within(found)
            sequence = head if len(taken) == len(found) else taken[-1].sequence
            changes = await self._changes(connection, taken, scope)
            flags = await self._store.flags(connection)
            if flags is not None and after < flags.sequence <= sequence:
                changes.append(await self._flag_change(connection, flags, scope))
                changes.sort(key=lambda one: one.sequence)
        # Compression of megabytes would hold up everybody else.
        payload = await asyncio.to_thread(Payload.of, pb.Delta(changes=changes)) if changes else Payload(b"", 0)
        return Step(payload, max(sequence, after), max(head, after))

    async def _flag_change(self, connection: AsyncConnection, flags: FlagsRecord, scope: Scope) -> pb.Change:
        owners = await self._customers.known(connection, scope.workspaces)
        records = scoped(flags.records, scope.workspaces, owners)
        return pb.Change(sequence=flags.sequence, flags=pb.FlagSet(revision=flags.revision, records=records))

    async def _found(
        self, connection: AsyncConnection, after: int, head: int, scope: Scope
    ) -> Sequence[ChangedVersion | PinRecord]:
        """Returns what comes next in the log, in order: one more than a delta holds, if there is so much."""
        workspaces, limit = scope.workspaces, MOST_CHANGES + 1
        versions = await self._store.changed(connection, after=after, until=head, workspaces=workspaces, limit=limit)
        if not workspaces or PINS not in scope.capabilities:
            return versions
        pins = await self._pins.changed(connection, after=after, until=head, workspaces=workspaces, limit=limit)
        both: list[ChangedVersion | PinRecord] = [*versions, *pins]
        return sorted(both, key=lambda one: one.sequence)[:limit]

    async def _changes(
        self, connection: AsyncConnection, found: Sequence[ChangedVersion | PinRecord], scope: Scope
    ) -> list[pb.Change]:
        # Always with the definition. An edge has it already when only the state changed, but not if it began later than
        # the version, or while that was a draft; and what it was sent before nobody can tell from where it is now.
        versions = [(one.slug, one.version) for one in found if isinstance(one, ChangedVersion)]
        contents = await self._store.contents(connection, versions)
        changes = []
        for one in found:
            if not isinstance(one, ChangedVersion):
                # Whatever the edge can run: it waits there for its version, and holds when that has come.
                changes.append(pb.Change(sequence=one.sequence, pin=_told(one)))
                continue
            content = contents[one.slug, one.version]
            if scope.runs(content):
                changes.append(await self._change(connection, one, content, scope))
        return changes

    async def _change(
        self, connection: AsyncConnection, one: ChangedVersion, content: bytes, scope: Scope
    ) -> pb.Change:
        state = one.state
        if state == VERSION_STATE_RETIRED:
            # An edge that cannot run what came after it would be left with nothing: it is told that the end has come,
            # and goes on.
            active = await self._store.active_content(connection, one.slug)
            if active is not None and not scope.runs(active):
                state = VERSION_STATE_DEPRECATED
        version = DefinitionVersion(
            name=f"integrations/{one.slug}/versions/{one.version}",
            content_hash=one.content_hash,
            active=one.active,
            create_time=to_timestamp(one.create_time),
            creator=one.creator,
            state=state,  # type: ignore[arg-type]
            sunset_time=None if one.sunset_time is None else to_timestamp(one.sunset_time),
            successor=one.successor,
            workspace=one.workspace_id,
            update_time=to_timestamp(one.update_time),
            reason=one.reason,
        )
        change = pb.VersionChange(version=version, content=content, activation=one.activation, revision=one.revision)
        return pb.Change(sequence=one.sequence, version=change)


def _told(pin: PinRecord) -> Pin:
    told = pin_message(pin)
    for field in ("from_hub", "hub_version", "etag"):
        told.ClearField(field)
    return told


def _within(found: Sequence[ChangedVersion | PinRecord]) -> Sequence[ChangedVersion | PinRecord]:
    """Returns as many of the changes as one delta holds: at least one, however large it is."""
    size = 0
    for index, one in enumerate(found):
        size += one.size if isinstance(one, ChangedVersion) else 0
        if index and (size > MOST_BYTES or index >= MOST_CHANGES):
            return found[:index]
    return found
