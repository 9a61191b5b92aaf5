"""A form in a client's own format, made from its canonical document when it is asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields
from cordboard.uqi import canonical, json_forms, json_schema, react
from cordboard.uqi.texts import clean, json_text
from cordboard.uqi.v1 import form_pb2 as pb

if TYPE_CHECKING:
    from cordboard.uqi.fields import FormTree
    from cordboard.uqi.store import FormRecord

MAX_LOSSES: Final = 100
_PROJECTIONS: Final = {pb.FORM_TARGET_JSON_FORMS: json_forms.project, pb.FORM_TARGET_REACT: react.project}
_LOSS: Final = 300


@dataclass(frozen=True, slots=True)
class Rendering:
    """A form in one format: JSON text, its etag, and what that format shows in another way than it is."""

    text: str
    etag: str
    losses: tuple[str, ...]


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


def rendering(record: FormRecord, target: pb.FormTarget.ValueType) -> Rendering:
    """Returns a stored form in a client's format; raises InvalidFields for a format that there is none of."""
    texts = {pb.FORM_TARGET_JSON_SCHEMA: record.json_schema, pb.FORM_TARGET_APPSMITH: record.appsmith}
    if target in texts:
        appsmith = target == pb.FORM_TARGET_APPSMITH
        losses = tuple(loss for loss in record.losses if appsmith or not loss.startswith("Appsmith: "))
        return Rendering(texts[target], _etag(texts[target]), losses)
    if target not in _PROJECTIONS:
        raise InvalidFields.one("target", "must be one of the formats that a form is shown in")
    shown = _PROJECTIONS[target](tree(record))
    own = (clean(loss, _LOSS) for loss in shown.losses[:MAX_LOSSES])
    text = json_text(shown.document)
    shared = (loss for loss in record.losses if not loss.startswith("Appsmith: "))
    return Rendering(text, _etag(text), (*shared, *own))


def _etag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
