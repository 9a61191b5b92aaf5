"""The life of a definition version: which state follows which, what keeps it from going on, and whose default it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cordboard.catalog.facts import describe
from cordboard.catalog.messages import etag_of
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.catalog.v1.lifecycle_pb2 import (
    VERSION_STATE_ACTIVE,
    VERSION_STATE_DEPRECATED,
    VERSION_STATE_DRAFT,
    VERSION_STATE_RETIRED,
    VERSION_STATE_STAGED,
    VersionState,
)
from cordboard.catalog.visibility import View, may_write
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.database import EVERYWHERE
from cordboard.core.errors import AccessDenied, EtagMismatch, InvalidFields, NotFound, StateConflict
from cordboard.core.ownership import owner_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.gate import Gate
    from cordboard.catalog.snapshot import Snapshot
    from cordboard.catalog.store import CatalogStore, IntegrationRecord, VersionRecord
    from cordboard.catalog.v1 import catalog_service_pb2 as pb
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock

DRAFT: Final = VERSION_STATE_DRAFT
STAGED: Final = VERSION_STATE_STAGED
ACTIVE: Final = VERSION_STATE_ACTIVE
DEPRECATED: Final = VERSION_STATE_DEPRECATED
RETIRED: Final = VERSION_STATE_RETIRED

LIVE: Final = frozenset({STAGED, ACTIVE, DEPRECATED})
"""The states of versions that calls can use."""
STAGES: Final = frozenset({DRAFT, STAGED, ACTIVE})
"""The states that a version can be published in."""
FOLLOWING: Final[Mapping[int, frozenset[int]]] = {
    DRAFT: frozenset({STAGED, ACTIVE}),
    STAGED: frozenset({ACTIVE, DEPRECATED, RETIRED}),
    ACTIVE: frozenset({ACTIVE, DEPRECATED}),
    DEPRECATED: frozenset({DEPRECATED, ACTIVE, RETIRED}),
    RETIRED: frozenset(),
}
METHOD: Final = "cordboard.catalog.v1.GovernanceService/TransitionDefinitionVersion"
MAX_REASON: Final = 1000
# The state of an integration that has no active version is the one of its versions that comes first here.
_NEAREST: Final = (ACTIVE, DEPRECATED, STAGED, RETIRED, DRAFT)


@dataclass(frozen=True)
class Move:
    """A state that a version is to come into."""

    state: int
    etag: str = ""
    reason: str = ""
    force: bool = False
    sunset_time: datetime | None = None
    successor: str = ""


def word(state: int) -> str:
    """Returns a state as people read it: `deprecated`."""
    return VersionState.Name(state).removeprefix("VERSION_STATE_").lower()  # type: ignore[arg-type]


def check_move(record: VersionRecord, move: Move, *, pinned: int, now: datetime) -> None:
    """Returns when a version may come into a state; `pinned` workspaces hold to it. Raises StateConflict."""
    if move.state not in FOLLOWING[record.state] and not (
        move.force and record.state == ACTIVE and move.state == RETIRED
    ):
        hint = "; deprecate it first, or force it" if (record.state, move.state) == (ACTIVE, RETIRED) else ""
        text = f"a version that is {word(record.state)} cannot become {word(move.state)}{hint}"
        raise StateConflict(record.name, word(record.state), text)
    if move.state != RETIRED or move.force:
        return
    if pinned:
        some = f"{pinned} workspaces are" if pinned > 1 else "one workspace is"
        raise StateConflict(
            record.name, "pinned", f"{some} pinned to it; move them, or force it, which keeps their calls from working"
        )
    if record.sunset_time is not None and record.sunset_time > now:
        at = record.sunset_time.isoformat(timespec="seconds")
        raise StateConflict(record.name, "deprecated", f"its users were told that it works until {at}; or force it")


def fallback(records: Collection[VersionRecord], successor: str) -> str:
    """Returns which version is the default once the default is retired: the successor where it is in use, else the one
    that was activated last; empty where there is none.
    """
    usable = [one for one in records if one.state in (ACTIVE, DEPRECATED)]
    if any(one.version == successor for one in usable):
        return successor
    best = max(usable, key=lambda one: (one.state == ACTIVE, one.activation), default=None)
    return "" if best is None else best.version


class Lifecycle:
    """Moves versions on in their lives."""

    def __init__(self, store: CatalogStore, snapshot: Snapshot, journal: Journal, clock: Clock, gate: Gate) -> None:
        """Takes the store, what is in memory of it, the journal, the time, and what keeps promises."""
        self._store = store
        self._snapshot = snapshot
        self._journal = journal
        self._clock = clock
        self._gate = gate

    async def transition(self, slug: str, version: str, move: Move) -> pb.DefinitionVersion:
        """Moves a version into a state; raises what TransitionDefinitionVersion documents."""
        await self._snapshot.refresh()
        seen = self._writable(slug, version)
        self._check(move, slug)
        if seen.state == DRAFT and move.state in LIVE:
            loaded = await self._snapshot.version(slug, version)
            await self._gate.check(loaded.message.definition)
        # Whoever retires a version has to see every workspace's pins.
        scope = EVERYWHERE if move.state == RETIRED else owner_of(slug)
        async with self._store.writing(scope) as (connection, sequence):
            records = {one.version: one for one in await self._store.versions(connection, slug)}
            record = _present(records, seen, move.etag)
            self._check_successor(move, record, records)
            retires = move.state == RETIRED
            pinned = await self._store.pinned_workspaces(connection, slug, version) if retires else 0
            check_move(record, move, pinned=pinned, now=self._clock.now())
            moved = self._moved(record, move, sequence)
            records[version] = moved
            await self._store.put_state(connection, moved)
            await self.settle(connection, records, moved)
            details = {"from": word(record.state), "reason": move.reason, "forced": move.force, "pinned": pinned}
            if moved.successor:
                details["successor"] = moved.successor
            action = f"catalog.definition.{_VERBS[move.state]}"
            entry = Entry(action=action, resource=record.name, workspace=record.workspace_id, details=details)
            await self._journal.append(connection, entry)
        await self._snapshot.refresh()
        return self._snapshot.described(self._snapshot.record(slug, version))

    async def delete(self, slug: str, version: str, etag: str) -> None:
        """Deletes a draft; raises what DeleteDefinitionVersion documents."""
        await self._snapshot.refresh()
        seen = self._writable(slug, version)
        async with self._store.writing(owner_of(slug)) as (connection, sequence):
            records = {one.version: one for one in await self._store.versions(connection, slug)}
            record = _present(records, seen, etag)
            if record.state != DRAFT:
                raise StateConflict(record.name, word(record.state), "only a draft can be deleted; others are retired")
            await self._store.delete_version(connection, slug, version, sequence)
            del records[version]
            await self.settle(connection, records, replace(record, state=0, sequence=sequence))
            entry = Entry("catalog.definition.delete", record.name, record.workspace_id)
            await self._journal.append(connection, entry)
        await self._snapshot.refresh()

    async def supersede(self, slug: str, successor: pb.DefinitionVersion, reason: str) -> None:
        """Deprecates what is in use of a private integration, in favour of the one that it became."""
        name = successor.name.rpartition("/versions/")[0]
        for record in self._snapshot.records(slug):
            if record.state in (STAGED, ACTIVE):
                await self.transition(slug, record.version, Move(DEPRECATED, reason=reason, successor=name))

    async def settle(
        self, connection: AsyncConnection, records: Mapping[str, VersionRecord], moved: VersionRecord
    ) -> None:
        """Writes the integration as it is after one of its versions has moved: its default, and what describes it."""
        known = await self._store.integration(connection, moved.slug)
        before = known.active_version if known is not None else ""
        active = before
        sequence = moved.sequence
        if moved.state == ACTIVE and moved.activation == moved.sequence:
            active = moved.version
        elif moved.state == RETIRED and moved.version == before:
            active = fallback(records.values(), moved.successor)
        if active not in ("", before, moved.version):
            # Watchers hear of the new default as of any change.
            sequence = await self._store.advance(connection)
            await self._store.put_state(connection, replace(records[active], sequence=sequence))
        chosen = active or _newest(records.values())
        if not chosen and known is not None:
            record = replace(known, active_version="", state=0, sequence=sequence, update_time=moved.update_time)
        else:
            record = await self._described(connection, records[chosen], active)
            changed = known is None or known.active_version != active or known.state != record.state
            at = moved.update_time if changed or known is None else known.update_time
            record = replace(record, state=_nearest(records, active), sequence=sequence, update_time=at)
        await self._store.put_integration(connection, record)

    async def _described(self, connection: AsyncConnection, chosen: VersionRecord, active: str) -> IntegrationRecord:
        content = await self._store.content_in(connection, chosen.slug, chosen.version)
        if content is None:
            raise NotFound(chosen.name)
        return replace(describe(Definition.FromString(content), chosen), active_version=active)

    def _writable(self, slug: str, version: str) -> VersionRecord:
        record = self._snapshot.record(slug, version)
        caller = current_caller()
        if not View.of(caller).sees(slug, record.state):
            raise NotFound(record.name)
        if not may_write(caller, slug):
            raise AccessDenied(METHOD, "only publishers and operators change the shared catalog")
        return record

    def _check(self, move: Move, slug: str) -> None:
        if move.state not in FOLLOWING or move.state == DRAFT:
            raise InvalidFields.one("state", "must be STAGED, ACTIVE, DEPRECATED or RETIRED")
        if len(move.reason) > MAX_REASON:
            raise InvalidFields.one("reason", f"must be at most {MAX_REASON} characters")
        if move.force and not move.reason.strip():
            raise InvalidFields.one("reason", "is required to force it", "REQUIRED")
        if move.sunset_time is not None:
            if move.state != DEPRECATED:
                raise InvalidFields.one("sunset_time", "goes with DEPRECATED alone")
            if move.sunset_time <= self._clock.now():
                raise InvalidFields.one("sunset_time", "must be in the future")
        if move.successor:
            if move.state not in (DEPRECATED, RETIRED):
                raise InvalidFields.one("successor", "goes with DEPRECATED and RETIRED alone")
            other = move.successor.removeprefix("integrations/")
            if other != move.successor:
                self._check_other(other, slug)

    def _check_other(self, other: str, slug: str) -> None:
        # Whoever is led there must see it: a private one helps its own workspace alone.
        held = other != slug and owner_of(other) in ("", owner_of(slug))
        try:
            held = held and self._snapshot.integration(other).state in LIVE
        except NotFound:
            held = False
        if not held:
            raise InvalidFields.one("successor", "must be another integration that is live and seen as widely")

    def _check_successor(self, move: Move, record: VersionRecord, records: Mapping[str, VersionRecord]) -> None:
        if not move.successor or move.successor.startswith("integrations/"):
            return
        other = records.get(move.successor)
        if other is None or other.version == record.version or other.state not in LIVE:
            raise InvalidFields.one(
                "successor", "must be another version of the integration that is live, or `integrations/{slug}`"
            )

    def _moved(self, record: VersionRecord, move: Move, sequence: int) -> VersionRecord:
        ends = move.state in (DEPRECATED, RETIRED)
        sunset = move.sunset_time or (record.sunset_time if ends else None)
        return replace(
            record,
            state=move.state,
            sequence=sequence,
            revision=record.revision + 1,
            activation=sequence if move.state == ACTIVE else record.activation,
            sunset_time=sunset,
            successor=(move.successor or record.successor) if ends else "",
            reason=move.reason,
            update_time=self._clock.now(),
            updater=current_caller().actor,
        )


_VERBS: Final[Mapping[int, str]] = {STAGED: "stage", ACTIVE: "activate", DEPRECATED: "deprecate", RETIRED: "retire"}


def _present(records: Mapping[str, VersionRecord], seen: VersionRecord, etag: str) -> VersionRecord:
    record = records.get(seen.version)
    if record is None:
        raise NotFound(seen.name)
    if etag and etag != etag_of(record):
        raise EtagMismatch(record.name)
    return record


def _newest(records: Iterable[VersionRecord]) -> str:
    best = max(records, key=lambda one: (one.state != DRAFT, one.published), default=None)
    return "" if best is None else best.version


def _nearest(records: Mapping[str, VersionRecord], active: str) -> int:
    if active:
        return records[active].state
    states = {one.state for one in records.values()}
    return next(state for state in _NEAREST if state in states)
