"""Pins: which version an environment of a workspace is held to, whatever rollouts and defaults say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cordboard.catalog.lifecycle import LIVE, word
from cordboard.catalog.messages import etag_of, pin_message
from cordboard.catalog.store import PinRecord
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import EtagMismatch, InvalidFields, NotFound, StateConflict
from cordboard.core.ownership import owner_of

if TYPE_CHECKING:
    from cordboard.catalog.snapshot import PinKey, Snapshot
    from cordboard.catalog.store import CatalogStore
    from cordboard.catalog.v1.lifecycle_pb2 import Pin
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock

MAX_REASON: Final = 1000


class Pins:
    """Sets, lists and takes away pins."""

    def __init__(
        self, store: CatalogStore, snapshot: Snapshot, journal: Journal, clock: Clock, *, follows: bool = False
    ) -> None:
        """Takes the store, what is in memory of the catalog, the journal, the time, and whether this mesh follows a
        hub, whose pins hold here until another is set.
        """
        self._store = store
        self._snapshot = snapshot
        self._journal = journal
        self._clock = clock
        self._follows = follows

    async def put(self, key: PinKey, version: str, *, reason: str, etag: str) -> Pin:
        """Holds an environment (workspace, environment, slug) to a version; raises what SetPin documents."""
        workspace, environment, slug = key
        if len(reason) > MAX_REASON:
            raise InvalidFields.one("pin.reason", f"must be at most {MAX_REASON} characters")
        if owner_of(slug) not in ("", workspace):
            raise NotFound(f"integrations/{slug}")
        async with self._store.writing(workspace) as (connection, sequence):
            known = {one.version: one for one in await self._store.versions(connection, slug)}
            found = known.get(version)
            if found is None:
                raise NotFound(f"integrations/{slug}/versions/{version}")
            if found.state not in LIVE:
                text = f"it is {word(found.state)}: pin a version that is staged, active or deprecated"
                raise StateConflict(found.name, word(found.state), text)
            before = await self._store.pin(connection, environment, slug)
            record = PinRecord(
                workspace_id=workspace,
                environment=environment,
                slug=slug,
                version=version,
                reason=reason,
                revision=1 if before is None else before.revision + 1,
                sequence=sequence,
                update_time=self._clock.now(),
                creator=current_caller().actor,
                hub_version="" if before is None else before.hub_version,
            )
            _ensure_unchanged(record.name, before, etag)
            await self._store.put_pin(connection, record)
            details = {"version": version, "before": "" if before is None else before.version, "reason": reason}
            await self._journal.append(connection, Entry("catalog.pin.set", record.name, workspace, details=details))
        await self._snapshot.refresh()
        return pin_message(record, found.state)

    async def delete(self, key: PinKey, *, etag: str) -> None:
        """Takes a pin away, so that the hub's holds again where there is one; raises what DeletePin documents."""
        workspace, environment, slug = key
        async with self._store.writing(workspace) as (connection, sequence):
            known = await self._store.pin(connection, environment, slug)
            if known is None or not known.version:
                raise NotFound(f"workspaces/{workspace}/environments/{environment}/pins/{slug}")
            _ensure_unchanged(known.name, known, etag)
            if known.from_hub and self._follows:
                text = "the hub set it: take it away there, or pin another version here, which goes before the hub's"
                raise StateConflict(known.name, "from-hub", text)
            told = known.hub_version if self._follows else ""
            # A version that the hub names and that is not here yet holds as soon as it is.
            back = told if told in [one.version for one in await self._store.versions(connection, slug)] else ""
            now, actor = self._clock.now(), current_caller().actor
            gone = replace(
                known,
                version=back,
                from_hub=bool(back),
                hub_version=told,
                reason="",
                revision=known.revision + 1,
                sequence=sequence,
                update_time=now,
                creator=actor,
            )
            await self._store.put_pin(connection, gone)
            entry = Entry("catalog.pin.delete", known.name, workspace, details={"before": known.version, "after": back})
            await self._journal.append(connection, entry)
        await self._snapshot.refresh()

    async def pins(self, workspace: str, *, after: str, limit: int, slug: str, environment: str) -> list[Pin]:
        """Returns up to `limit` pins with a name above `after`, in order of name; of all workspaces where none is
        given.
        """
        found = await self._store.pins(workspace, after=after, limit=limit, slug=slug, environment=environment)
        return [pin_message(one, self._state(one)) for one in found]

    def _state(self, pin: PinRecord) -> int:
        try:
            return self._snapshot.record(pin.slug, pin.version).state
        except NotFound:
            return 0


def _ensure_unchanged(name: str, before: PinRecord | None, etag: str) -> None:
    if etag and (before is None or etag != etag_of(before)):
        raise EtagMismatch(name)
