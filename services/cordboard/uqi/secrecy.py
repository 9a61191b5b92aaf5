"""Secrets that were filled in: found in what was bound, and taken out of it before anything is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cordboard.core.json_pointers import pointer_to, unescape
from cordboard.core.secrets import Secret
from cordboard.uqi.binding import Bound, SecretPlace, field_at, is_reference
from cordboard.uqi.fields import Field, Schema

# What a secret's schema says in any case.
SECRET_FORMAT: Final = "password"  # noqa: S105 - a word of JSON Schema
_PREFIX: Final = "#/$defs/"
_SEVERAL: Final = ("allOf", "anyOf", "oneOf")
_SINGLE: Final = ("if", "then", "else", "contains", "unevaluatedProperties", "unevaluatedItems")

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where the JSON Schema of a form has secrets, also within what the form shows as JSON."""

    fields: tuple[Field, ...]
    schema: Schema

    def withheld(self, found: Bound, submitted: Mapping[str, Any]) -> Bound:
        """Returns what was bound with null for each secret, and where each goes and stood in what was submitted.

        What is empty is no secret, and neither is a reference to one.
        """
        walk = _Walk(self.schema)
        taken = walk.taken(found.input)
        sent = dict(_texts(submitted, ()))
        places = tuple(
            SecretPlace(field_at(self.fields, steps), pointer_to(steps), pointer_to(_origin(sent, steps, secret)))
            for steps, secret in walk.found.items()
        )
        withheld = tuple(Secret(text) for text in walk.found.values())
        return replace(found, input=taken, secrets=places, withheld=withheld)


class _Walk:
    """Goes through a value and the schemas that apply to it side by side."""

    def __init__(self, schema: Schema) -> None:
        self.found: dict[Steps, str] = {}
        self._root = schema
        self._seen: set[tuple[int, Steps]] = set()

    def taken(self, value: dict[str, Any]) -> dict[str, Any]:
        """Returns the value without its secrets, which are in `found` from then on."""
        self._look(self._root, value, ())
        return _without(value, (), self.found) if self.found else value

    def _look(self, schema: Any, value: Any, steps: Steps) -> None:
        # Each schema meets each value once, however the schemas refer to each other.
        if not isinstance(schema, Mapping) or (id(schema), steps) in self._seen:
            return
        self._seen.add((id(schema), steps))
        if isinstance(value, str):
            if value and schema.get("format") == SECRET_FORMAT and not is_reference(value):
                self.found[steps] = value
        elif isinstance(value, Mapping):
            self._members(schema, value, steps)
        elif isinstance(value, list):
            self._items(schema, value, steps)
        for other in _beside(schema, self._root):
            self._look(other, value, steps)

    def _members(self, schema: Schema, value: Mapping[str, Any], steps: Steps) -> None:
        named = schema.get("properties", {})
        patterns = list(schema.get("patternProperties", {}).values())
        for name, member in value.items():
            below = [named[name]] if name in named else [schema.get("additionalProperties")]
            for each in (*below, *patterns):
                self._look(each, member, (*steps, name))

    def _items(self, schema: Schema, value: list[Any], steps: Steps) -> None:
        first = schema.get("prefixItems", ())
        for index, item in enumerate(value):
            self._look(first[index] if index < len(first) else schema.get("items"), item, (*steps, index))


def _beside(schema: Schema, root: Schema) -> Iterator[Any]:
    """Yields the schemas that apply, or may apply, to the same value."""
    reference = str(schema.get("$ref", ""))
    if reference.startswith(_PREFIX):
        yield _resolved(root.get("$defs", {}), reference.removeprefix(_PREFIX).split("/"))
    for word in _SEVERAL:
        yield from schema.get(word, ())
    for word in _SINGLE:
        yield schema.get(word)
    yield from schema.get("dependentSchemas", {}).values()


def _resolved(node: Any, steps: list[str]) -> Any:
    for step in steps:
        name = unescape(step)
        if isinstance(node, list):
            node = node[int(name)] if name.isdecimal() and int(name) < len(node) else None
        else:
            node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _without(value: Any, steps: Steps, found: Mapping[Steps, str]) -> Any:
    if steps in found:
        return None
    if isinstance(value, Mapping):
        return {name: _without(member, (*steps, name), found) for name, member in value.items()}
    if isinstance(value, list):
        return [_without(item, (*steps, index), found) for index, item in enumerate(value)]
    return value


def _texts(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, Mapping | list):
        members = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, member in members:
            yield from _texts(member, (*steps, name))


def _origin(sent: Mapping[Steps, str], steps: Steps, secret: str) -> Steps:
    """Returns where the same text stood: at the same place, else under the same name, else anywhere.

    Nothing tells equal texts apart, and nothing has to. A secret within a text of JSON stood where that text stands.
    """
    tests: tuple[Callable[[Steps, str], bool], ...] = (
        lambda place, text: place == steps and text == secret,
        lambda place, text: place[-1:] == steps[-1:] and text == secret,
        lambda _, text: text == secret,
        lambda _, text: secret in text,
    )
    return next((place for test in tests for place, text in sent.items() if test(place, text)), ())
