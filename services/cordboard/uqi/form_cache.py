"""The forms in memory, and what is made of them for who asks: bounded, and never older than what was stored last."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cordboard.core.http_answers import entity_tag
from cordboard.core.schema import JsonSchema
from cordboard.uqi import rendering
from cordboard.uqi.binding import Bound, Client, bound
from cordboard.uqi.fields import Settings
from cordboard.uqi.languages import DEFAULT, Languages, Ranges, localized
from cordboard.uqi.query_editor import QueryEditor
from cordboard.uqi.recent import Recent
from cordboard.uqi.rendering import Rendering
from cordboard.uqi.revisions import Revision, Wires, wires_of
from cordboard.uqi.secrecy import SECRET_FORMAT, Secrets
from cordboard.uqi.wording import is_worded, loss_said
from cordboard.uqi.workspace_settings import texts

if TYPE_CHECKING:
    from cordboard.uqi.fields import FormTree
    from cordboard.uqi.store import FormRecord
    from cordboard.uqi.upkeep import Release
    from cordboard.uqi.v1 import form_pb2

Key: TypeAlias = tuple[str, str, str]
# The version stands beside the etag, which is the same in every version that did not change the form.
_Content: TypeAlias = tuple[str, str, str]

# Compiled schemas are much larger than their text.
MOST_BINDERS: Final = 64
MOST_RENDERINGS: Final = 128
MOST_EDITORS: Final = 8
MOST_LANGUAGES: Final = 4096


@dataclass(frozen=True, slots=True)
class Document:
    """A canonical document that is handed out as it is, and the entity tag of an answer that is it."""

    message: form_pb2.FormDocument
    """Nobody changes it: the next one who asks gets the same."""
    tag: str


class FormCache:
    """The forms asked for last, up to a number of characters; and which versions are active."""

    def __init__(self, characters: int) -> None:
        """Takes how much text to keep."""
        self._records: Recent[Key, FormRecord] = Recent(characters, _size)
        # A translated form and a document that was read are as large as what they are made of.
        self._translated: Recent[_Content, FormRecord] = Recent(characters // 4, _size)
        self._documents: Recent[_Content, Document] = Recent(characters // 4, _document_size)
        self._binders: Recent[Key, Binder] = Recent(MOST_BINDERS)
        self._renderings: Recent[tuple[str, int, str], Rendering] = Recent(MOST_RENDERINGS)
        self._editors: Recent[Key, QueryEditor] = Recent(MOST_EDITORS)
        self._languages: Recent[str, Languages] = Recent(MOST_LANGUAGES)
        self.active: dict[str, str] = {}
        self.changes = 0
        """How often something new was stored."""

    def record(self, key: Key) -> FormRecord | None:
        """Returns a form that is in memory, or None."""
        return self._records.get(key)

    def keep(self, key: Key, record: FormRecord) -> None:
        """Keeps a form, and lets go of those asked for longest ago when there is too much."""
        self._records.put(key, record)

    def binder(self, key: Key, record: FormRecord) -> Binder:
        """Returns what binds values of a form; raises nothing, for a stored form's schema compiles."""
        found = self._binders.get(key)
        if found is None or found.etag != record.etag:
            schema = json.loads(record.json_schema)
            judge = JsonSchema.compile(schema)
            document = rendering.document(record)
            tree = rendering.tree(record)
            secrets = Secrets(tree.fields, schema) if SECRET_FORMAT in record.json_schema else None
            made = Binder(record.etag, document.revision, tree, judge, wires_of(document), secrets)
            found = self._binders.put(key, made)
        return found

    def language(self, record: FormRecord, ranges: Ranges) -> str:
        """Returns the language to show a form in; empty for that of its own texts."""
        return self._known(record).chosen(ranges) if ranges else ""

    def spoken(self, record: FormRecord, ranges: Ranges) -> str:
        """Returns the language that a form is in for who asks for these; empty where nobody says it."""
        return self._known(record).chosen(ranges) or self._known(record).own if ranges else ""

    def _known(self, record: FormRecord) -> Languages:
        return self._languages.get(record.etag) or self._languages.put(record.etag, rendering.languages(record))

    def translated(self, record: FormRecord, language: str) -> FormRecord:
        """Returns a form with its texts in one of its languages; in its own where none is named."""
        if not language and not (record.losses and is_worded(self._known(record).own)):
            return record
        key = (record.etag, record.version, language)
        return self._translated.get(key) or self._translated.put(key, self._in(record, language))

    def _in(self, record: FormRecord, language: str) -> FormRecord:
        found = rendering.translated(record, language) if language else record
        told = language or self._known(record).own
        return replace(found, losses=tuple(loss_said(loss, told) for loss in record.losses))

    def document(self, record: FormRecord, ranges: Ranges) -> Document:
        """Returns the canonical document of a form, in all of its languages when none is asked for."""
        known = self._known(record)
        language = (known.chosen(ranges) or known.own or DEFAULT) if ranges and known.others else ""
        key = (record.etag, record.version, language)
        found = self._documents.get(key)
        if found is None:
            message = rendering.document(record)
            shown = localized(message, (language,)) if language else message
            for loss in shown.losses:
                loss.text = loss_said(loss.text, language or known.own)
            tag = entity_tag(shown.SerializeToString(deterministic=True))
            found = self._documents.put(key, Document(shown, tag))
        return found

    def rendering(self, record: FormRecord, target: form_pb2.FormTarget.ValueType, language: str = "") -> Rendering:
        """Returns a form in a client's format; raises InvalidFields for a format that there is none of."""
        key = (record.etag, int(target), language)
        found = self._renderings.get(key)
        if found is None:
            drawn, told = rendering.rendering(record, target, language), language or self._known(record).own
            losses = tuple(loss_said(loss, told) for loss in drawn.losses)
            found = self._renderings.put(key, replace(drawn, losses=losses))
        return found

    def editor(self, key: Key) -> QueryEditor | None:
        """Returns the editor of a version in a language that is in memory, or None."""
        return self._editors.get(key)

    def keep_editor(self, key: Key, editor: QueryEditor) -> None:
        """Keeps the editor of a version in a language; the one asked for longest ago goes when there are too many."""
        self._editors.put(key, editor)

    def take(self, release: Release) -> None:
        """Notes that the forms of a version are stored now, whatever was known of them."""
        self.changes += 1
        version = (release.integration, release.version)
        self._editors.drop_where(lambda key: key[:2] == version)
        self._records.drop_where(lambda key: key[:2] == version)
        if release.active:
            self.active[release.integration] = release.version


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

    def bound(
        self, values: Mapping[str, Any], client: Client, *, expressions: bool, stored: Collection[str] = ()
    ) -> Bound:
        """Returns what the values mean, and every problem with them."""
        found = bound(self.tree, self.judge, values, client, expressions=expressions, stored=stored)
        return replace(found, revision=self.revision)

    def answered(self, found: Bound, values: Mapping[str, Any]) -> Bound:
        """Returns what was bound as it may be answered: without any secret."""
        if found.problems:
            return found
        if isinstance(self.tree.target, Settings):
            found = replace(found, input=texts(found.input))
        return found if self.secrets is None else self.secrets.withheld(found, values)

    def at_this_time(self) -> Revision:
        """Returns the form for a comparison with another revision of it."""
        return Revision(self.revision, self.tree.fields, self.wires)


def _size(record: FormRecord) -> int:
    return len(record.json_schema) + len(record.appsmith) + len(record.document) + len(record.description) + 1000


def _document_size(document: Document) -> int:
    # A message that was read takes several times the room of its bytes.
    return 4 * document.message.ByteSize() + 1000
