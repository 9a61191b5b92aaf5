"""Keeps a form of very many fields short: what is said about its fields is cut, so that the form stays below 1 MB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from cordboard.uqi.fields import Entries, Field, FormTree, Group, Items, Kind, Union
from cordboard.uqi.texts import clean

# Characters, of all fields of a form together; nine times what the wordiest of 4,977 real forms has.
MOST_DESCRIBED: Final = 150_000


def brief(tree: FormTree) -> tuple[FormTree, list[str]]:
    """Returns the form with descriptions of its fields that are short enough together, and what was lost by that."""
    lengths = [length for field in tree.fields for length in _lengths(field)]
    if sum(lengths) <= MOST_DESCRIBED:
        return tree, []
    share = MOST_DESCRIBED // len(lengths)
    loss = f"the fields have more than {MOST_DESCRIBED} characters of description; each is cut to {share}"
    return replace(tree, fields=tuple(_brief(field, share) for field in tree.fields)), [loss]


def _lengths(field: Field) -> Iterator[int]:
    yield len(field.description)
    for part in _parts(field.kind):
        yield from _lengths(part)


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
    kind: Kind = field.kind
    if isinstance(kind, Group):
        kind = replace(kind, fields=tuple(_brief(member, share) for member in kind.fields))
    elif isinstance(kind, Items):
        kind = Items(_brief(kind.item, share))
    elif isinstance(kind, Entries):
        kind = Entries(_brief(kind.value, share))
    elif isinstance(kind, Union):
        kind = replace(kind, variants=tuple(_brief(variant, share) for variant in kind.variants))
    return replace(field, kind=kind, description=clean(field.description, share) if share else "")
