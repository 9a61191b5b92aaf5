"""What a definition says about how its fields look: labels, order, sections, widgets, and where choices come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.json_pointers import unescape
from cordboard.uqi.fields import (
    Choice,
    Entries,
    Field,
    FieldTexts,
    File,
    Group,
    Items,
    Kind,
    MultiChoice,
    OptionSource,
    Scalar,
    Text,
    Union,
)
from cordboard.uqi.files import base64_length
from cordboard.uqi.texts import clean, json_text

Widget: TypeAlias = Literal["", "text", "multiline", "code", "file", "hidden"]

_LABEL: Final = 120
_TEXT: Final = 1000
_UNPLACED: Final = 1 << 31
_WIDGETS: Final[Mapping[int, Widget]] = {
    pb.WIDGET_TEXT: "text",
    pb.WIDGET_MULTILINE: "multiline",
    pb.WIDGET_CODE: "code",
    pb.WIDGET_FILE: "file",
    pb.WIDGET_HIDDEN: "hidden",
}


@dataclass(frozen=True, slots=True)
class Hint:
    """How one field looks; what is empty is left as the schema has it. An `order` of 0 is none."""

    label: str = ""
    placeholder: str = ""
    help: str = ""
    section: str = ""
    order: int = 0
    widget: Widget = ""
    source: OptionSource | None = None
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    translations: tuple[FieldTexts, ...] = ()
    tab: str = ""
    columns: int = 0
    accept: tuple[str, ...] = ()
    max_bytes: int = 0


def hints(given: Iterable[pb.FormHint]) -> dict[tuple[str, ...], Hint]:
    """Returns the hints of an action by the path of the field that each is about."""
    return {_path(each.property): _hint(each) for each in given}


def place(hint: Hint | None) -> int:
    """Returns where a field stands among its siblings: hinted ones by their order, then all others."""
    return hint.order if hint and hint.order else _UNPLACED


def hinted(field: Field, hint: Hint | None) -> Field:
    """Returns the field as a hint has it. A widget that does not go with the field's kind changes nothing."""
    if hint is None:
        return field
    field = replace(
        field,
        title=hint.label or field.title,
        description=hint.help or field.description,
        placeholder=hint.placeholder,
        section=hint.section,
        tab=hint.tab,
        columns=hint.columns,
        hidden=hint.widget == "hidden",
        source=None if isinstance(field.kind, Choice | MultiChoice | Group) else hint.source,
        kind=_titled(field.kind, hint.choices) if hint.choices else field.kind,
        translations=tuple(_by_value(field.kind, each) for each in hint.translations),
    )
    if isinstance(field.kind, Text) and hint.widget in ("text", "multiline", "code"):
        return replace(field, kind=Text(multiline=hint.widget != "text"))
    if isinstance(field.kind, Text) and hint.widget == "file":
        field = replace(field, kind=File())
    if isinstance(field.kind, File) and (hint.accept or hint.max_bytes):
        kind = File(hint.accept or field.kind.accept, hint.max_bytes)
        return replace(field, kind=kind, constraints=_beside(kind, field.constraints))
    return field


def resolved(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Returns the fields of a whole form, whose option sources then know other fields by their ids."""
    ids = {path: field.id for field in walk(fields) if "*" not in (path := field.path)}
    return tuple(_with_ids(field, ids) for field in fields)


def walk(fields: Iterable[Field]) -> Iterator[Field]:
    """Yields each field, and those within it, from the top down."""
    for field in fields:
        yield field
        yield from walk(inner(field))


def inner(field: Field) -> tuple[Field, ...]:
    """Returns the fields directly within a field: members, an item, a value, or variants."""
    match field.kind:
        case Group(fields):
            return fields
        case Items(item):
            return (item,)
        case Entries(value):
            return (value,)
        case Union(variants):
            return variants
        case _:
            return ()


def _beside(kind: File, constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords that a file's own limits leave: where a schema says less, the smaller one counts."""
    own = base64_length(kind.max_bytes) if kind.max_bytes else None
    kept = {word: value for word, value in constraints.items() if word != "contentMediaType"}
    if own is not None and kept.get("maxLength", own) >= own:
        kept.pop("maxLength", None)
    return kept


def _with_ids(field: Field, ids: Mapping[tuple[str, ...], str]) -> Field:
    source = field.source
    if source is not None:
        known = tuple((name, ids[_path(other)]) for name, other in source.inputs if _path(other) in ids)
        field = replace(field, source=replace(source, inputs=known))
    if isinstance(field.kind, Group):
        return replace(
            field, kind=replace(field.kind, fields=tuple(_with_ids(each, ids) for each in field.kind.fields))
        )
    return field


def _titled(kind: Kind, titles: Mapping[str, str]) -> Kind:
    if not isinstance(kind, Choice | MultiChoice):
        return kind
    options = (replace(each, title=titles.get(_name(each.value), "") or each.title) for each in kind.options)
    return replace(kind, options=tuple(options))


def _by_value(kind: Kind, texts: FieldTexts) -> FieldTexts:
    """Returns the texts with the titles of those options alone that the field has, by their values."""
    titles, options = dict(texts.choices), kind.options if isinstance(kind, Choice | MultiChoice) else ()
    known = ((json_text(each.value), titles.get(_name(each.value), "")) for each in options)
    return replace(texts, choices=tuple((value, title) for value, title in known if title))


def _name(value: Scalar) -> str:
    """Returns what a value is called in a definition's map of choices."""
    return value if isinstance(value, str) else json_text(value)


def _hint(given: pb.FormHint) -> Hint:
    return Hint(
        label=clean(given.label, _LABEL),
        placeholder=clean(given.placeholder, _LABEL),
        help=clean(given.help, _TEXT),
        section=clean(given.group, _LABEL),
        order=given.order,
        widget=_WIDGETS.get(given.widget, ""),
        source=_source(given.options) if given.HasField("options") else None,
        choices=_labels(given.choices),
        translations=tuple(map(_texts, given.translations)),
        tab=clean(given.tab, _LABEL),
        columns=given.columns if given.columns > 1 else 0,
        accept=tuple(given.accept),
        max_bytes=given.max_bytes,
    )


def _texts(given: pb.FormHintTranslation) -> FieldTexts:
    return FieldTexts(
        given.language,
        title=clean(given.label, _LABEL),
        description=clean(given.help, _TEXT),
        placeholder=clean(given.placeholder, _LABEL),
        section=clean(given.group, _LABEL),
        choices=tuple(sorted(_labels(given.choices).items())),
        tab=clean(given.tab, _LABEL),
    )


def _labels(given: Mapping[str, str]) -> dict[str, str]:
    return {name: clean(label, _LABEL) for name, label in given.items()}


def _source(given: pb.OptionSource) -> OptionSource:
    return OptionSource(
        action=given.action,
        value_pointer=given.value_pointer,
        label_pointer=given.label_pointer,
        input_json=given.input_json,
        inputs=tuple(sorted(given.input_fields.items())),
        search_property=given.search_property,
    )


def _path(name: str) -> tuple[str, ...]:
    if not name.startswith("/"):
        return (name,)
    return tuple(unescape(step) for step in name[1:].split("/"))
