"""Forms as people and programs ask for them: from memory where possible, then PostgreSQL, then made on the spot."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import InvalidFields, NotFound
from cordboard.uqi.query_editor import QueryEditor, query_editor
from cordboard.uqi.revisions import carried
from cordboard.uqi.wording import worded

if TYPE_CHECKING:
    from cordboard.uqi.binding import Bound, Client
    from cordboard.uqi.fields import FormTree
    from cordboard.uqi.form_cache import Binder, Document, FormCache
    from cordboard.uqi.languages import Ranges
    from cordboard.uqi.rendering import Rendering
    from cordboard.uqi.store import FormRecord, FormStore
    from cordboard.uqi.upkeep import Release, Upkeep
    from cordboard.uqi.v1 import form_pb2

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_~-]{0,127}")
_AFTER: Final = re.compile(r"[A-Za-z0-9._~-]{0,255}")
# A SHA-256 of the form.
_REVISION: Final = re.compile(r"[0-9a-f]{64}")
ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class Settings:
    """How values are to be read: as which client's, and whether expressions may stand in them.

    They were filled into the form of a `revision`; empty: into the one that they are bound by.
    """

    client: Client = ""
    expressions: bool = False
    revision: str = ""
    ranges: Ranges = ()
    """The languages to say in what is wrong; empty: English."""
    stored: tuple[str, ...] = ()
    """The ids of secrets that are stored already, and may stay empty."""


class Forms:
    """Answers with forms, and binds what was filled in."""

    def __init__(self, store: FormStore, cache: FormCache, upkeep: Upkeep) -> None:
        """Takes where forms are kept, what is in memory, and who makes those that are missing."""
        self._store = store
        self._cache = cache
        self._upkeep = upkeep

    async def form(self, integration: str, form: str, version: str = "") -> FormRecord:
        """Returns a form of a version, the active one when empty; raises NotFound."""
        asked = "" if version == ACTIVE else version
        active = asked or self._cache.active.get(integration) or await self._version(integration, asked)
        key = (integration, active, form)
        found = self._cache.record(key)
        if found is None:
            found = await self._stored(_checked(integration, active), form)
            self._cache.keep(key, found)
        return found

    async def form_in(self, integration: str, form: str, version: str, ranges: Ranges) -> FormRecord:
        """Returns a form with its texts in the language that suits best; raises NotFound."""
        record = await self.form(integration, form, version)
        return self._cache.translated(record, self._cache.language(record, ranges))

    async def page(self, integration: str, version: str, *, after: str, limit: int) -> list[FormRecord]:
        """Returns up to `limit` forms with an id above `after`, in the order of their ids; raises NotFound."""
        if not _AFTER.fullmatch(after):
            raise InvalidFields.one("page_token", "is not a token of this list")
        asked = "" if version == ACTIVE else version
        _, active = _checked(integration, await self._version(integration, asked))
        if await self._store.form_set(integration, active) is None:
            await self._fetch(integration, active, f"integrations/{integration}")
        return await self._store.page(integration, active, after=after, limit=limit)

    async def editor(self, integration: str, version: str, ranges: Ranges = ()) -> QueryEditor:
        """Returns the editor over all actions of a version, the active one when empty; raises NotFound."""
        asked = "" if version == ACTIVE else version
        where = _checked(integration, await self._version(integration, asked))
        own = await self._editor(where, "")
        language = own.languages.chosen(ranges)
        return await self._editor(where, language) if language else own

    async def _editor(self, where: tuple[str, str], language: str) -> QueryEditor:
        found = self._cache.editor((*where, language))
        if found is None:
            if await self._store.form_set(*where) is None:
                await self._fetch(*where, f"integrations/{where[0]}/queryEditor")
            changes = self._cache.changes
            records = await self._store.actions(*where)
            found = await asyncio.to_thread(query_editor, where[1], records, language=language)
            if changes == self._cache.changes:
                # Else what it was made of may not be what is stored now.
                self._cache.keep_editor((*where, language), found)
        return found

    async def rendering(
        self, integration: str, form: str, version: str, target: form_pb2.FormTarget.ValueType, ranges: Ranges = ()
    ) -> tuple[FormRecord, Rendering]:
        """Returns a form, and how it is in a client's format; raises NotFound and InvalidFields."""
        record = await self.form(integration, form, version)
        return record, self._cache.rendering(record, target, self._cache.language(record, ranges))

    async def spoken(self, integration: str, form: str, version: str, ranges: Ranges) -> str:
        """Returns the language that a form is in for who asks for these; empty where nobody says it."""
        return self._cache.spoken(await self.form(integration, form, version), ranges)

    async def tree(self, integration: str, form: str, version: str) -> FormTree:
        """Returns the fields of a form; raises NotFound."""
        record = await self.form(integration, form, version)
        return self._cache.binder((integration, record.version, form), record).tree

    async def document(self, integration: str, form: str, version: str, ranges: Ranges = ()) -> Document:
        """Returns the canonical document of a form, in all of its languages when none is asked for; raises NotFound."""
        return self._cache.document(await self.form(integration, form, version), ranges)

    async def bound(
        self, integration: str, form: str, version: str, values: dict[str, Any], settings: Settings
    ) -> Bound:
        """Returns what the values mean without their secrets, and every problem with them.

        Raises NotFound, and InvalidFields for a revision that is not kept.
        """
        record = await self.form(integration, form, version)
        found = await self._bound(record, values, settings)
        return worded(found, self._cache.spoken(record, settings.ranges)) if found.problems else found

    async def _bound(self, record: FormRecord, values: dict[str, Any], settings: Settings) -> Bound:
        integration, form = record.integration, record.form
        ready = self._cache.binder((integration, record.version, form), record)
        client, expressions, stored = settings.client, settings.expressions, settings.stored
        if settings.revision in ("", ready.revision):
            return ready.answered(ready.bound(values, client, expressions=expressions, stored=stored), values)
        before = await self._before(integration, form, settings.revision)
        found = before.bound(values, client, expressions=expressions, stored=stored)
        if found.problems:
            # Wrong by the form that they were filled into: what has changed since does not matter yet.
            return found
        fits = carried(
            found,
            before.at_this_time(),
            ready.at_this_time(),
            lambda input_: ready.bound(input_, "json_schema", expressions=expressions, stored=stored),
        )
        return ready.answered(fits, values)

    def silence(self) -> float:
        """Returns for how many seconds the Catalog has not been heard; 0 while forms are as it says."""
        return self._upkeep.silence()

    async def _before(self, integration: str, form: str, revision: str) -> Binder:
        # Nothing else is a revision, and not every text can be asked of a database.
        known = _REVISION.fullmatch(revision)
        found = await self._store.revision(integration, form, revision) if known else None
        if found is None:
            raise InvalidFields.one("revision", "is of no form that is kept: fill in the form as it is now")
        return self._cache.binder((integration, found.version, form), found)

    async def _version(self, integration: str, version: str) -> str:
        known = version or self._cache.active.get(integration) or await self._store.active_version(integration)
        if not known:
            release = await self._fetch(integration, ACTIVE, f"integrations/{integration}")
            known = release.version
        if not version:
            self._cache.active.setdefault(integration, known)
        return known

    async def _stored(self, where: tuple[str, str], form: str) -> FormRecord:
        integration, version = where
        name = f"integrations/{integration}/forms/{form}"
        found = await self._store.form(integration, version, form)
        if found is None:
            if await self._store.form_set(integration, version) is None:
                await self._fetch(integration, version, name)
            # Also where the set is there: it may have been stored between the two looks.
            found = await self._store.form(integration, version, form)
        if found is None:
            raise NotFound(name)
        return found

    async def _fetch(self, integration: str, version: str, name: str) -> Release:
        try:
            return await self._upkeep.fetch(integration, version)
        except NotFound:
            # Under the name that was asked for, not the one under which the Catalog was asked.
            raise NotFound(name) from None


def _checked(integration: str, version: str) -> tuple[str, str]:
    if not _VERSION.fullmatch(version):
        raise InvalidFields.one("version", "must be a version such as '1.4.0'")
    return integration, version
