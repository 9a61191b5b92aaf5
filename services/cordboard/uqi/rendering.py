"""A form in a client's own format, made from its canonical document when it is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields
from cordboard.core.http_answers import entity_tag
from cordboard.uqi import appsmith, canonical, json_forms, json_schema, react
from cordboard.uqi.appsmith import Projection
from cordboard.uqi.languages import Languages, localized
from cordboard.uqi.texts import clean, json_text
from cordboard.uqi.v1 import form_pb2 as pb

if TYPE_CHECKING:
    from cordboard.uqi.fields import FormTree
    from cordboard.uqi.store import FormRecord

MAX_LOSSES: Final = 100
_PROJECTIONS: Final[Mapping[int, Callable[[FormTree], Projection]]] = {
    pb.FORM_TARGET_JSON_FORMS: json_forms.project,
    pb.FORM_TARGET_REACT: react.project,
    pb.FORM_TARGET_APPSMITH: appsmith.project,
    pb.FORM_TARGET_JSON_SCHEMA: lambda tree: Projection(json_schema.project(tree), ()),
}
_OF_APPSMITH: Final = "Appsmith: "
_LOSS: Final = 300


@dataclass(frozen=True, slots=True)
class Rendering:
    """A form in one format: JSON text, its etag, and what that format shows in another way than it is."""

    text: str
    etag: str
    losses: tuple[str, ...]

    def tag(self, version: str) -> str:
        """Returns the entity tag of the answer that says it of a version."""
        return entity_tag(self.etag.encode(), version.encode(), *(loss.encode() for loss in self.losses))


def document(record: FormRecord) -> pb.FormDocument:
    """Returns the canonical document of a stored form."""
    if not record.document:
        return canonical.document(tree(record), name=record.name, version=record.version)
    found = pb.FormDocument.FromString(record.document)
    found.version = record.version
    return found


def tree(record: FormRecord) -> FormTree:
    """Returns the fields of a stored form."""
    if not record.document:
        return json_schema.read(json.loads(record.json_schema))
    return canonical.read(pb.FormDocument.FromString(record.document))


def rendering(record: FormRecord, target: pb.FormTarget.ValueType, language: str = "") -> Rendering:
    """Returns a stored form in a client's format, in one of its languages; raises InvalidFields for no format."""
    if target not in _PROJECTIONS:
        raise InvalidFields.one("target", "must be one of the formats that a form is shown in")
    texts = {pb.FORM_TARGET_JSON_SCHEMA: record.json_schema, pb.FORM_TARGET_APPSMITH: record.appsmith}
    for_appsmith = target == pb.FORM_TARGET_APPSMITH
    losses = tuple(loss for loss in record.losses if for_appsmith or not loss.startswith(_OF_APPSMITH))
    if target in texts and not language:
        return Rendering(texts[target], _etag(texts[target]), losses)
    shown = _PROJECTIONS[target](canonical.read(localized(document(record), (language,))) if language else tree(record))
    text = json_text(shown.document)
    own = () if target in texts else tuple(clean(loss, _LOSS) for loss in shown.losses[:MAX_LOSSES])
    return Rendering(text, _etag(text), (*losses, *own))


def languages(record: FormRecord) -> Languages:
    """Returns the languages that a form has texts in."""
    if not record.document:
        return Languages()
    found = document(record)
    return Languages(found.language, tuple(found.languages))


def translated(record: FormRecord, language: str) -> FormRecord:
    """Returns a stored form in one of its languages, without its canonical document."""
    found = localized(document(record), (language,))
    shown = canonical.read(found)
    return replace(
        record,
        title=found.title,
        description=found.description,
        json_schema=json_text(json_schema.project(shown)) if record.json_schema else "",
        appsmith=json_text(appsmith.project(shown).document),
        document=b"",
        etag=f"{record.etag}-{language}",
    )


def _etag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
