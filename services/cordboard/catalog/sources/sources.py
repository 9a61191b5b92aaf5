"""Sources: what there is, and what a run of one does."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cordboard.catalog.catalog import Description
from cordboard.catalog.governance_messages import difference_message
from cordboard.catalog.lifecycle import DRAFT, STAGES
from cordboard.catalog.openapi.bundle import Files
from cordboard.catalog.sources.folder import FolderReader
from cordboard.catalog.sources.git import GitReader
from cordboard.catalog.sources.openapi import OpenApiReader
from cordboard.catalog.sources.reading import SourceUnreadable
from cordboard.catalog.sources.rest import RestReader
from cordboard.catalog.sources.spread import describes_api
from cordboard.catalog.sources.store import SourceRecord
from cordboard.catalog.v1 import source_service_pb2 as pb
from cordboard.core.audit import Entry
from cordboard.core.egress import check_url, is_host_key
from cordboard.core.errors import CordboardError, EgressDenied, EtagMismatch, InvalidFields, NotFound, StateConflict
from cordboard.core.names import check_id, parse
from cordboard.core.times import to_seconds, to_timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cordboard.catalog.catalog import Catalog, Followed
    from cordboard.catalog.sources.reading import Found, Reader
    from cordboard.catalog.sources.store import SourceStore
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.egress import Egress
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

DEFAULT_SECONDS: Final = 6 * 3600.0
SHORTEST_SECONDS: Final = 60.0
JITTER: Final = 0.1
MAX_ERROR: Final = 500
MAX_HOSTS: Final = 20
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('cordboard source'), hashtext($1))"


class Sources:
    """Keeps and runs sources."""

    def __init__(
        self,
        database: Database,
        store: SourceStore,
        catalog: Catalog,
        journal: Journal,
        clock: Clock,
        egress: Egress,
        *,
        roots: Sequence[Path],
    ) -> None:
        """Takes the tables, the catalog to publish in, the journal, the time, the way out, and the folders that may be
        read.
        """
        self._database = database
        self._store = store
        self._catalog = catalog
        self._journal = journal
        self._clock = clock
        self._egress = egress
        self._roots = roots

    async def put(self, source: pb.Source) -> pb.Source:
        """Creates or replaces a source; its next run is at once. Raises InvalidFields and EtagMismatch."""
        (name,) = parse(source.name, "sources/*", field="source.name")
        check_id(name, "source.name")
        self._check(source)
        kept = pb.Source()
        kept.CopyFrom(source)
        for field in ("etag", "last_run", "next_run_time"):
            kept.ClearField(field)
        async with self._store.transaction() as connection:
            known = await self._store.source(connection, name, lock=True)
            if source.etag and (known is None or _etag(known) != source.etag):
                raise EtagMismatch(source.name)
            record = SourceRecord(
                id=name,
                content=kept.SerializeToString(deterministic=True),
                revision=1 if known is None else known.revision + 1,
                next_run_time=None if source.paused else self._clock.now(),
                last_run=b"" if known is None else known.last_run,
            )
            await self._store.put(connection, record)
            entry = Entry("catalog.source.put", record.name, details={"kind": source.WhichOneof("kind") or ""})
            await self._journal.append(connection, entry)
        return _message(record)

    async def source(self, name: str) -> pb.Source:
        """Returns a source; raises NotFound."""
        return _message(await self._record(name))

    async def sources(self, *, after: str, limit: int) -> list[pb.Source]:
        """Returns up to `limit` sources with an id above `after`, in order."""
        async with self._store.transaction() as connection:
            return [_message(one) for one in await self._store.sources(connection, after=after, limit=limit)]

    async def due(self) -> list[tuple[str, datetime]]:
        """Returns the sources that are to be read by now, and since when."""
        async with self._store.transaction() as connection:
            found = await self._store.due(connection, self._clock.now())
        return [(one.id, one.next_run_time) for one in found if one.next_run_time is not None]

    async def delete(self, name: str) -> None:
        """Deletes a source; raises NotFound."""
        async with self._store.transaction() as connection:
            if not await self._store.delete(connection, name):
                raise NotFound(f"sources/{name}")
            await self._journal.append(connection, Entry("catalog.source.delete", f"sources/{name}"))

    async def run_due(self, name: str, due: datetime) -> None:
        """Runs a source that was to be read at a time, unless that has been done."""
        with contextlib.suppress(NotFound, StateConflict):
            async for _ in self.run(name, due=due):
                pass

    async def run(self, name: str, *, due: datetime | None = None) -> AsyncIterator[pb.RunSourceResponse]:
        """Reads a source and publishes what it has; yields each thing it found, and at the end what the run gave.

        Raises NotFound, and StateConflict while another replica runs it.
        """
        await self._record(name)
        lock = await self._database.raw()
        try:
            if not await lock.fetchval(_LOCK, name):
                raise StateConflict(f"sources/{name}", "running", "it runs already")
            record = await self._record(name)
            if due is not None and record.next_run_time != due:
                return
            async for answer in self._run(record):
                yield answer
        finally:
            with contextlib.suppress(Exception):
                await lock.close(timeout=1)

    async def _run(self, record: SourceRecord) -> AsyncIterator[pb.RunSourceResponse]:
        source = pb.Source.FromString(record.content)
        began = self._clock.now()
        run = self._begun(record, began)
        await self._keep(record, run)
        reader = self._reader(source, record)
        try:
            async for found in reader.documents():
                answer = await self._take(source, found, began, run)
                run.found_count += 1
                run.published_count += answer.outcome in ("published", "held")
                run.unchanged_count += answer.outcome == "unchanged"
                run.failed_count += answer.outcome == "failed"
                if answer.outcome == "failed" and not run.error:
                    run.error = f"{answer.item}: {answer.text}"[:MAX_ERROR]
                yield answer
        except SourceUnreadable as error:
            run.error = str(error)[:MAX_ERROR]
        run.revision = reader.revision
        run.end_time.CopyFrom(to_timestamp(self._clock.now()))
        # Where something could not be taken, the next run looks at everything again.
        etag = reader.revision if source.WhichOneof("kind") in ("rest", "openapi") and not run.error else ""
        await self._keep(record, run, etag=etag, next_run_time=self._next(source))
        yield pb.RunSourceResponse(run=run)

    def _begun(self, record: SourceRecord, began: datetime) -> pb.SourceRun:
        run = pb.SourceRun(start_time=to_timestamp(began))
        last = pb.SourceRun.FromString(record.last_run)
        if last.held_version and self._catalog.is_draft(last.held_version):
            run.held_version, run.notice = last.held_version, last.notice
        return run

    async def _take(self, source: pb.Source, found: Found, began: datetime, run: pb.SourceRun) -> pb.RunSourceResponse:
        if found.problem:
            return pb.RunSourceResponse(item=found.item, outcome="failed", text=found.problem)
        try:
            if source.HasField("openapi"):
                return await self._follow(source.openapi, found, began, run)
            if describes_api(found.document):
                files = Files.of(found.item if found.files else "", found.files.items())
                version, _, _ = await self._catalog.import_openapi(Description(found.document, files=files))
            else:
                version = await self._catalog.publish(found.document)
        except CordboardError as error:
            return pb.RunSourceResponse(item=found.item, outcome="failed", text=error.text[:MAX_ERROR])
        new = version.create_time.ToDatetime(tzinfo=UTC) >= began
        return pb.RunSourceResponse(item=found.item, outcome="published" if new else "unchanged", text=version.name)

    async def _follow(
        self, wanted: pb.OpenApiDescription, found: Found, began: datetime, run: pb.SourceRun
    ) -> pb.RunSourceResponse:
        description = Description(
            found.document,
            slug=wanted.slug,
            owner=wanted.owner,
            source_uri=found.item,
            server_url=wanted.server_url,
            # They are called by their URLs, and as many and as large as the reader lets them be.
            files=Files(found.files, found.item if found.files else ""),
        )
        followed = await self._catalog.follow_openapi(description, stage=wanted.stage or DRAFT)
        name = followed.version.name
        held = bool(followed.hurt) and self._catalog.is_draft(name)
        run.held_version, run.notice = (name, _notice(followed)) if held else ("", "")
        if held:
            logger.warning("a version is held as a draft", extra={"version": name, "notice": run.notice})
        new = followed.version.create_time.ToDatetime(tzinfo=UTC) >= began
        return pb.RunSourceResponse(
            item=found.item,
            outcome=("held" if held else "published") if new else "unchanged",
            text=f"{name} {run.notice}".strip(),
            difference=difference_message(followed.difference) if followed.difference.changes else None,
            file_count=len(found.files),
            left_references=found.left,
        )

    async def _keep(self, record: SourceRecord, run: pb.SourceRun, **values: object) -> None:
        async with self._store.transaction() as connection:
            await self._store.change(connection, record.id, last_run=run.SerializeToString(), **values)

    async def _record(self, name: str) -> SourceRecord:
        async with self._store.transaction() as connection:
            found = await self._store.source(connection, name)
        if found is None:
            raise NotFound(f"sources/{name}")
        return found

    def _reader(self, source: pb.Source, record: SourceRecord) -> Reader:
        kind = source.WhichOneof("kind")
        if kind == "folder":
            return FolderReader(Path(source.folder.path), self._roots)
        if kind == "git":
            return GitReader(Path(source.git.path), source.git.revision, source.git.folder, self._roots)
        if kind == "openapi":
            return OpenApiReader(self._egress, source.openapi, record.etag)
        return RestReader(self._egress, source.rest, record.etag)

    def _next(self, source: pb.Source) -> datetime | None:
        if source.paused:
            return None
        # Spread out: sources that were made together are not read together for ever.
        spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        return self._clock.now() + timedelta(seconds=_interval(source) * spread)

    def _check(self, source: pb.Source) -> None:
        kind = source.WhichOneof("kind")
        if kind is None:
            raise InvalidFields.one(
                "source.kind", "must be a folder, a Git checkout, a REST catalog or an OpenAPI description", "REQUIRED"
            )
        if source.HasField("interval") and to_seconds(source.interval) < SHORTEST_SECONDS:
            raise InvalidFields.one("source.interval", f"must be at least {SHORTEST_SECONDS:.0f} seconds")
        if kind in ("folder", "git"):
            path = Path(source.folder.path if kind == "folder" else source.git.path)
            inside = path.is_absolute() and any(path.resolve().is_relative_to(root.resolve()) for root in self._roots)
            if not inside:
                text = "must be below a folder that the Catalog may read (CORDBOARD_SOURCE_FOLDERS, up --source-folder)"
                raise InvalidFields.one(f"source.{kind}.path", text)
            return
        self._check_url(source.rest.url if kind == "rest" else source.openapi.url, f"source.{kind}.url")
        if kind == "rest" and "slug" not in source.rest.fields:
            raise InvalidFields.one("source.rest.fields", "must say where the slug is", "REQUIRED")
        if kind == "openapi":
            check_id(source.openapi.slug, "source.openapi.slug")
            self._check_hosts(source.openapi.reference_hosts)
            if source.openapi.stage and source.openapi.stage not in STAGES:
                raise InvalidFields.one("source.openapi.stage", "must be DRAFT, STAGED or ACTIVE")

    def _check_hosts(self, hosts: Sequence[str]) -> None:
        if len(hosts) > MAX_HOSTS:
            raise InvalidFields.one("source.openapi.reference_hosts", f"must be at most {MAX_HOSTS}")
        for index, host in enumerate(hosts):
            if not is_host_key(host):
                field = f"source.openapi.reference_hosts[{index}]"
                raise InvalidFields.one(field, "must be a host in small letters, with its port unless that is 443")

    def _check_url(self, url: str, field: str) -> None:
        try:
            if check_url(url).scheme != "https" and not self._egress.allows("127.0.0.1"):
                raise InvalidFields.one(field, "must begin with https://")
        except EgressDenied:
            raise InvalidFields.one(field, "is no URL that may be asked") from None


def _notice(followed: Followed) -> str:
    first, *others = followed.hurt
    more = f", and {len(others)} more" if others else ""
    return f"would hurt who uses {followed.difference.old}: {first.field}: {first.description} ({first.rule}){more}"[
        :MAX_ERROR
    ]


def _interval(source: pb.Source) -> float:
    return to_seconds(source.interval) if source.HasField("interval") else DEFAULT_SECONDS


def _etag(record: SourceRecord) -> str:
    return hashlib.sha256(f"{record.id}/{record.revision}".encode()).hexdigest()[:16]


def _message(record: SourceRecord) -> pb.Source:
    source = pb.Source.FromString(record.content)
    source.etag = _etag(record)
    if record.last_run:
        source.last_run.ParseFromString(record.last_run)
    if record.next_run_time is not None:
        source.next_run_time.CopyFrom(to_timestamp(record.next_run_time))
    return source
