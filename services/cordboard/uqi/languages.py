"""Forms in the languages that their definitions have texts in: which one is meant, and the form with its texts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from cordboard.core.errors import InvalidFields
from cordboard.uqi.v1 import form_pb2 as pb

# The language of a definition that does not say its own.
DEFAULT: Final = "en"
MOST_RANGES: Final = 20
_LONGEST: Final = 1000
_RANGE: Final = re.compile(r"\s*(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


Ranges: TypeAlias = tuple[str, ...]
"""Language ranges, the one that is liked best first."""


@dataclass(frozen=True, slots=True)
class Languages:
    """The languages that there are texts in: the definition's own (empty where it does not say it), and others."""

    own: str = ""
    others: tuple[str, ...] = ()

    def chosen(self, ranges: Ranges) -> str:
        """Returns the one of the others that suits best; empty for the definition's own."""
        found = chosen(ranges, self.own or DEFAULT, self.others) if ranges and self.others else ""
        return found if found in self.others else ""


@dataclass(frozen=True, slots=True)
class _Names:
    """What sections, tabs and fields are called in a language, by their own names and by the fields' ids."""

    sections: dict[str, str] = dataclasses.field(default_factory=dict)
    tabs: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


def wanted(asked: str, header: str) -> Ranges:
    """Returns language ranges, the one that is liked best first; raises InvalidFields for an `asked` that has none.

    `header` counts where nothing is asked for, and as much of it as can be read.
    """
    text = asked or header
    found = _ranges(text) if text else ()
    if asked and not found:
        problem = "must be language tags as Accept-Language has them, such as 'de-CH, de;q=0.8'"
        raise InvalidFields.one("language", problem)
    return found


def chosen(ranges: Ranges, own: str, others: Iterable[str]) -> str:
    """Returns the language to take: RFC 4647 lookup, range by range, and within a range what is more special.

    That is `own` where nothing fits: someone who asks for `de-CH` is better served in `de`, and someone who asks for
    `de` in `de-AT`, than in another language.
    """
    known = {tag.lower(): tag for tag in (own, *others)}
    for each in ranges:
        tag = own if each == "*" else each
        while tag:
            if tag.lower() in known:
                return known[tag.lower()]
            tag = tag.rpartition("-")[0]
        special = next((tag for tag in sorted(known) if tag.startswith(f"{each.lower()}-")), "")
        if special:
            return known[special]
    return own


def localized(document: pb.FormDocument, ranges: Ranges) -> pb.FormDocument:
    """Returns the document with its texts in the language that suits best, and without those in others."""
    own = document.language or DEFAULT
    language = chosen(ranges, own, document.languages)
    found = pb.FormDocument()
    found.CopyFrom(document)
    found.language = language
    title = next((each for each in document.translations if each.language == language), pb.FormTranslation())
    found.title, found.description = title.title or found.title, title.description or found.description
    del found.translations[:]
    names = _Names()
    for field in every(found.fields):
        _note_names(field, language, names)
    for field in every(found.fields):
        _translate(field, language, names)
    _head(found.layout, names)
    return found


def every(fields: Iterable[pb.FormField]) -> Iterator[pb.FormField]:
    """Yields each field of a document, and those within it, from the top down."""
    for field in fields:
        yield field
        match field.type.WhichOneof("kind"):
            case "group":
                yield from every(field.type.group.fields)
            case "list":
                yield from every((field.type.list.item,))
            case "map":
                yield from every((field.type.map.value,))
            case "union":
                yield from every(field.type.union.variants)


def _ranges(text: str) -> Ranges:
    read = [_RANGE.fullmatch(part) for part in text[:_LONGEST].split(",")[:MOST_RANGES]]
    liked = [(float(found[2] or 1), found[1]) for found in read if found]
    # Stable: of two that are liked alike, the first.
    return tuple(tag for quality, tag in sorted(liked, key=lambda each: -each[0]) if quality > 0)


def _texts(field: pb.FormField, language: str) -> pb.FieldTranslation:
    return next((each for each in field.translations if each.language == language), pb.FieldTranslation())


def _note_names(field: pb.FormField, language: str, names: _Names) -> None:
    # By its name: fields of one section stay together, whichever of them has it translated.
    texts = _texts(field, language)
    if texts.section and field.section:
        names.sections.setdefault(field.section, texts.section)
    if texts.tab and field.tab:
        names.tabs.setdefault(field.tab, texts.tab)


def _translate(field: pb.FormField, language: str, names: _Names) -> None:
    texts = _texts(field, language)
    field.label = texts.label or field.label
    field.help = texts.help or field.help
    field.placeholder = texts.placeholder or field.placeholder
    field.section = names.sections.get(field.section, field.section)
    field.tab = names.tabs.get(field.tab, field.tab)
    kind = field.type.WhichOneof("kind")
    if kind in ("choice", "choices"):
        for choice in getattr(field.type, kind).choices:
            choice.label = texts.choices.get(choice.value_json, "") or choice.label
    names.labels[field.id] = field.label
    del field.translations[:]


def _head(nodes: Iterable[pb.LayoutNode], names: _Names) -> None:
    for node in nodes:
        match node.WhichOneof("node"):
            case "section":
                part = node.section
                own = names.labels.get(part.field_id, part.title)
                part.title = own if part.field_id else names.sections.get(part.title, part.title)
                _head(part.nodes, names)
            case "columns":
                _head(node.columns.nodes, names)
            case "tabs":
                for tab in node.tabs.tabs:
                    tab.title = names.tabs.get(tab.title, tab.title)
                    _head(tab.nodes, names)
