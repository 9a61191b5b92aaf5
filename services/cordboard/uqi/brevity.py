"""Keeps a form of very many fields or choices short: so that it stays below 1 MB, and can travel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from cordboard.uqi.fields import (
    Choice,
    Entries,
    Field,
    FormTree,
    Group,
    Items,
    Json,
    Kind,
    MultiChoice,
    Text,
    Union,
)
from cordboard.uqi.texts import clean

# Characters, of all fields of a form together; nine times what the wordiest of 4,977 real forms has.
MOST_DESCRIBED: Final = 150_000
# Of all its fields together.
MOST_CHOICES: Final = 12_000
# Characters of all languages together.
MOST_TRANSLATED: Final = 150_000


def brief(tree: FormTree) -> tuple[FormTree, list[str]]:
    """Returns the form with descriptions and choices that are few enough together, and what was lost by that."""
    losses = []
    lengths = [length for field in tree.fields for length in _lengths(field)]
    if sum(lengths) > MOST_DESCRIBED:
        share = MOST_DESCRIBED // len(lengths)
        losses.append(f"the fields have more than {MOST_DESCRIBED} characters of description; each is cut to {share}")
        tree = replace(tree, fields=tuple(_brief(field, share) for field in tree.fields))
    counts = [count for field in tree.fields for count in _choices(field)]
    if sum(counts) > MOST_CHOICES:
        share = MOST_CHOICES // len(counts)
        losses.append(f"the fields have more than {MOST_CHOICES} choices; those with more than {share} show none")
        tree = replace(tree, fields=tuple(_plain(field, share) for field in tree.fields))
    if sum(_translated(field) for field in tree.fields) > MOST_TRANSLATED:
        losses.append(f"the fields have more than {MOST_TRANSLATED} characters in other languages; they are left out")
        tree = replace(tree, fields=tuple(map(_untranslated, tree.fields)))
    return tree, losses


def _translated(field: Field) -> int:
    own = sum(
        sum(map(len, (each.title, each.description, each.placeholder, each.section, each.tab, *chain(*each.choices))))
        for each in field.translations
    )
    return own + sum(map(_translated, _parts(field.kind)))


def _untranslated(field: Field) -> Field:
    return replace(field, kind=_with(field.kind, _untranslated), translations=())


def _lengths(field: Field) -> Iterator[int]:
    yield len(field.description)
    for part in _parts(field.kind):
        yield from _lengths(part)


def _choices(field: Field) -> Iterator[int]:
    if isinstance(field.kind, Choice | MultiChoice):
        yield len(field.kind.options)
    for part in _parts(field.kind):
        yield from _choices(part)


def _plain(field: Field, share: int) -> Field:
    """Returns a field without choices where it has more than its share: the vendor judges what is filled in."""
    match field.kind:
        case Choice(options) if len(options) > share:
            texts = all(isinstance(option.value, str) for option in options)
            return replace(field, kind=Text() if texts else Json())
        case MultiChoice(options) if len(options) > share:
            return replace(field, kind=Json(("array",)))
        case kind:
            return replace(field, kind=_with(kind, lambda part: _plain(part, share)))


def _with(kind: Kind, change: Callable[[Field], Field]) -> Kind:
    match kind:
        case Group(members):
            return replace(kind, fields=tuple(change(member) for member in members))
        case Items(item):
            return Items(change(item))
        case Entries(value):
            return Entries(change(value))
        case Union(variants=variants):
            return replace(kind, variants=tuple(change(variant) for variant in variants))
        case _:
            return kind


def _parts(kind: Kind) -> tuple[Field, ...]:
    match kind:
        case Group(members):
            return members
        case Items(item):
            return (item,)
        case Entries(value):
            return (value,)
        case Union(variants=variants):
            return variants
        case _:
            return ()


def _brief(field: Field, share: int) -> Field:
    kind = _with(field.kind, lambda part: _brief(part, share))
    return replace(field, kind=kind, description=clean(field.description, share) if share else "")
