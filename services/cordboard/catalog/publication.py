"""Publishing: a definition becomes a version of its integration, in the stage that is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.facts import described
from cordboard.catalog.gate import in_use
from cordboard.catalog.lifecycle import ACTIVE, DRAFT, RETIRED, STAGED, STAGES, Move, word
from cordboard.catalog.messages import version_message
from cordboard.catalog.semver import following
from cordboard.catalog.store import VersionRecord
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.catalog.visibility import private_slug
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import AlreadyExists, InvalidFields, LimitExceeded, NotFound, StateConflict
from cordboard.core.ownership import SEPARATOR, owner_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.gate import Bases, Gate
    from cordboard.catalog.lifecycle import Lifecycle
    from cordboard.catalog.snapshot import Snapshot
    from cordboard.catalog.store import CatalogStore
    from cordboard.catalog.v1 import catalog_service_pb2 as pb
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock

PUBLISHED: Final = "catalog.definition.publish"
_PROGRESS: Final[Mapping[int, int]] = {DRAFT: 0, STAGED: 1}


@dataclass(frozen=True)
class Checked:
    """A definition that may be published, and the hash of what it says."""

    definition: Definition
    content_hash: str
    origin: dict[str, Any] = field(default_factory=dict)
    """Where it came from, for the audit journal."""

    def versioned(self, version: str) -> Definition:
        """Returns the definition under the name of a version."""
        copy = Definition()
        copy.CopyFrom(self.definition)
        copy.version = version
        return copy


class Publication:
    """Adds versions to the catalog."""

    def __init__(
        self,
        store: CatalogStore,
        snapshot: Snapshot,
        journal: Journal,
        clock: Clock,
        gate: Gate,
        lifecycle: Lifecycle,
        *,
        private_limit: int,
    ) -> None:
        """Takes the store, what is in memory of it, the journal, the time, what keeps promises, what moves versions
        on, and how many private integrations a workspace can have.
        """
        self._store = store
        self._snapshot = snapshot
        self._journal = journal
        self._clock = clock
        self._gate = gate
        self._lifecycle = lifecycle
        self._private_limit = private_limit
        self._turn = asyncio.Lock()

    async def publish(
        self, checked: Checked, *, stage: int = 0, validate_only: bool = False, new: bool = False
    ) -> pb.DefinitionVersion:
        """Publishes a definition, and returns the version that has its content; unset, the stage is ACTIVE. One that
        is `new` takes a slug that nobody has.

        Raises AlreadyExists, InvalidFields where it breaks its promise, and LimitExceeded.
        """
        stage = stage or ACTIVE
        if stage not in STAGES:
            raise InvalidFields.one("stage", "must be DRAFT, STAGED or ACTIVE")
        slug = checked.definition.slug
        workspace = owner_of(slug)
        # Another replica may have published what this is to be compared with.
        await self._snapshot.refresh()
        if validate_only:
            if stage != DRAFT:
                await self._gate.check(checked.definition)
            async with self._store.reading(workspace) as connection:
                found, version, _ = await self._place(connection, checked)
            return self._tried(checked, version, stage) if found is None else await self._found(checked, found)
        # One after the other here, so that only other replicas can come between the check and the writing.
        async with self._turn:
            record, written = await self._written(checked, stage, new=new)
        return await self._published(record) if written else await self._moved_on(checked, record, stage)

    async def _written(self, checked: Checked, stage: int, *, new: bool) -> tuple[VersionRecord, bool]:
        """Returns the version that has a definition's content, and whether it was written now."""
        slug = checked.definition.slug
        workspace = owner_of(slug)
        while True:
            if new:
                self._ensure_free(checked)
            agreed = await self._gate.check(checked.definition) if stage != DRAFT else None
            async with self._store.writing(workspace) as (connection, sequence):
                found, version, known = await self._place(connection, checked)
                if found is not None:
                    return found, False
                if new and known:
                    # Another replica was faster: nothing tells so but what is committed.
                    raise _taken(slug)
                if agreed is None or agreed == await self._in_use(connection, checked, known):
                    await self._ensure_room(connection, workspace, slug)
                    record = self._record(checked, version, stage, sequence)
                    await self._add(connection, checked, record, known)
                    break
            # Another replica has changed what there is to be compared with.
            await self._snapshot.refresh()
        return record, True

    def _ensure_free(self, checked: Checked) -> None:
        slug = checked.definition.slug
        try:
            records = self._snapshot.records(slug)
        except NotFound:
            return
        if not any(record.content_hash == checked.content_hash for record in records):
            raise _taken(slug)

    async def _published(self, record: VersionRecord) -> pb.DefinitionVersion:
        # Whoever published reads it back from this replica at once.
        await self._snapshot.refresh()
        return (await self._snapshot.version(record.slug, record.version)).message

    async def _moved_on(self, checked: Checked, found: VersionRecord, stage: int) -> pb.DefinitionVersion:
        if _PROGRESS.get(found.state, 2) < _PROGRESS.get(stage, 2):
            await self._lifecycle.transition(found.slug, found.version, Move(stage))
            return (await self._snapshot.version(found.slug, found.version)).message
        return await self._found(checked, found)

    async def _found(self, checked: Checked, record: VersionRecord) -> pb.DefinitionVersion:
        # Whoever wrote it may not have read it back yet.
        await self._snapshot.refresh()
        active = self._snapshot.integration(record.slug).active_version == record.version
        return version_message(record, active=active, definition=checked.versioned(record.version))

    def _tried(self, checked: Checked, version: str, stage: int) -> pb.DefinitionVersion:
        record = self._record(checked, version, stage, 0)
        return version_message(record, active=stage == ACTIVE, definition=checked.versioned(version))

    async def _place(
        self, connection: AsyncConnection, checked: Checked
    ) -> tuple[VersionRecord | None, str, dict[str, VersionRecord]]:
        """Returns the version that has this content already, if any, what a new one is called, and all there are."""
        slug, wanted = checked.definition.slug, checked.definition.version
        integration = await self._store.integration(connection, slug)
        known = await self._store.versions(connection, slug)
        for record in reversed(known):
            if wanted and record.version == wanted:
                if record.content_hash != checked.content_hash:
                    raise AlreadyExists(
                        record.name, f"version {wanted} of {slug!r} exists with other content: publish another version"
                    )
                if record.state == RETIRED:
                    raise StateConflict(record.name, word(RETIRED), "it is retired: publish another version")
            same = record.content_hash == checked.content_hash and record.state != RETIRED
            if same and wanted in ("", record.version):
                return record, record.version, {}
        records = {record.version: record for record in known}
        active_version = "" if integration is None else integration.active_version
        return None, wanted or following(active_version, set(records)), records

    async def _ensure_room(self, connection: AsyncConnection, workspace: str, slug: str) -> None:
        if not workspace or await self._store.integration(connection, slug) is not None:
            return
        if await self._store.private_count(connection, workspace) >= self._private_limit:
            raise LimitExceeded(
                "private_integrations",
                f"workspaces/{workspace}",
                3600.0,
                f"a workspace has at most {self._private_limit} private integrations",
            )

    async def _in_use(self, connection: AsyncConnection, checked: Checked, known: dict[str, VersionRecord]) -> Bases:
        integration = await self._store.integration(connection, checked.definition.slug)
        active = "" if integration is None else integration.active_version
        return in_use(known.values(), active, checked.definition.version)

    async def _add(
        self, connection: AsyncConnection, checked: Checked, record: VersionRecord, known: dict[str, VersionRecord]
    ) -> None:
        definition = checked.versioned(record.version)
        content = definition.SerializeToString(deterministic=True)
        await self._store.add_version(connection, record, content, described(definition))
        await self._lifecycle.settle(connection, {**known, record.version: record}, record)
        details = {
            "content_hash": record.content_hash,
            "actions": len(definition.actions),
            "stage": word(record.state),
            **checked.origin,
        }
        entry = Entry(action=PUBLISHED, resource=record.name, workspace=record.workspace_id, details=details)
        await self._journal.append(connection, entry)

    def _record(self, checked: Checked, version: str, stage: int, sequence: int) -> VersionRecord:
        now, actor = self._clock.now(), current_caller().actor
        return VersionRecord(
            slug=checked.definition.slug,
            version=version,
            content_hash=checked.content_hash,
            published=sequence,
            create_time=now,
            creator=actor,
            state=stage,
            sequence=sequence,
            revision=1,
            activation=sequence if stage == ACTIVE else 0,
            sunset_time=None,
            successor="",
            reason="",
            update_time=now,
            updater=actor,
            workspace_id=owner_of(checked.definition.slug),
        )


def _taken(slug: str) -> AlreadyExists:
    text = f"the shared catalog has {slug!r}: promote under another slug, or ask for a new version of it"
    return AlreadyExists(f"integrations/{slug}", text)


def ensure_shared(definition: Definition) -> None:
    """Returns when a definition may stand in the shared catalog; raises InvalidFields."""
    if SEPARATOR in definition.slug:
        raise InvalidFields.one("slug", f"must not hold {SEPARATOR!r}, which names a workspace's private integrations")


def make_private(definition: Definition, workspace: str) -> None:
    """Gives a definition the slug that it has in a workspace; raises InvalidFields."""
    if SEPARATOR in definition.slug.removeprefix(workspace + SEPARATOR):
        raise InvalidFields.one("slug", f"must not hold {SEPARATOR!r} beside the workspace's id")
    definition.slug = private_slug(workspace, definition.slug)
