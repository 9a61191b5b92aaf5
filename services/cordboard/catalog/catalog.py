"""The catalog: publishes definitions, imports API descriptions, and answers what can be reached."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cordboard.catalog.definition import MAX_VIOLATIONS, content_hash, problems
from cordboard.catalog.document import read
from cordboard.catalog.messages import version_message
from cordboard.catalog.openapi import Imported, import_document
from cordboard.catalog.semver import following
from cordboard.catalog.store import IntegrationRecord, VersionRecord
from cordboard.catalog.v1.definition_pb2 import Category, Criticality, Definition
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import AlreadyExists, InvalidFields
from cordboard.core.telemetry import span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.snapshot import Snapshot
    from cordboard.catalog.store import CatalogStore
    from cordboard.catalog.v1 import catalog_service_pb2 as pb
    from cordboard.catalog.v1.catalog_service_pb2 import ImportReport
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock

Result = TypeVar("Result")

PUBLISHED: Final = "catalog.definition.publish"


@dataclass(frozen=True)
class _Checked:
    """A definition that may be published, and the hash of what it says."""

    definition: Definition
    content_hash: str
    origin: dict[str, Any]
    """Where it came from, for the audit journal."""


class Catalog:
    """What the mesh can reach."""

    def __init__(
        self, store: CatalogStore, snapshot: Snapshot, journal: Journal, clock: Clock, worker: Executor
    ) -> None:
        """Takes the store, what is in memory of it, the journal, the time, and who reads large documents."""
        self._store = store
        self._snapshot = snapshot
        self._journal = journal
        self._clock = clock
        self._worker = worker

    async def publish(self, document: str, *, validate_only: bool = False) -> pb.DefinitionVersion:
        """Publishes a definition document and returns the version that has its content.

        Raises DocumentInvalid, InvalidFields with all that is wrong, and AlreadyExists when the document names a
        version that has other content.
        """
        checked = await self._work(lambda: _read(document))
        return await self._publish(checked, validate_only=validate_only)

    async def import_openapi(
        self, document: str, *, slug: str, owner: str, source_uri: str, server_url: str, validate_only: bool = False
    ) -> tuple[pb.DefinitionVersion, ImportReport]:
        """Turns an OpenAPI document into a definition, publishes it, and returns it with the report.

        Raises DocumentInvalid and InvalidFields.
        """
        imported, checked = await self._work(
            lambda: _import(document, slug=slug, owner=owner, source_uri=source_uri, server_url=server_url)
        )
        return await self._publish(checked, validate_only=validate_only), imported.report

    def integration(self, slug: str) -> pb.Integration:
        """Returns an integration; raises NotFound."""
        return self._snapshot.integration(slug)

    def integrations(self, *, after: str, limit: int, category: int, query: str) -> list[pb.Integration]:
        """Returns up to `limit` integrations with a slug above `after`, in order; `query` is text to look for."""
        wanted = query.casefold()
        found: list[pb.Integration] = []
        for slug in self._snapshot.slugs(after):
            one = self._snapshot.integration(slug)
            if category not in (Category.CATEGORY_UNSPECIFIED, one.category):
                continue
            if not wanted or any(wanted in text.casefold() for text in (slug, one.title, one.description)):
                found.append(one)
                if len(found) == limit:
                    break
        return found

    async def version(self, slug: str, version: str) -> pb.DefinitionVersion:
        """Returns a version with its definition; `active` stands for the active one. Raises NotFound."""
        return (await self._snapshot.version(slug, version)).message

    def versions(self, slug: str, *, before: str, limit: int) -> list[tuple[str, pb.DefinitionVersion]]:
        """Returns up to `limit` versions, newest first, each with its place in the list; `before` is the last place
        that was seen. Raises NotFound.
        """
        found = []
        for one in self._snapshot.versions(slug):
            place = f"{self._snapshot.sequence(slug, one.name.rpartition('/')[2]):020d}"
            if not before or place < before:
                found.append((place, one))
        return found[:limit]

    async def actions(self, slug: str, *, after: str, limit: int, query: str) -> list[pb.ActionSummary]:
        """Returns up to `limit` actions of the active version with an id above `after`, in order; `query` is text to
        look for. Raises NotFound.
        """
        loaded = await self._snapshot.version(slug, self._snapshot.integration(slug).active_version)
        wanted = query.casefold()
        found: list[pb.ActionSummary] = []
        for one in loaded.actions[bisect_right(loaded.actions, after, key=lambda action: action.id) :]:
            if not wanted or any(wanted in text.casefold() for text in (one.id, one.title, one.path)):
                found.append(one)
                if len(found) == limit:
                    break
        return found

    async def watch(self, after: int) -> AsyncIterator[tuple[int, pb.DefinitionVersion | None]]:
        """Yields each version that was published after a change, and the number of its change, for ever. None comes
        once, when all that existed at the beginning was yielded.
        """
        # A number from another database, or from the time before a restore, says nothing here.
        seen = after if after <= self._snapshot.head else 0
        head = self._snapshot.head
        caught_up = False
        while True:
            grown = self._snapshot.grown
            for sequence, slug, version in self._snapshot.after(seen):
                yield sequence, await self.version(slug, version)
                seen = sequence
            if not caught_up:
                caught_up = True
                yield head, None
            await grown.wait()

    async def _work(self, task: Callable[[], Result]) -> Result:
        # Documents of several megabytes take seconds: the loop goes on answering meanwhile.
        with span("read document"):
            return await asyncio.get_running_loop().run_in_executor(self._worker, task)

    async def _publish(self, checked: _Checked, *, validate_only: bool) -> pb.DefinitionVersion:
        slug = checked.definition.slug
        if validate_only:
            async with self._store.reading() as connection:
                found, version = await self._settle(connection, checked)
            return found or self._new(checked, version)[0]
        async with self._store.writing() as (connection, sequence):
            found, version = await self._settle(connection, checked)
            if found is not None:
                return found
            message, record = self._new(checked, version, sequence)
            await self._store.put_integration(connection, self._integration(checked, record))
            await self._store.add_version(connection, record, message.definition.SerializeToString(deterministic=True))
            details = {"content_hash": record.content_hash, "actions": len(message.definition.actions)}
            entry = Entry(action=PUBLISHED, resource=record.name, details={**details, **checked.origin})
            await self._journal.append(connection, entry)
        # Whoever published reads it back from this replica at once.
        await self._snapshot.refresh()
        return (await self._snapshot.version(slug, record.version)).message

    async def _settle(self, connection: AsyncConnection, checked: _Checked) -> tuple[pb.DefinitionVersion | None, str]:
        """Returns the version that has this content already, if any, and what a new one is called."""
        slug, wanted = checked.definition.slug, checked.definition.version
        integration = await self._store.integration(connection, slug)
        active_version = "" if integration is None else integration.active_version
        known = await self._store.versions(connection, slug)
        for record in reversed(known):
            if wanted and record.version == wanted and record.content_hash != checked.content_hash:
                raise AlreadyExists(
                    record.name, f"version {wanted} of {slug!r} exists with other content: publish another version"
                )
            if record.content_hash == checked.content_hash and wanted in ("", record.version):
                definition = _versioned(checked.definition, record.version)
                message = version_message(record, active=record.version == active_version, definition=definition)
                return message, record.version
        return None, wanted or following(active_version, {record.version for record in known})

    def _new(self, checked: _Checked, version: str, sequence: int = 0) -> tuple[pb.DefinitionVersion, VersionRecord]:
        definition = _versioned(checked.definition, version)
        record = VersionRecord(
            slug=definition.slug,
            version=version,
            content_hash=checked.content_hash,
            sequence=sequence,
            create_time=self._clock.now(),
            creator=current_caller().actor,
        )
        return version_message(record, active=True, definition=definition), record

    def _integration(self, checked: _Checked, record: VersionRecord) -> IntegrationRecord:
        definition = checked.definition
        return IntegrationRecord(
            slug=definition.slug,
            title=definition.title,
            description=definition.description,
            category=definition.category or Category.CATEGORY_API,
            owner=definition.owner,
            criticality=definition.criticality or Criticality.CRITICALITY_MEDIUM,
            active_version=record.version,
            action_count=len(definition.actions),
            auth_schemes=tuple(scheme.id for scheme in definition.auth_schemes),
            tags=tuple(definition.tags),
            sequence=record.sequence,
            create_time=record.create_time,
            update_time=record.create_time,
        )


def _read(text: str) -> _Checked:
    document = read(text)
    found = problems(document.definition)
    if found:
        raise InvalidFields([document.placed(one) for one in found[:MAX_VIOLATIONS]])
    return _Checked(document.definition, content_hash(document.definition), {"origin": "document"})


def _import(document: str, **arguments: str) -> tuple[Imported, _Checked]:
    imported = import_document(document, **arguments)
    report = imported.report
    origin = {
        "origin": "openapi",
        "operations": report.operation_count,
        "losses": sum(finding.severity == finding.SEVERITY_LOSS for finding in report.findings),
    }
    return imported, _Checked(imported.definition, content_hash(imported.definition), origin)


def _versioned(definition: Definition, version: str) -> Definition:
    copy = Definition()
    copy.CopyFrom(definition)
    copy.version = version
    return copy
