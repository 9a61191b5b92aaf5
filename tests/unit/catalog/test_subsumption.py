"""The checker against a brute-force oracle: it may be too careful, and is never wrong when it says yes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cordboard.catalog.compatibility import subsumption
from cordboard.catalog.compatibility.subsumption import CANNOT_PROVE, Subsumption
from tests.unit.catalog.oracle import schemas, witness

QUICK = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def sound(schema: Any) -> bool:
    """Tells whether a shared schema leads to itself only through a value inside its own."""
    if not isinstance(schema, dict):
        return True
    inside = ("allOf", "anyOf", "oneOf")
    parts = [each for keyword in inside for each in schema.get(keyword, ())]
    parts += [schema[keyword] for keyword in ("not", "if", "then", "else") if keyword in schema]
    return "$ref" not in schema and all(sound(part) for part in parts)


def mutate(data: st.DataObject, schema: Any) -> Any:
    """Returns the schema with a part exchanged, taken away or added."""
    made = copy.deepcopy(schema)
    if not isinstance(made, dict) or not made or data.draw(st.booleans()):
        other = data.draw(schemas())
        if isinstance(made, dict) and isinstance(other, dict):
            made.update(other)
            return made
        return other
    keyword = data.draw(st.sampled_from(sorted(made)))
    value = made[keyword]
    if isinstance(value, dict) and value and keyword in ("properties", "items", "additionalProperties"):
        if keyword == "properties":
            name = data.draw(st.sampled_from(sorted(value)))
            value[name] = mutate(data, value[name])
        else:
            made[keyword] = mutate(data, value)
    elif isinstance(value, list) and value:
        at = data.draw(st.integers(0, len(value) - 1))
        del value[at]
        if not value:
            del made[keyword]
    elif isinstance(value, int) and not isinstance(value, bool):
        made[keyword] = max(value + data.draw(st.sampled_from([-1, 1])), 1 if keyword == "multipleOf" else 0)
    else:
        del made[keyword]
    return made


@QUICK
@given(st.data(), schemas(), schemas())
def test_what_is_called_compatible_is_compatible(data: st.DataObject, sent: Any, shared: Any) -> None:
    assume(sound(shared))
    sent_shared = {"A": shared}
    taken_shared = {"A": mutate(data, shared) if data.draw(st.booleans()) else shared}
    assume(sound(taken_shared["A"]))
    taken = mutate(data, sent) if data.draw(st.booleans()) else sent
    try:
        found, value = witness(sent, taken, sent_shared, taken_shared)
    except ValueError:
        assume(False)
    problems = Subsumption(sent_shared, taken_shared).problems(sent, taken)
    assert problems or not found, f"{value!r} is sent, and refused"


@QUICK
@given(schemas(references=False))
def test_a_schema_is_compatible_with_itself(schema: Any) -> None:
    assert Subsumption({}, {}).problems(schema, schema) == []


def test_the_oracle_notices_a_checker_that_skips_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, taken = {"type": "object", "properties": {"a": {}}}, {"type": "object", "required": ["a"]}
    assert Subsumption({}, {}).problems(sent, taken)
    monkeypatch.setattr(subsumption.Subsumption, "_objects", lambda *_: [])
    assert Subsumption({}, {}).problems(sent, taken) == []
    assert witness(sent, taken, {}, {})[0]


def test_an_endless_reference_is_no_proof() -> None:
    shared = {"X": {"anyOf": [{"$ref": "#/$defs/X"}, {"type": "string"}]}}
    problems = Subsumption({}, shared).problems({"type": "integer"}, {"$ref": "#/$defs/X"})
    assert problems


def test_recursive_schemas_are_compared() -> None:
    def tree(leaf: str) -> dict[str, Any]:
        properties = {"value": {"type": leaf}, "left": {"$ref": "#/$defs/Tree"}, "next": {"$ref": "#/$defs/List"}}
        return {
            "Tree": {"type": "object", "properties": properties},
            "List": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        }

    reference = {"$ref": "#/$defs/Tree"}
    assert Subsumption(tree("integer"), tree("number")).problems(reference, reference) == []
    (problem,) = Subsumption(tree("number"), tree("integer")).problems(reference, reference)
    assert (problem.path, problem.rule) == (("properties", "value"), "TYPE_NARROWED")


def test_schemas_that_are_too_rich_are_not_proven() -> None:
    wide = {"allOf": [{"anyOf": [{"minimum": n}, {"maximum": n}]} for n in range(12)]}
    (problem,) = Subsumption({}, {}).problems(wide, {"type": "integer"})
    assert problem.rule == CANNOT_PROVE
    deep: Any = {"type": "integer"}
    wider: Any = {"type": "number"}
    for _ in range(100):
        deep, wider = {"type": "array", "items": deep}, {"type": "array", "items": wider}
    (problem,) = Subsumption({}, {}).problems(deep, wider)
    assert problem.rule == CANNOT_PROVE
