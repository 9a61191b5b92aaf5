"""What the Catalog holds, in memory, so that reads touch no database: every integration, version and pin, what there
is to be found by words, and the definitions that were asked for last.

It follows the database by notification, and by a look each second. When the database is away it goes on answering.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cordboard.catalog.index import Index
from cordboard.catalog.messages import integration_message, listing_of, version_message
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_DRAFT
from cordboard.core.copies import ANSWERS_WITHIN, Copy
from cordboard.core.errors import DependencyUnavailable, NotFound
from cordboard.core.ownership import owner_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cordboard.catalog.store import (
        CatalogStore,
        Changed,
        IntegrationRecord,
        PinRecord,
        ReviewRecord,
        VersionRecord,
    )
    from cordboard.catalog.v1 import catalog_service_pb2 as pb
    from cordboard.core.database import Changes

logger = logging.getLogger(__name__)

ACTIVE = "active"

Key = tuple[str, str]
PinKey = tuple[str, str, str]
Logged = tuple[int, Key | PinKey]


@dataclass(frozen=True)
class Loaded:
    """A definition version with its definition, as it is answered."""

    message: pb.DefinitionVersion
    bytes: int


class Snapshot:
    """The catalog in memory. The messages it gives are shared: nobody changes them."""

    def __init__(self, store: CatalogStore, *, cache_bytes: int) -> None:
        """Takes the store, and how many bytes of definitions to keep, as they are on the wire."""
        self._store = store
        self.copy = Copy("database", within=ANSWERS_WITHIN)
        self._cache_bytes = cache_bytes
        self._integrations: dict[str, pb.Integration] = {}
        self._slugs: list[str] = []
        self._versions: dict[str, dict[str, VersionRecord]] = {}
        self._pins: dict[PinKey, PinRecord] = {}
        self._reviews: dict[str, ReviewRecord] = {}
        # The number of the last change of each version that is no draft, and of each pin, in order.
        self._log: list[Logged] = []
        self.index = Index()
        self._loaded: OrderedDict[Key, Loaded] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[Loaded]] = {}
        self._loaded_bytes = 0
        self._head: int | None = None
        self._grown = asyncio.Event()
        self._refreshing = asyncio.Lock()

    async def run(self, changes: Changes) -> None:
        """Follows the database for ever."""
        async with changes.subscription() as subscription:
            while True:
                try:
                    await self.refresh()
                except DependencyUnavailable as error:
                    self.copy.lost()
                    logger.warning("the catalog is not refreshed", extra={"problem": error.text})
                await subscription.wait()

    async def refresh(self) -> None:
        """Takes in what was committed until now; raises DependencyUnavailable."""
        async with self._refreshing:
            changed = await self._store.changed(self._head or 0)
            if self._head is not None and changed.head < self._head:
                self._forget()
            await self._apply(changed)
            self.copy.current()

    async def check(self) -> None:
        """Raises DependencyUnavailable until the catalog was read for the first time."""
        self._ensure_read()

    @property
    def head(self) -> int:
        """Returns the number of the newest change known here; raises DependencyUnavailable before the first read."""
        return self._ensure_read()

    def _ensure_read(self) -> int:
        if self._head is None:
            raise DependencyUnavailable("database")
        return self._head

    @property
    def grown(self) -> asyncio.Event:
        """Returns what is set when this snapshot has taken in something newer than it has now."""
        return self._grown

    def integration(self, slug: str) -> pb.Integration:
        """Returns an integration; raises NotFound."""
        found = self._integrations.get(slug)
        if found is None:
            self._ensure_read()
            raise NotFound(f"integrations/{slug}")
        return found

    def slugs(self, after: str) -> list[str]:
        """Returns the slugs above one, in order."""
        self._ensure_read()
        return self._slugs[bisect_right(self._slugs, after) :]

    def records(self, slug: str) -> list[VersionRecord]:
        """Returns what is known of the versions of an integration, newest first; raises NotFound."""
        self.integration(slug)
        return sorted(self._versions.get(slug, {}).values(), key=lambda one: -one.published)

    def record(self, slug: str, version: str) -> VersionRecord:
        """Returns what is known of a version; `active` stands for the active one. Raises NotFound."""
        known = self._versions.get(slug, {})
        found = known.get(self.integration(slug).active_version if version == ACTIVE and known else version)
        if found is None:
            self._ensure_read()
            raise NotFound(f"integrations/{slug}/versions/{version}")
        return found

    def described(self, record: VersionRecord) -> pb.DefinitionVersion:
        """Returns a version without its definition, as it is answered."""
        active = self.integration(record.slug).active_version == record.version
        return version_message(record, active=active)

    def pin(self, key: PinKey) -> PinRecord:
        """Returns a pin by workspace, environment and slug; one that was taken away too."""
        return self._pins[key]

    def pins(self) -> Collection[PinRecord]:
        """Returns all pins, with those that were taken away."""
        return self._pins.values()

    def reviews(self) -> Mapping[str, ReviewRecord]:
        """Returns the last review of each integration that had one."""
        return self._reviews

    def after(self, sequence: int) -> list[Logged]:
        """Returns the versions (slug, version) and pins (workspace, environment, slug) that changed after a change, in
        order, each with the number of its own last change.
        """
        return self._log[bisect_right(self._log, sequence, key=lambda entry: entry[0]) :]

    async def version(self, slug: str, version: str) -> Loaded:
        """Returns a version with its definition; raises NotFound, and DependencyUnavailable when it is not at hand."""
        record = self.record(slug, version)
        key = (slug, record.version)
        loaded = self._loaded.get(key)
        if loaded is not None:
            self._loaded.move_to_end(key)
            return loaded
        task = self._loading.get(key)
        if task is None:
            # One read for however many callers wait, and it outlives the one that came first.
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def _load(self, key: Key) -> Loaded:
        content = await self._content(key)
        definition = Definition.FromString(content)
        record = self.record(*key)
        active = self.integration(key[0]).active_version == key[1]
        loaded = Loaded(version_message(record, active=active, definition=definition), len(content))
        self._loaded[key] = loaded
        self._loaded_bytes += loaded.bytes
        while self._loaded_bytes > self._cache_bytes and len(self._loaded) > 1:
            _, dropped = self._loaded.popitem(last=False)
            self._loaded_bytes -= dropped.bytes
        return loaded

    async def _content(self, key: Key) -> bytes:
        slug, version = key
        content = await self._store.content(slug, version, workspace=owner_of(slug))
        if content is None:
            raise NotFound(f"integrations/{slug}/versions/{version}")
        return content

    async def _apply(self, changed: Changed) -> None:
        listings = {}
        for one in changed.described:
            listing = one.listing
            if listing is None:
                listing = listing_of(Definition.FromString(await self._content((one.slug, one.version))))
            listings[one.slug] = (listing, one.facts or {})
        for slug, version in changed.deleted:
            self._versions.get(slug, {}).pop(version, None)
            self._drop((slug, version))
        for version_record in changed.versions:
            self._replace_version(version_record)
        for record in changed.integrations:
            self._replace(record)
            self.index.put(self._integrations[record.slug], *listings.get(record.slug, (b"", {})))
        for pin in changed.pins:
            key = (pin.workspace_id, pin.environment, pin.slug)
            known = self._pins.get(key)
            self._pins[key] = pin
            self._relog(known.sequence if known is not None else None, pin.sequence, key)
        self._reviews.update((one.slug, one) for one in changed.reviews)
        if changed.head != self._head:
            self._head = changed.head
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    def _replace_version(self, record: VersionRecord) -> None:
        versions = self._versions.setdefault(record.slug, {})
        known = versions.get(record.version)
        versions[record.version] = record
        self._drop((record.slug, record.version))
        if record.state != VERSION_STATE_DRAFT:
            logged = known is not None and known.state != VERSION_STATE_DRAFT
            self._relog(known.sequence if known is not None and logged else None, record.sequence, record_key(record))

    def _relog(self, old: int | None, new: int, key: Key | PinKey) -> None:
        if old is not None:
            at = bisect_left(self._log, old, key=lambda entry: entry[0])
            if at < len(self._log) and self._log[at][1] == key:
                del self._log[at]
        insort(self._log, (new, key))

    def _replace(self, record: IntegrationRecord) -> None:
        known = self._integrations.get(record.slug)
        if known is None:
            insort(self._slugs, record.slug)
        elif known.active_version != record.active_version:
            # Both messages say whether they are the active one.
            for version in (known.active_version, record.active_version):
                self._drop((record.slug, version))
        self._integrations[record.slug] = integration_message(record)

    def _drop(self, key: Key) -> None:
        dropped = self._loaded.pop(key, None)
        self._loaded_bytes -= dropped.bytes if dropped is not None else 0

    def _forget(self) -> None:
        logger.warning("the database went back in time: the catalog is read again from the beginning")
        self._integrations.clear()
        self._slugs.clear()
        self._versions.clear()
        self._pins.clear()
        self._reviews.clear()
        self._log.clear()
        self.index = Index()
        self._loaded.clear()
        self._loaded_bytes = 0


def record_key(record: VersionRecord) -> Key:
    """Returns how a version is found."""
    return record.slug, record.version
