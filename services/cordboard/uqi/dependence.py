"""What a schema says about one member because of another: as conditions over fields, where they have the words for it.

What is not understood here is still in the schema, and so still checked when values are bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cordboard.uqi.conditions import All, Compare, Condition, Either, Not, Operator, both, either
from cordboard.uqi.fields import Boolean, Choice, Field, Integer, Moment, Number, Scalar, Text
from cordboard.uqi.source import Node

_COMPARABLE: Final = (Text, Number, Integer, Boolean, Moment, Choice)
_LIMITS: Final[Mapping[str, Operator]] = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
}
_KNOWN: Final = frozenset(
    {"type", "properties", "required", "allOf", "anyOf", "not", "title", "description", "default", "examples"}
)


@dataclass(frozen=True, slots=True)
class Branch:
    """Part of a schema that applies in one case: where `test`, as a schema of the same object, comes out as `holds`.

    `trigger` stands for a test of nothing but that a member is there.
    """

    schema: Mapping[str, Any]
    test: Mapping[str, Any] | None = None
    holds: bool = True
    trigger: str = ""


class _Unclear(Exception):
    """A test has no words among conditions."""


def branches(schema: Mapping[str, Any]) -> Iterator[Branch]:
    """Yields the parts of a flat schema of an object that apply only in some cases."""
    for part in (schema, *(each for each in schema.get("allOf", ()) if isinstance(each, dict))):
        test = part.get("if")
        if isinstance(test, dict):
            for word, outcome in (("then", True), ("else", False)):
                if isinstance(part.get(word), dict):
                    yield Branch(part[word], test, outcome)
        for trigger, applied in part.get("dependentSchemas", {}).items():
            if isinstance(applied, dict):
                yield Branch(applied, trigger=trigger)
        for trigger, names in part.get("dependentRequired", {}).items():
            yield Branch({"required": names}, trigger=trigger)


def extra_members(schema: Mapping[str, Any]) -> dict[str, Node]:
    """Returns the members that only some branches of a flat schema speak of, each as the first of those has it."""
    found: dict[str, Node] = {}
    for branch in branches(schema):
        for name, node in branch.schema.get("properties", {}).items():
            if name not in schema.get("properties", {}) and node is not False:
                found.setdefault(name, node)
    return found


def conditional(schema: Mapping[str, Any], fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Returns the fields of a flat schema, each knowing when it counts and when it has to be there."""
    known = {field.name: field for field in fields}
    always = schema.get("properties", {})
    active: dict[str, list[Condition | None]] = {}
    needed: dict[str, list[Condition | None]] = {}
    for branch in branches(schema):
        when = condition_of(branch, known)
        for name in branch.schema.get("properties", {}):
            if name not in always:
                active.setdefault(name, []).append(when)
        for name in branch.schema.get("required", ()):
            needed.setdefault(name, []).append(when)
    return tuple(_told(field, active.get(field.name, []), needed.get(field.name, [])) for field in fields)


def _told(field: Field, active: list[Condition | None], needed: list[Condition | None]) -> Field:
    # One unclear branch may be the one that applies: then the field is shown always, and required by the check alone.
    when = None if None in active else either(*active)
    required = None if field.required else either(*(each for each in needed if each is not None))
    return replace(field, active_when=when, required_when=required)


def condition_of(branch: Branch, fields: Mapping[str, Field]) -> Condition | None:
    """Returns when a branch applies; None where there are no words for it."""
    try:
        return _condition(branch, fields)
    except _Unclear:
        return None


def _condition(branch: Branch, fields: Mapping[str, Field]) -> Condition:
    if branch.test is None:
        return _present(branch.trigger, fields)
    found = _object(branch.test, fields)
    return found if branch.holds else Not(found)


def _object(test: Mapping[str, Any], fields: Mapping[str, Field]) -> Condition:
    if not _KNOWN.issuperset(test) or test.get("type", "object") != "object":
        raise _Unclear
    required = set(test.get("required", ()))
    parts: list[Condition | None] = []
    for name, node in test.get("properties", {}).items():
        found = _member(name, node, fields)
        if found is not None:
            # A schema of a member says nothing where the member is not there.
            parts.append(found if name in required else either(Not(_present(name, fields)), found))
            required.discard(name) if _implies_presence(found) else None
    parts += [_present(name, fields) for name in sorted(required)]
    parts += [_object(part, fields) for part in test.get("allOf", ()) if isinstance(part, dict)]
    if "anyOf" in test:
        parts.append(Either(tuple(_object(part, fields) for part in test["anyOf"])))
    if isinstance(test.get("not"), dict):
        parts.append(Not(_object(test["not"], fields)))
    return both(*parts) or All(())


def _member(name: str, node: Node, fields: Mapping[str, Field]) -> Condition | None:
    if node is True or node == {}:
        return None
    if not isinstance(node, dict) or not _is_comparable(name, fields):
        raise _Unclear
    field = fields[name]
    parts: list[Condition | None] = []
    for keyword, value in node.items():
        if keyword in ("const", "enum"):
            values = [value] if keyword == "const" else value
            if not all(isinstance(each, Scalar) and each != "" for each in values):
                raise _Unclear
            parts.append(Compare(field.id, "in", tuple(values)))
        elif keyword in _LIMITS and isinstance(field.kind, Number | Integer):
            parts.append(Compare(field.id, _LIMITS[keyword], (value,)))
        elif keyword == "not" and isinstance(value, dict):
            inner = _member(name, value, fields)
            if inner is None:
                raise _Unclear
            parts.append(Not(inner))
        elif keyword not in ("type", "title", "description"):
            raise _Unclear
    return both(*parts)


def _present(name: str, fields: Mapping[str, Field]) -> Condition:
    if not _is_comparable(name, fields):
        raise _Unclear
    return Compare(fields[name].id, "present")


def _is_comparable(name: str, fields: Mapping[str, Field]) -> bool:
    field = fields.get(name)
    return field is not None and isinstance(field.kind, _COMPARABLE) and not field.nullable


def _implies_presence(condition: Condition) -> bool:
    return isinstance(condition, Compare) or (
        isinstance(condition, All) and any(_implies_presence(part) for part in condition.parts)
    )
