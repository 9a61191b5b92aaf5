"""What is asked of several members at once is told as the schema means it, in every case."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema
from cordboard.uqi.canonical import _read_condition
from cordboard.uqi.conditions import holds
from cordboard.uqi.v1 import form_pb2 as pb
from tests.unit.uqi.samples import an_input, bound, the_draft

TEXT: dict[str, Any] = {"type": "string"}


def needs(*names: str) -> dict[str, Any]:
    """A branch that asks for these members and nothing else."""
    return {"required": list(names)}


def an_object(**keywords: Any) -> dict[str, Any]:
    """An input with four texts and these keywords."""
    return {**an_input(aa=TEXT, bb=TEXT, cc=TEXT, kind=TEXT), **keywords}


CARD = {"properties": {"kind": {"const": "card"}}, "required": ["kind"]}
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "some": (an_object(anyOf=[needs("aa"), needs("bb")]), ["AT_LEAST_ONE aa|bb"]),
    "one of groups": (an_object(oneOf=[needs("aa", "bb"), needs("cc")]), ["EXACTLY_ONE aa+bb|cc"]),
    "not two": (an_object(**{"not": needs("aa", "bb")}), ["AT_MOST_ONE aa|bb"]),
    "no two of three": (
        an_object(**{"not": {"anyOf": [needs("aa", "bb"), needs("aa", "cc"), needs("bb", "cc")]}}),
        ["AT_MOST_ONE aa|bb|cc"],
    ),
    "one or none": (
        an_object(oneOf=[needs("aa"), needs("bb"), {"not": {"anyOf": [needs("aa"), needs("bb")]}}]),
        ["AT_MOST_ONE aa|bb"],
    ),
    "together or not at all": (an_object(dependentRequired={"aa": ["bb"], "bb": ["aa"]}), ["ALL aa|bb when"]),
    "in one case": (
        an_object(**{"if": CARD, "then": {"anyOf": [needs("aa"), needs("bb")]}}),
        ["AT_LEAST_ONE aa|bb when"],
    ),
    "in the other case": (an_object(**{"if": CARD, "else": {"not": needs("aa", "bb")}}), ["AT_MOST_ONE aa|bb when"]),
    "where a member is there": (
        an_object(dependentSchemas={"aa": {"oneOf": [needs("bb"), needs("cc")]}}),
        ["EXACTLY_ONE bb|cc when"],
    ),
    "several at once": (
        an_object(allOf=[{"anyOf": [needs("aa"), needs("bb")]}, {"not": needs("bb", "cc")}]),
        ["AT_LEAST_ONE aa|bb", "AT_MOST_ONE bb|cc"],
    ),
    "not all three, which is no pair": (an_object(**{"not": needs("aa", "bb", "cc")}), []),
    "two of three pairs": (an_object(**{"not": {"anyOf": [needs("aa", "bb"), needs("bb", "cc")]}}), []),
    "only one way round": (an_object(dependentRequired={"aa": ["bb"]}), []),
}


def constraints(schema: dict[str, Any]) -> list[pb.Constraint]:
    """What a form says of several fields at once."""
    return list(pb.FormDocument.FromString(the_draft(schema).document).constraints)


def told(constraint: pb.Constraint) -> str:
    """A constraint in a few words."""
    count = pb.ConstraintCount.Name(constraint.count).removeprefix("CONSTRAINT_COUNT_")
    groups = "|".join("+".join(group.field_ids) for group in constraint.groups)
    return f"{count} {groups}{' when' if constraint.HasField('when') else ''}"


def is_met(constraint: pb.Constraint, values: dict[str, Any]) -> bool:
    """Whether values are as a constraint asks."""
    if constraint.HasField("when") and not holds(_read_condition(constraint.when), values.get):
        return True
    whole = sum(all(name in values for name in group.field_ids) for group in constraint.groups)
    return {
        pb.CONSTRAINT_COUNT_AT_LEAST_ONE: whole >= 1,
        pb.CONSTRAINT_COUNT_EXACTLY_ONE: whole == 1,
        pb.CONSTRAINT_COUNT_AT_MOST_ONE: whole <= 1,
        pb.CONSTRAINT_COUNT_ALL: whole == len(constraint.groups),
    }[constraint.count]


@pytest.mark.parametrize("name", CASES)
def test_what_is_told_is_what_the_schema_asks_for(name: str) -> None:
    schema, wanted = CASES[name]
    found = constraints(schema)
    assert [told(each) for each in found] == wanted
    if not wanted:
        return
    judge = JsonSchema.compile(schema)
    verdicts = set()
    for given in product((False, True), (False, True), (False, True), ("", "card", "cash")):
        values = {key: "x" for key, there in zip(("aa", "bb", "cc"), given[:3], strict=True) if there}
        values |= {"kind": given[3]} if given[3] else {}
        verdicts.add(judge.accepts(values))
        assert judge.accepts(values) is all(is_met(each, values) for each in found), values
    assert verdicts == {False, True}


def test_what_an_object_inside_asks_for_names_the_object() -> None:
    (found,) = constraints(an_input(owner=an_object(**{"not": needs("aa", "bb")})))
    assert (found.object_id, told(found)) == ("owner", "AT_MOST_ONE owner.aa|owner.bb")


def test_bind_refuses_what_is_asked_not_to_be() -> None:
    schema = CASES["not two"][0]
    assert bound(schema, {"aa": "x"}) == {"aa": "x"}
    with pytest.raises(Exception, match="values") as refused:
        bound(schema, {"aa": "x", "bb": "y"})
    assert "INTERNAL" not in str(refused.value)


def test_the_same_definition_says_it_in_the_same_bytes() -> None:
    drafts = [the_draft(json.dumps(CASES["several at once"][0])).document for _ in range(2)]
    assert drafts[0] == drafts[1]
