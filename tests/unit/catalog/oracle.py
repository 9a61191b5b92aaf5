"""The other opinion on compatibility: small schemas, all small values, and a validator that looks at each of them."""

from __future__ import annotations

import itertools
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

SHARED = "#/$defs/"
IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
IN_PLACE = ("not", "if", "then", "else")
WIDENING = ("additionalProperties", "patternProperties", "unevaluatedProperties")

SCALARS: tuple[Any, ...] = (None, True, False, 0, 1, 2, 5, -1, 1.5, 2.5, "", "a", "b", "ab", "abc")


def _values() -> list[Any]:
    few = (None, True, 1, 1.5, "a", "abc")
    found: list[Any] = list(SCALARS)
    found += [[], *([each] for each in few), *([one, other] for one in few[:5] for other in few[:5])]
    found += [{}]
    for names in (("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("a", "b", "c")):
        found += [dict(zip(names, values, strict=True)) for values in itertools.product(few[:5], repeat=len(names))]
    nested: list[Any] = [{"a": inner} for inner in ({}, {"a": 1}, {"a": "a"}, {"b": None}, {"c": True}, [], [1])]
    nested += [[{}], [{"a": 1}], [["a"]], [{"c": "a"}], {"a": {"a": {"a": 1}}}, {"a": {"a": {"b": "a"}}}]
    return [*found, *nested]


VALUES = _values()


def accepts(schema: Any, shared: dict[str, Any]) -> Any:
    """Returns what tells whether a value is valid; raises ValueError where the schema is none."""
    if isinstance(schema, bool):
        return lambda _: schema
    try:
        return jsonschema_rs.Draft202012Validator({**schema, "$defs": shared}).is_valid
    except jsonschema_rs.ValidationError as error:
        raise ValueError(str(error)) from None


def closed(schema: Any, shared: dict[str, Any]) -> Any:
    """Returns the schema of what is sent: objects have no properties that it does not name, unless it says more."""
    if not isinstance(schema, dict):
        return schema
    inside = inner(schema, shared)
    names, wide = mentioned(schema, shared, set())
    return {"allOf": [inside], "unevaluatedProperties": False} if names and not wide else inside


def inner(schema: Any, shared: dict[str, Any]) -> Any:
    """Returns the schema with the places below it closed, and not itself."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for keyword in ("properties", "patternProperties"):
        if keyword in made:
            made[keyword] = {name: closed(each, shared) for name, each in made[keyword].items()}
    for keyword in ("additionalProperties", "items", "contains"):
        if keyword in made:
            made[keyword] = closed(made[keyword], shared)
    if "prefixItems" in made:
        made["prefixItems"] = [closed(each, shared) for each in made["prefixItems"]]
    for keyword in IN_PLACE_LISTS:
        if keyword in made:
            made[keyword] = [inner(each, shared) for each in made[keyword]]
    # What is under `not` and `if` is a question, and nothing that is sent.
    for keyword in ("then", "else"):
        if keyword in made:
            made[keyword] = inner(made[keyword], shared)
    return made


def mentioned(schema: Any, shared: dict[str, Any], seen: set[str]) -> tuple[bool, bool]:
    """Returns whether a schema names properties for its value, and whether it says more of others."""
    if not isinstance(schema, dict):
        return False, False
    found = [(bool(schema.get("properties")), any(schema.get(each, False) is not False for each in WIDENING))]
    for keyword in IN_PLACE_LISTS:
        found += [mentioned(each, shared, seen) for each in schema.get(keyword, ())]
    found += [mentioned(schema[keyword], shared, seen) for keyword in IN_PLACE if keyword in schema]
    reference = schema.get("$ref")
    if reference and reference not in seen:
        found.append(mentioned(shared.get(reference.removeprefix(SHARED)), shared, seen | {reference}))
    return any(names for names, _ in found), any(wide for _, wide in found)


def witness(sent: Any, taken: Any, sent_shared: dict[str, Any], taken_shared: dict[str, Any]) -> tuple[bool, Any]:
    """Returns whether some small value is sent and not taken, and that value."""
    shared = {name: inner(schema, sent_shared) for name, schema in sent_shared.items()}
    sends = accepts(closed(sent, sent_shared), shared)
    takes = accepts(taken, taken_shared)
    for value in VALUES:
        if sends(value) and not takes(value):
            return True, value
    return False, None


kinds = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
names = st.sampled_from(["a", "b", "c"])
small = st.integers(0, 3)


def schemas(*, references: bool = True) -> st.SearchStrategy[Any]:
    """Makes schemas of every keyword that is compared, over few values."""
    leaf = st.one_of(
        st.booleans(),
        st.just({}),
        st.builds(lambda kind: {"type": kind}, kinds),
        *([st.just({"$ref": SHARED + "A"})] if references else []),
    )
    return st.recursive(leaf, _larger, max_leaves=6)


def _larger(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    scalars = st.sampled_from(SCALARS)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, min_size=1, max_size=3, unique=True),
            "enum": st.lists(scalars, min_size=1, max_size=3, unique_by=repr),
            "const": scalars,
            "minimum": small,
            "exclusiveMinimum": small,
            "maximum": small,
            "exclusiveMaximum": small,
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": small,
            "maxLength": small,
            "pattern": st.sampled_from(["^a", "b$"]),
            "minItems": small,
            "maxItems": small,
            "uniqueItems": st.booleans(),
            "items": inside,
            "prefixItems": st.lists(inside, min_size=1, max_size=2),
            "contains": inside,
            "minProperties": small,
            "maxProperties": small,
            "required": st.lists(names, max_size=2, unique=True),
            "properties": st.dictionaries(names, inside, max_size=2),
            "additionalProperties": inside,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "c"]), inside, max_size=1),
            "propertyNames": st.sampled_from([{"maxLength": 0}, {"pattern": "^a"}, True]),
            "allOf": st.lists(inside, min_size=1, max_size=2),
            "anyOf": st.lists(inside, min_size=1, max_size=2),
            "oneOf": st.lists(inside, min_size=1, max_size=2),
            "not": inside,
            "if": inside,
            "then": inside,
            "else": inside,
        },
    ).map(_thinned)


def _thinned(schema: dict[str, Any]) -> dict[str, Any]:
    # Of many conditions at once, some: else hardly any value is valid.
    kept = sorted(schema, key=lambda keyword: hash((keyword, str(schema))))[:4]
    return {keyword: schema[keyword] for keyword in kept}
