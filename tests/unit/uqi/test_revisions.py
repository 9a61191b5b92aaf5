"""Values that were filled into an older form: each class of change is carried over, or refused at its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.schema import JsonSchema
from cordboard.uqi import binding, canonical
from cordboard.uqi.binding import Bound, Client
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.revisions import REASON, Revision, carried, wires_of
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi.samples import a_definition, an_input

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer"}


def a_draft(schema: dict[str, Any], hints: dict[str, str], queries: dict[str, str]) -> Draft:
    """The form of an action; `hints` are labels, `queries` the names in the query by the inputs' names."""
    definition = a_definition(schema)
    [action] = definition.actions
    for name, label in hints.items():
        action.form_hints.add(property=name, label=label)
    for name, wire in queries.items():
        action.request.parameters.add(property=name, name=wire, placement=pb.PLACEMENT_QUERY)
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft), draft
    return draft


def now(
    before: dict[str, Any],
    after: dict[str, Any],
    values: dict[str, Any],
    *,
    client: Client = "json_schema",
    hints: tuple[dict[str, str], dict[str, str]] = ({}, {}),
    queries: tuple[dict[str, str], dict[str, str]] = ({}, {}),
) -> Bound:
    """What values that were filled into one form mean to the one that came after it."""
    drafts = [a_draft(schema, *about) for schema, *about in zip((before, after), hints, queries, strict=True)]
    documents = [form_pb2.FormDocument.FromString(draft.document) for draft in drafts]
    trees = [canonical.read(document) for document in documents]
    judges = [JsonSchema.compile(json.loads(draft.json_schema)) for draft in drafts]
    old, new = (
        Revision(document.revision, tree.fields, wires_of(document))
        for document, tree in zip(documents, trees, strict=True)
    )
    assert old.id != new.id, "nothing has changed"
    found = binding.bound(trees[0], judges[0], values, client)
    assert found.problems == ()
    return carried(found, old, new, lambda given: binding.bound(trees[1], judges[1], given, "json_schema"))


def test_a_field_that_a_hint_calls_otherwise_keeps_its_value() -> None:
    form = an_input("subject", subject=TEXT)
    found = now(form, form, {"subject": "x"}, hints=({}, {"subject": "What it is about"}))
    assert (found.input, found.problems, found.dropped, found.moved) == ({"subject": "x"}, (), (), ())


def test_a_field_with_another_name_that_goes_to_the_same_place_keeps_its_value() -> None:
    found = now(an_input("q", q=TEXT), an_input("query", query=TEXT), {"q": "x"}, queries=({"q": "q"}, {"query": "q"}))
    assert (found.input, found.problems, found.moved) == ({"query": "x"}, (), ("/query",))


def test_a_new_field_that_goes_elsewhere_does_not_take_the_value_of_one_that_is_gone() -> None:
    found = now(an_input(q=TEXT), an_input(query=TEXT), {"q": "x"}, queries=({"q": "q"}, {"query": "search"}))
    assert (found.input, found.dropped) == ({}, ("/q",))


def test_a_field_that_is_gone_loses_its_value_wherever_it_was() -> None:
    before = an_input(a=TEXT, b=TEXT, rows={"type": "array", "items": an_input(c=TEXT, d=TEXT)}, in_=an_input(e=TEXT))
    after = an_input(a=TEXT, rows={"type": "array", "items": an_input(c=TEXT)}, in_=an_input(f=TEXT))
    found = now(before, after, {"a": "1", "b": "2", "rows": [{"c": "3", "d": "4"}], "in_": {"e": "5"}})
    assert found.input == {"a": "1", "rows": [{"c": "3"}], "in_": {}}
    assert found.problems == ()
    assert sorted(found.dropped) == ["/b", "/in_/e", "/rows/0/d"]


@pytest.mark.parametrize(
    ("before", "after", "value", "expected"),
    [
        (NUMBER, TEXT, 7, "7"),
        (TEXT, NUMBER, "7", 7),
        (NUMBER, {"type": "number"}, 7, 7),
        (TEXT, {}, "x", "x"),
        (TEXT, {"type": "array", "items": TEXT}, "x", ["x"]),
    ],
)
def test_a_value_that_fits_the_new_type_is_taken(
    before: dict[str, Any], after: dict[str, Any], value: Any, expected: Any
) -> None:
    found = now(an_input(thing=before), an_input(thing=after), {"thing": value})
    assert (found.input, found.problems) == ({"thing": expected}, ())


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        (TEXT, NUMBER, "seven"),
        ({"type": "array", "items": TEXT}, TEXT, ["x"]),
        (an_input(a=TEXT), NUMBER, {"a": "x"}),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, "b"),
        (TEXT, {"type": "string", "maxLength": 2}, "abc"),
    ],
    ids=["type", "from a list", "object", "choice gone", "narrower"],
)
def test_a_value_that_does_not_fit_any_more_is_refused_at_its_field(
    before: dict[str, Any], after: dict[str, Any], value: Any
) -> None:
    found = now(an_input(thing=before), an_input(thing=after), {"thing": value})
    assert {(problem.field_id, problem.pointer) for problem in found.problems} == {("thing", "/thing")}
    for problem in found.problems:
        assert problem.violation.reason == REASON
        assert "the form has changed since" in problem.violation.description


def test_a_field_that_has_to_be_there_now_is_asked_for_unless_it_has_a_default() -> None:
    before = an_input(a=TEXT)
    missing = now(before, an_input("b", a=TEXT, b=TEXT), {"a": "x"})
    assert [problem.violation.reason for problem in missing.problems] == [REASON]
    assert "b" in missing.problems[0].violation.field
    filled = now(before, an_input("b", a=TEXT, b={**TEXT, "default": "y"}), {"a": "x"})
    assert (filled.input, filled.problems) == ({"a": "x", "b": "y"}, ())


def test_a_null_is_left_out_where_there_must_be_none_any_more() -> None:
    found = now(an_input(a={"type": ["string", "null"]}), an_input(a=TEXT), {"a": None})
    assert (found.input, found.dropped, found.problems) == ({}, ("/a",), ())


def test_values_of_another_client_are_read_by_the_old_forms_own_keys() -> None:
    # With one more field of nearly that name, the key is another one.
    before = an_input(**{"page.size": NUMBER})
    after = an_input(page_size=TEXT, **{"page.size": NUMBER})
    values = {"command": "ACME_CREATE", "ACME_CREATE": {"page_size": "5"}}
    found = now(before, after, values, client="appsmith")
    assert (found.input, found.problems) == ({"page.size": 5}, ())
