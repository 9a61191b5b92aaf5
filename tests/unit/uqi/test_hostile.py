"""Definitions made to do harm: bounded time, typed results, and the price of one form at most."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.schema import JsonSchema
from cordboard.uqi.drafts import Draft, Draftsman, Failure, generator_hash
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import a_definition, an_input, the_draft

BOUND = 10.0


def deep(levels: int, wrap: str) -> dict[str, Any]:
    """Schemas within schemas."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        wrapped: dict[str, dict[str, Any]] = {
            "properties": {"type": "object", "properties": {"a": schema}},
            "items": {"type": "array", "items": schema},
            "allOf": {"allOf": [schema]},
            "anyOf": {"anyOf": [schema, {"type": "null"}]},
        }
        schema = wrapped[wrap]
    return schema


def chain(length: int, link: str) -> dict[str, Any]:
    """Schemas that each refer to the next, in the same way."""
    found: dict[str, Any] = {}
    for number in range(length):
        following = {"$ref": f"#/$defs/D{number + 1}"}
        linked: dict[str, dict[str, Any]] = {
            "$ref": following,
            "allOf": {"allOf": [following]},
            "items": {"type": "array", "items": following},
            "anyOf": {"anyOf": [following, {"type": "null"}]},
            "twice": {"allOf": [following, {**following, "title": "again"}]},
        }
        found[f"D{number}"] = linked[link]
    return {**found, f"D{length}": {"type": "string"}}


@pytest.mark.parametrize("wrap", ["properties", "items", "allOf", "anyOf"])
@pytest.mark.parametrize("levels", [70, 140])
def test_deep_nesting_ends_in_json_fields(wrap: str, levels: int) -> None:
    assert the_draft(an_input(thing=deep(levels, wrap))).losses


def test_nesting_that_no_reader_of_json_follows_leaves_a_form_without_fields() -> None:
    text = '{"properties":{"a":' * 20_000 + "{}" + "}}" * 20_000
    assert the_draft(text).losses[0].startswith("the input schema: is nested")


@pytest.mark.parametrize("link", ["$ref", "allOf", "items", "anyOf", "twice"])
@pytest.mark.parametrize("length", [60, 3_000])
def test_long_chains_of_references_end_in_bounded_time(link: str, length: int) -> None:
    started = time.monotonic()
    draft = the_draft(an_input(thing={"$ref": "#/$defs/D0"}), chain(length, link))
    judge = JsonSchema.compile(json.loads(draft.json_schema))
    judge.accepts({"thing": "x"})
    assert time.monotonic() - started < BOUND


@pytest.mark.parametrize(
    "schemas",
    [
        {"A": {"$ref": "#/$defs/A"}},
        {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        {"A": {"allOf": [{"$ref": "#/$defs/A"}, {"type": "string"}]}},
        {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}},
        {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        {"A": {"type": "object", "additionalProperties": {"$ref": "#/$defs/A"}}},
    ],
)
def test_circles_end_in_json_fields(schemas: dict[str, Any]) -> None:
    draft = the_draft(an_input(thing={"$ref": "#/$defs/A"}), schemas)
    assert any("contains itself" in loss for loss in draft.losses)
    JsonSchema.compile(json.loads(draft.json_schema)).accepts({"thing": []})


def test_prototype_names_are_fields_like_others() -> None:
    names = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "__defineGetter__"]
    draft = the_draft(an_input(**{name: {"type": "string"} for name in names}))
    assert problems(json.loads(draft.appsmith)) == []
    assert list(json.loads(draft.json_schema)["properties"]) == names


def test_a_thousand_losses_are_summed_up() -> None:
    draft = the_draft(an_input(**{f"f{n}": {"type": "file"} for n in range(1_000)}))
    assert len(draft.losses) == 100
    assert draft.losses[-1] == "and 901 more"


def test_a_form_that_cannot_be_made_costs_that_form_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = a_definition(an_input(a={"type": "string"}), an_input(b={"type": "string"}))
    original = JsonSchema.compile

    def broken(schema: Any) -> JsonSchema:
        if "b" in schema.get("properties", {}):
            raise RuntimeError("a fault of ours")
        return original(schema)

    monkeypatch.setattr(JsonSchema, "compile", broken)
    draftsman = Draftsman(definition)
    made = draftsman.drafts(draftsman.ids())
    assert [type(each) for each in made] == [Draft, Failure]
    assert made[1] == Failure("action.create-2", "RuntimeError: a fault of ours")


def test_an_auth_scheme_of_no_known_kind_has_a_form_with_nothing_to_fill_in() -> None:
    draftsman = Draftsman(pb.Definition(slug="acme", auth_schemes=[pb.AuthScheme(id="odd")]))
    (draft,) = draftsman.drafts(draftsman.ids())
    assert isinstance(draft, Draft)
    assert draft.title == "Odd"


def test_the_generator_is_known_by_a_hash_that_stays() -> None:
    assert generator_hash() == generator_hash()
    assert len(generator_hash()) == 32
