"""Forms as people and programs ask for them: from memory where possible, then PostgreSQL, then made on the spot."""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.schema import JsonSchema
from cordboard.uqi import rendering
from cordboard.uqi.binding import Bound, Client, bound
from cordboard.uqi.languages import Languages, Ranges, localized
from cordboard.uqi.query_editor import QueryEditor, query_editor
from cordboard.uqi.rendering import Rendering
from cordboard.uqi.revisions import Revision, Wires, carried, wires_of
from cordboard.uqi.secrecy import SECRET_FORMAT, Secrets
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.wording import worded

if TYPE_CHECKING:
    from cordboard.uqi.fields import FormTree
    from cordboard.uqi.store import FormRecord, FormStore
    from cordboard.uqi.upkeep import Release, Upkeep

Key: TypeAlias = tuple[str, str, str]

# Compiled schemas are much larger than their text.
MOST_BINDERS: Final = 64
MOST_RENDERINGS: Final = 128
MOST_EDITORS: Final = 8
MOST_LANGUAGES: Final = 4096
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_~-]{0,127}")
_AFTER: Final = re.compile(r"[A-Za-z0-9._~-]{0,255}")
# A SHA-256 of the form.
_REVISION: Final = re.compile(r"[0-9a-f]{64}")
ACTIVE: Final = "active"


class FormCache:
    """The forms asked for last, up to a number of characters; and which versions are active."""

    def __init__(self, characters: int) -> None:
        """Takes how much text to keep."""
        self._characters = characters
        self._held = 0
        self._records: OrderedDict[Key, FormRecord] = OrderedDict()
        self._binders: OrderedDict[Key, Binder] = OrderedDict()
        self._renderings: OrderedDict[tuple[str, int, str], Rendering] = OrderedDict()
        self._editors: OrderedDict[Key, QueryEditor] = OrderedDict()
        self._languages: OrderedDict[str, Languages] = OrderedDict()
        self.active: dict[str, str] = {}
        self.changes = 0
        """How often something new was stored."""

    def record(self, key: Key) -> FormRecord | None:
        """Returns a form that is in memory, or None."""
        found = self._records.get(key)
        if found is not None:
            self._records.move_to_end(key)
        return found

    def keep(self, key: Key, record: FormRecord) -> None:
        """Keeps a form, and lets go of those asked for longest ago when there is too much."""
        self._drop(key)
        self._records[key] = record
        self._held += _size(record)
        while self._held > self._characters and self._records:
            self._drop(next(iter(self._records)))

    def binder(self, key: Key, record: FormRecord) -> Binder:
        """Returns what binds values of a form; raises nothing, for a stored form's schema compiles."""
        found = self._binders.get(key)
        if found is None or found.etag != record.etag:
            schema = json.loads(record.json_schema)
            judge = JsonSchema.compile(schema)
            document = rendering.document(record)
            tree = rendering.tree(record)
            secrets = Secrets(tree.fields, schema) if SECRET_FORMAT in record.json_schema else None
            found = Binder(record.etag, document.revision, tree, judge, wires_of(document), secrets)
            self._binders[key] = found
            if len(self._binders) > MOST_BINDERS:
                self._binders.popitem(last=False)
        self._binders.move_to_end(key)
        return found

    def language(self, record: FormRecord, ranges: Ranges) -> str:
        """Returns the language to show a form in; empty for that of its own texts."""
        return self._known(record).chosen(ranges) if ranges else ""

    def spoken(self, record: FormRecord, ranges: Ranges) -> str:
        """Returns the language that a form is in for who asks for these; empty where nobody says it."""
        return self._known(record).chosen(ranges) or self._known(record).own if ranges else ""

    def _known(self, record: FormRecord) -> Languages:
        found = self._languages.get(record.etag)
        if found is None:
            found = self._languages[record.etag] = rendering.languages(record)
            if len(self._languages) > MOST_LANGUAGES:
                self._languages.popitem(last=False)
        return found

    def rendering(self, record: FormRecord, target: form_pb2.FormTarget.ValueType, language: str = "") -> Rendering:
        """Returns a form in a client's format; raises InvalidFields for a format that there is none of."""
        key = (record.etag, int(target), language)
        found = self._renderings.get(key)
        if found is None:
            found = self._renderings[key] = rendering.rendering(record, target, language)
            if len(self._renderings) > MOST_RENDERINGS:
                self._renderings.popitem(last=False)
        self._renderings.move_to_end(key)
        return found

    def editor(self, key: Key) -> QueryEditor | None:
        """Returns the editor of a version in a language that is in memory, or None."""
        return self._editors.get(key)

    def keep_editor(self, key: Key, editor: QueryEditor) -> None:
        """Keeps the editor of a version in a language; the one made longest ago goes when there are too many."""
        self._editors[key] = editor
        if len(self._editors) > MOST_EDITORS:
            self._editors.popitem(last=False)

    def take(self, release: Release) -> None:
        """Notes that the forms of a version are stored now, whatever was known of them."""
        self.changes += 1
        for editor in [key for key in self._editors if key[:2] == (release.integration, release.version)]:
            del self._editors[editor]
        for key in [key for key in self._records if key[:2] == (release.integration, release.version)]:
            self._drop(key)
        if release.active:
            self.active[release.integration] = release.version

    def _drop(self, key: Key) -> None:
        dropped = self._records.pop(key, None)
        if dropped is not None:
            self._held -= _size(dropped)


@dataclass(frozen=True, slots=True)
class Binder:
    """A form made ready to bind."""

    etag: str
    revision: str
    tree: FormTree
    judge: JsonSchema
    wires: Wires
    secrets: Secrets | None
    """Where the form has secrets; None where it has none."""

    def bound(self, values: Mapping[str, Any], client: Client, *, expressions: bool) -> Bound:
        """Returns what the values mean, and every problem with them."""
        found = bound(self.tree, self.judge, values, client, expressions=expressions)
        return replace(found, revision=self.revision)

    def answered(self, found: Bound, values: Mapping[str, Any]) -> Bound:
        """Returns what was bound as it may be answered: without any secret."""
        if self.secrets is None or found.problems:
            return found
        return self.secrets.withheld(found, values)

    def at_this_time(self) -> Revision:
        """Returns the form for a comparison with another revision of it."""
        return Revision(self.revision, self.tree.fields, self.wires)


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
        language = self._cache.language(record, ranges)
        if not language:
            return record
        document = localized(rendering.document(record), (language,))
        schema = self._cache.rendering(record, form_pb2.FORM_TARGET_JSON_SCHEMA, language)
        shown = self._cache.rendering(record, form_pb2.FORM_TARGET_APPSMITH, language)
        return replace(
            record,
            title=document.title,
            description=document.description,
            json_schema=schema.text,
            appsmith=shown.text,
            etag=f"{record.etag}-{language}",
        )

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
        own = self._cache.editor((*where, ""))
        if own is None:
            if await self._store.form_set(*where) is None:
                await self._fetch(*where, f"integrations/{integration}/queryEditor")
            changes = self._cache.changes
            own = await asyncio.to_thread(query_editor, where[1], await self._store.actions(*where))
            if changes == self._cache.changes:
                # Else what it was made of may not be what is stored now.
                self._cache.keep_editor((*where, ""), own)
        language = own.languages.chosen(ranges)
        return await self._translated(where, language) if language else own

    async def _translated(self, where: tuple[str, str], language: str) -> QueryEditor:
        found = self._cache.editor((*where, language))
        if found is None:
            changes = self._cache.changes
            records = await self._store.actions(*where)
            found = await asyncio.to_thread(query_editor, where[1], records, language=language)
            if changes == self._cache.changes:
                self._cache.keep_editor((*where, language), found)
        return found

    async def rendering(
        self, integration: str, form: str, version: str, target: form_pb2.FormTarget.ValueType, ranges: Ranges = ()
    ) -> tuple[FormRecord, Rendering]:
        """Returns a form, and how it is in a client's format; raises NotFound and InvalidFields."""
        record = await self.form(integration, form, version)
        return record, self._cache.rendering(record, target, self._cache.language(record, ranges))

    async def tree(self, integration: str, form: str, version: str) -> FormTree:
        """Returns the fields of a form; raises NotFound."""
        record = await self.form(integration, form, version)
        return self._cache.binder((integration, record.version, form), record).tree

    async def document(self, integration: str, form: str, version: str, ranges: Ranges = ()) -> form_pb2.FormDocument:
        """Returns the canonical document of a form, in all of its languages when none is asked for; raises NotFound."""
        found = rendering.document(await self.form(integration, form, version))
        return localized(found, ranges) if ranges and found.languages else found

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
        client, expressions = settings.client, settings.expressions
        if settings.revision in ("", ready.revision):
            return ready.answered(ready.bound(values, client, expressions=expressions), values)
        before = await self._before(integration, form, settings.revision)
        found = before.bound(values, client, expressions=expressions)
        if found.problems:
            # Wrong by the form that they were filled into: what has changed since does not matter yet.
            return found
        fits = carried(
            found,
            before.at_this_time(),
            ready.at_this_time(),
            lambda input_: ready.bound(input_, "json_schema", expressions=expressions),
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


def _size(record: FormRecord) -> int:
    return len(record.json_schema) + len(record.appsmith) + len(record.document) + len(record.description) + 1000
