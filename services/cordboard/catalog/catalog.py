"""The catalog: publishes definitions, imports API descriptions, and answers what can be reached."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from cordboard.catalog.compatibility.definitions import BACKWARD
from cordboard.catalog.definition import MAX_VIOLATIONS, content_hash, problems
from cordboard.catalog.difference import Change, differences
from cordboard.catalog.document import Document, read
from cordboard.catalog.examples import example_problems
from cordboard.catalog.extension import resolved
from cordboard.catalog.index import words_of
from cordboard.catalog.lifecycle import DRAFT, LIVE, RETIRED
from cordboard.catalog.messages import pin_message
from cordboard.catalog.openapi import NO_FILES, Files, Imported, import_document
from cordboard.catalog.publication import Checked, ensure_shared, make_private
from cordboard.catalog.snapshot import ACTIVE
from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.definition_pb2 import Category, Definition
from cordboard.catalog.v1.lifecycle_pb2 import RetiredVersion
from cordboard.catalog.visibility import View
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.ownership import owner_of
from cordboard.core.telemetry import span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor

    from cordboard.catalog.compatibility.definitions import Breakage
    from cordboard.catalog.gate import Gate, Verdict
    from cordboard.catalog.publication import Publication
    from cordboard.catalog.snapshot import Logged, Snapshot
    from cordboard.catalog.v1.catalog_service_pb2 import ImportReport
    from cordboard.core.errors import Violation

Result = TypeVar("Result")


@dataclass(frozen=True)
class Wanted:
    """Which integrations are asked for; what is empty is no condition."""

    category: int = 0
    query: str = ""
    state: int = 0
    owner: str = ""
    tag: str = ""
    changed_since: float | None = None
    """In seconds since 1970."""
    available: Callable[[str], bool] | None = None
    """Tells by slug whether it may be used; None: whether it may or not."""

    def fits(self, one: pb.Integration) -> bool:
        """Tells whether an integration has all that is asked for, but for the words."""
        # In this order: what is not asked for is not read, which takes more time than anything here.
        if self.category and self.category != one.category:
            return False
        if (self.state and self.state != one.state) or (self.owner and self.owner != one.owner):
            return False
        if self.tag and self.tag not in one.tags:
            return False
        if self.changed_since is None:
            return True
        return one.update_time.seconds + one.update_time.nanos / 1e9 >= self.changed_since


@dataclass(frozen=True)
class Description:
    """An API description that is to be imported, and what is said with it."""

    document: str
    slug: str = ""
    owner: str = ""
    source_uri: str = ""
    server_url: str = ""
    files: Files = NO_FILES


@dataclass(frozen=True)
class Difference:
    """What is new, gone and changed between two versions, and who would be hurt."""

    old: str
    new: str
    changes: list[Change]
    breakages: list[Breakage]


@dataclass(frozen=True)
class Validation:
    """What publishing a document would do."""

    version: pb.DefinitionVersion
    difference: Difference
    verdict: Verdict


@dataclass(frozen=True)
class Followed:
    """What came of an API description that is read again and again."""

    version: pb.DefinitionVersion
    difference: Difference
    hurt: tuple[Breakage, ...]
    """Why it waits as a draft; nothing: it is in the stage that was asked for."""


class Catalog:
    """What the mesh can reach."""

    def __init__(self, snapshot: Snapshot, publication: Publication, gate: Gate, worker: Executor) -> None:
        """Takes what is in memory of the catalog, what adds to it, what keeps promises, and who reads documents."""
        self._snapshot = snapshot
        self._publication = publication
        self._gate = gate
        self._worker = worker

    async def publish(
        self, document: str, *, workspace: str = "", stage: int = 0, validate_only: bool = False
    ) -> pb.DefinitionVersion:
        """Publishes a definition document, in the shared catalog or for one workspace alone, and returns the version
        that has its content.

        Raises DocumentInvalid, InvalidFields with all that is wrong, and AlreadyExists when the document names a
        version that has other content.
        """
        checked = await self._checked(document, workspace)
        return await self._publication.publish(checked, stage=stage, validate_only=validate_only)

    async def validate(self, document: str, *, workspace: str = "") -> Validation:
        """Says what publishing a document would do, and whether it would be refused. Raises as publishing does, but
        where it only breaks its promise.
        """
        return await self._validation(await self._checked(document, workspace))

    async def validate_openapi(self, description: Description) -> tuple[Validation, ImportReport]:
        """Says what importing a description would do, with the report. Raises as importing does, but where it only
        breaks its promise.
        """
        imported, checked = await self._work(lambda: _import(description))
        return await self._validation(checked), imported.report

    async def _validation(self, checked: Checked) -> Validation:
        version = await self._publication.publish(checked, stage=DRAFT, validate_only=True)
        try:
            old = (await self._snapshot.version(checked.definition.slug, ACTIVE)).message.definition
        except NotFound:
            old = Definition()
        verdict = await self._gate.verdict(checked.definition)
        return Validation(version, await self._difference(old, version.definition), verdict)

    async def import_openapi(
        self, description: Description, *, validate_only: bool = False
    ) -> tuple[pb.DefinitionVersion, ImportReport, str]:
        """Turns an OpenAPI document into a definition, publishes it, and returns it with the report and the version
        that was active before.

        Raises DocumentInvalid and InvalidFields.
        """
        imported, checked = await self._work(lambda: _import(description))
        await self._snapshot.refresh()
        try:
            before = self._snapshot.integration(checked.definition.slug).active_version
        except NotFound:
            before = ""
        return await self._publication.publish(checked, validate_only=validate_only), imported.report, before

    async def follow_openapi(self, description: Description, *, stage: int) -> Followed:
        """Publishes what an OpenAPI document says now, as a draft where it would hurt those who use the active version.

        Raises DocumentInvalid and InvalidFields.
        """
        _, checked = await self._work(lambda: _import(description))
        tried = await self._validation(checked)
        backward = (one for one in tried.difference.breakages if one.direction == BACKWARD)
        hurt = tuple(dict.fromkeys((*tried.verdict.breakages, *backward)))
        version = await self._publication.publish(checked, stage=DRAFT if hurt else stage)
        return Followed(version, tried.difference, hurt)

    def is_draft(self, name: str) -> bool:
        """Tells whether a version, by its resource name, is there and still a draft."""
        _, slug, _, version = name.split("/")
        try:
            return self._snapshot.record(slug, version).state == DRAFT
        except NotFound:
            return False

    async def promote(self, name: str, *, slug: str, version: str, stage: int, update: bool) -> pb.DefinitionVersion:
        """Publishes a private version in the shared catalog; raises what PromoteIntegration documents."""
        workspace, _, own = name.rpartition("--")
        if not workspace:
            raise InvalidFields.one("name", "is in the shared catalog already")
        await self._snapshot.refresh()
        private = (await self._snapshot.version(name, version or ACTIVE)).message
        checked = await self._work(lambda: _shared(private, slug or own))
        return await self._publication.publish(checked, stage=stage, new=not update)

    def integration(self, slug: str) -> pb.Integration:
        """Returns an integration; raises NotFound."""
        found = self._snapshot.integration(slug)
        if not self._view.sees(slug, found.state):
            raise NotFound(found.name)
        return found

    def integrations(self, wanted: Wanted, *, after: str, limit: int) -> list[pb.Integration]:
        """Returns up to `limit` integrations with a slug above `after`, in order; raises InvalidFields."""
        words, view, index = words_of(wanted.query), self._view, self._snapshot.index
        found: list[pb.Integration] = []
        for slug in self._snapshot.slugs(after):
            if words and not index.matches(slug, words):
                continue
            one = self._snapshot.integration(slug)
            if not wanted.fits(one) or not view.sees(slug, one.state):
                continue
            if wanted.available is None or wanted.available(slug):
                found.append(one)
                if len(found) == limit:
                    break
        return found

    async def version(self, slug: str, version: str) -> pb.DefinitionVersion:
        """Returns a version with its definition; `active` stands for the active one. Raises NotFound."""
        if not self._view.sees(slug, self._snapshot.record(slug, version).state):
            raise NotFound(f"integrations/{slug}/versions/{version}")
        return (await self._snapshot.version(slug, version)).message

    def versions(self, slug: str, *, before: str, limit: int) -> list[tuple[str, pb.DefinitionVersion]]:
        """Returns up to `limit` versions, newest first, each with its place in the list; `before` is the last place
        that was seen. Raises NotFound.
        """
        self.integration(slug)
        view, found = self._view, []
        for record in self._snapshot.records(slug):
            place = f"{record.published:020d}"
            if view.sees(slug, record.state) and (not before or place < before):
                found.append((place, self._snapshot.described(record)))
        return found[:limit]

    def actions(self, slug: str, *, after: str, limit: int, query: str) -> list[pb.ActionSummary]:
        """Returns up to `limit` actions of the active version with an id above `after`, in order; `query` is words to
        look for. Raises NotFound.
        """
        self.integration(slug)
        entry = self._snapshot.index.entry(slug)
        wanted = query.casefold()
        found: list[pb.ActionSummary] = []
        for one in entry.summaries():
            if one.id <= after:
                continue
            if not wanted or any(wanted in text.casefold() for text in (one.id, one.title, one.path)):
                found.append(one)
                if len(found) == limit:
                    break
        return found

    def search(
        self, query: str, *, after: tuple[str, str], limit: int, category: int
    ) -> list[tuple[pb.Integration, pb.ActionSummary]]:
        """Returns up to `limit` actions of all integrations with all the words of `query`, in order of slug and id,
        above one slug and id; raises InvalidFields.
        """
        words = words_of(query)
        if not words:
            raise InvalidFields.one("query", "is required", "REQUIRED")
        view, index = self._view, self._snapshot.index
        found: list[tuple[pb.Integration, pb.ActionSummary]] = []
        begun, last = after
        slugs, candidates = self._snapshot.slugs(begun), index.candidates(words)
        for slug in [begun, *slugs] if begun else slugs:
            if slug not in candidates:
                continue
            one = self._snapshot.integration(slug)
            if category not in (Category.CATEGORY_UNSPECIFIED, one.category) or not view.sees(slug, one.state):
                continue
            for action in index.found(slug, words, after=last if slug == begun else ""):
                found.append((one, action))
                if len(found) == limit:
                    return found
        return found

    async def compare(self, slug: str, old: str, new: str) -> Difference:
        """Returns what is new, gone and changed between two versions; raises NotFound."""
        versions = [await self.version(slug, version) for version in (old, new)]
        return await self._difference(versions[0].definition, versions[1].definition)

    async def watch(self, after: int) -> AsyncIterator[pb.WatchDefinitionsResponse]:
        """Yields each change after one, for ever: versions that are live, versions that were retired, and pins. Says
        once that it has caught up, when all that existed at the beginning was yielded.
        """
        caller = current_caller()
        view = View.of(caller)
        # A number from another database, or from the time before a restore, says nothing here.
        seen = after if after <= self._snapshot.head else 0
        head = self._snapshot.head
        caught_up = False
        while True:
            grown = self._snapshot.grown
            for logged in self._snapshot.after(seen):
                message = await self._told(logged, view)
                if message is not None:
                    yield message
                seen = logged[0]
            if not caught_up:
                caught_up = True
                yield pb.WatchDefinitionsResponse(sequence=head, caught_up=True)
            await grown.wait()

    async def _told(self, logged: Logged, view: View) -> pb.WatchDefinitionsResponse | None:
        sequence, key = logged
        if len(key) == 3:
            if not view.everywhere:
                return None
            return pb.WatchDefinitionsResponse(sequence=sequence, pin=pin_message(self._snapshot.pin(key)))
        try:
            record = self._snapshot.record(*key)
            if not view.sees(key[0], record.state):
                return None
            if record.state in LIVE:
                version = (await self._snapshot.version(*key)).message
                return pb.WatchDefinitionsResponse(sequence=sequence, definition_version=version)
        except NotFound:
            # It went while the stream was on its way to it; what came of it has a number of its own.
            return None
        if record.state != RETIRED:
            return None
        gone = RetiredVersion(name=record.name, successor=record.successor, workspace=record.workspace_id)
        return pb.WatchDefinitionsResponse(sequence=sequence, retired_version=gone)

    @property
    def _view(self) -> View:
        return View.of(current_caller())

    async def _difference(self, old: Definition, new: Definition) -> Difference:
        changes = await self._work(lambda: differences(old, new))
        hurt = await self._gate.compared(old, new, backward=True, forward=True) if old.slug else []
        return Difference(old.version, new.version, changes, hurt)

    async def _checked(self, text: str, workspace: str) -> Checked:
        document = await self._work(lambda: read(text))
        definition = document.definition
        if not definition.HasField("extends"):
            return await self._work(lambda: _check(document, definition, workspace))

        async def lookup(slug: str, version: str) -> Definition | None:
            try:
                found = await self._snapshot.version(slug, version)
            except NotFound:
                return None
            # A base is published, and whoever builds on it sees it: a shared one stands on shared ones alone.
            usable = found.message.state in LIVE and owner_of(slug) in ("", workspace)
            return found.message.definition if usable else None

        try:
            whole = await resolved(definition, lookup)
        except InvalidFields as error:
            raise InvalidFields([document.placed(one) for one in error.violations]) from None
        return await self._work(lambda: _check(document, whole, workspace))

    async def _work(self, task: Callable[[], Result]) -> Result:
        # Documents of several megabytes take seconds: the loop goes on answering meanwhile.
        with span("read document"):
            return await asyncio.get_running_loop().run_in_executor(self._worker, task)


def _wrong(definition: Definition) -> list[Violation]:
    """Returns what keeps a definition from being published; its examples are executed where nothing else does."""
    found = problems(definition) or list(islice(example_problems(definition), MAX_VIOLATIONS))
    return found[:MAX_VIOLATIONS]


def _check(document: Document, definition: Definition, workspace: str) -> Checked:
    found = _wrong(definition)
    if found:
        raise InvalidFields([document.placed(one) for one in found])
    origin: dict[str, Any] = {"origin": "document"}
    try:
        if workspace:
            make_private(definition, workspace)
            found = problems(definition)
            if found:
                raise InvalidFields(found[:MAX_VIOLATIONS])
        else:
            ensure_shared(definition)
    except InvalidFields as error:
        raise InvalidFields([document.placed(one) for one in error.violations]) from None
    return Checked(definition, content_hash(definition), origin)


def _shared(private: pb.DefinitionVersion, slug: str) -> Checked:
    """Returns what a private version is in the shared catalog; raises InvalidFields."""
    definition = Definition()
    definition.CopyFrom(private.definition)
    definition.slug, definition.version = slug, ""
    # It was sound when it was published; the rules may have become stricter since.
    found = _wrong(definition)
    if found:
        raise InvalidFields(found)
    ensure_shared(definition)
    return Checked(definition, content_hash(definition), {"origin": "promotion", "from": private.name})


def _import(description: Description) -> tuple[Imported, Checked]:
    imported = import_document(
        description.document,
        slug=description.slug,
        owner=description.owner,
        source_uri=description.source_uri,
        server_url=description.server_url,
        files=description.files,
    )
    ensure_shared(imported.definition)
    report = imported.report
    origin = {
        "origin": "openapi",
        "operations": report.operation_count,
        "losses": sum(finding.severity == finding.SEVERITY_LOSS for finding in report.findings),
    }
    return imported, Checked(imported.definition, content_hash(imported.definition), origin)
