"""What the Catalog holds, in memory, so that reads touch no database: every integration and version, and the
definitions that were asked for last.

It follows the database by notification, and by a look each second. When the database is away it goes on answering.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cordboard.catalog.messages import action_summaries, integration_message, version_message
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.errors import DependencyUnavailable, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.catalog.store import CatalogStore, Changed, IntegrationRecord, VersionRecord
    from cordboard.catalog.v1 import catalog_service_pb2 as pb
    from cordboard.core.database import Changes

logger = logging.getLogger(__name__)

ACTIVE = "active"

Key = tuple[str, str]


@dataclass(frozen=True)
class Loaded:
    """A definition version with its definition, as it is answered."""

    message: pb.DefinitionVersion
    actions: Sequence[pb.ActionSummary]
    """In order of id."""
    bytes: int


class Snapshot:
    """The catalog in memory. The messages it gives are shared: nobody changes them."""

    def __init__(self, store: CatalogStore, *, cache_bytes: int) -> None:
        """Takes the store, and how many bytes of definitions to keep, as they are on the wire."""
        self._store = store
        self._cache_bytes = cache_bytes
        self._integrations: dict[str, pb.Integration] = {}
        self._slugs: list[str] = []
        self._versions: dict[str, dict[str, VersionRecord]] = {}
        self._sequence: list[tuple[int, str, str]] = []
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
                    logger.warning("the catalog is not refreshed", extra={"problem": error.text})
                await subscription.wait()

    async def refresh(self) -> None:
        """Takes in what was committed until now; raises DependencyUnavailable."""
        async with self._refreshing:
            changed = await self._store.changed(self._head or 0)
            if self._head is not None and changed.head < self._head:
                self._forget()
            self._apply(changed)

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

    def versions(self, slug: str) -> list[pb.DefinitionVersion]:
        """Returns the versions of an integration without their definitions, newest first; raises NotFound."""
        integration = self.integration(slug)
        return [
            version_message(record, active=record.version == integration.active_version)
            for record in sorted(self._versions.get(slug, {}).values(), key=lambda one: -one.sequence)
        ]

    def sequence(self, slug: str, version: str) -> int:
        """Returns the number of the change that published a version."""
        return self._versions[slug][version].sequence

    def after(self, sequence: int) -> list[tuple[int, str, str]]:
        """Returns the number, slug and version of what was published after a change, in order."""
        return self._sequence[bisect_right(self._sequence, (sequence, "\uffff", "")) :]

    async def version(self, slug: str, version: str) -> Loaded:
        """Returns a version with its definition; raises NotFound, and DependencyUnavailable when it is not at hand."""
        if version == ACTIVE:
            version = self.integration(slug).active_version
        key = (slug, version)
        loaded = self._loaded.get(key)
        if loaded is not None:
            self._loaded.move_to_end(key)
            return loaded
        if version not in self._versions.get(slug, {}):
            self._ensure_read()
            raise NotFound(f"integrations/{slug}/versions/{version}")
        task = self._loading.get(key)
        if task is None:
            # One read for however many callers wait, and it outlives the one that came first.
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def _load(self, key: Key) -> Loaded:
        slug, version = key
        content = await self._store.content(slug, version)
        if content is None:
            raise NotFound(f"integrations/{slug}/versions/{version}")
        definition = Definition.FromString(content)
        active = self.integration(slug).active_version == version
        message = version_message(self._versions[slug][version], active=active, definition=definition)
        loaded = Loaded(message, action_summaries(definition), len(content))
        self._loaded[key] = loaded
        self._loaded_bytes += loaded.bytes
        while self._loaded_bytes > self._cache_bytes and len(self._loaded) > 1:
            _, dropped = self._loaded.popitem(last=False)
            self._loaded_bytes -= dropped.bytes
        return loaded

    def _apply(self, changed: Changed) -> None:
        for version in changed.versions:
            known = self._versions.setdefault(version.slug, {})
            if version.version not in known:
                known[version.version] = version
                insort(self._sequence, (version.sequence, version.slug, version.version))
        for record in changed.integrations:
            self._replace(record)
        if changed.head != self._head:
            self._head = changed.head
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    def _replace(self, record: IntegrationRecord) -> None:
        known = self._integrations.get(record.slug)
        if known is None:
            insort(self._slugs, record.slug)
        elif known.active_version != record.active_version:
            # Both messages say whether they are the active one.
            for version in (known.active_version, record.active_version):
                dropped = self._loaded.pop((record.slug, version), None)
                self._loaded_bytes -= dropped.bytes if dropped is not None else 0
        self._integrations[record.slug] = integration_message(record)

    def _forget(self) -> None:
        logger.warning("the database went back in time: the catalog is read again from the beginning")
        self._integrations.clear()
        self._slugs.clear()
        self._versions.clear()
        self._sequence.clear()
        self._loaded.clear()
        self._loaded_bytes = 0
