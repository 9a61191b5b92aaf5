"""What holds for any schema and any value: a form is made, it keeps the rules, and values bind or are refused."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cordboard.core.errors import InvalidFields
from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.appsmith import is_flat, option_texts
from cordboard.uqi.binding import bind
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import (
    Boolean,
    Choice,
    Entries,
    Field,
    FormTree,
    Group,
    Integer,
    Items,
    Json,
    MultiChoice,
    Number,
    Union,
)
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import a_definition, an_input, the_draft

names = st.text("abcxyz_.-[]", min_size=1, max_size=6) | st.sampled_from(["data", "__proto__", "command", "q"])
scalars: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda least: {"type": "string", "minLength": least}, st.integers(0, 2)),
    st.builds(lambda least: {"type": "integer", "minimum": least}, st.integers(-5, 5)),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.builds(lambda values: {"enum": values}, st.lists(st.text("ab{}", max_size=3) | st.integers(0, 9), min_size=1)),
)


def larger(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas with these inside."""
    members = st.dictionaries(names, inner, min_size=1, max_size=4)
    return st.one_of(
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(lambda item: {"type": "object", "additionalProperties": item}, inner),
        st.builds(lambda held: {**an_input(**held), "required": list(held)[:1]}, members),
        st.builds(lambda item: {"anyOf": [item, {"type": "null"}]}, inner),
        st.builds(lambda one, other: {"oneOf": [one, other]}, inner, inner),
    )


schemas = st.recursive(scalars, larger, max_leaves=8)
inputs = st.dictionaries(names, schemas, max_size=5).flatmap(
    lambda held: (
        st.builds(
            lambda required: {**an_input(**held), "required": required},
            st.lists(st.sampled_from([*held, "q"]), max_size=2),
        )
        if held
        else st.just(an_input())
    )
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def ready(draft: Draft) -> tuple[FormTree, JsonSchema]:
    """A form, and its compiled schema."""
    schema = json.loads(draft.json_schema)
    return json_schema.read(schema), JsonSchema.compile(schema)


@st.composite
def values_of(draw: st.DrawFn, field: Field) -> Any:
    """A value that a field takes, as the JSON Schema has it."""
    kind = field.kind
    if field.nullable and draw(st.booleans()):
        return None
    if isinstance(kind, Choice):
        return draw(st.sampled_from([option.value for option in kind.options]))
    if isinstance(kind, MultiChoice):
        return draw(st.lists(st.sampled_from([option.value for option in kind.options]), max_size=3))
    if isinstance(kind, Integer):
        return draw(st.integers(int(field.constraints.get("minimum", -5)), 9))
    if isinstance(kind, Number):
        return draw(st.floats(-1e6, 1e6))
    if isinstance(kind, Boolean):
        return draw(st.booleans())
    if isinstance(kind, Group):
        return draw(objects_of(kind.fields))
    if isinstance(kind, Items):
        return draw(st.lists(values_of(kind.item), max_size=3))
    if isinstance(kind, Entries):
        return draw(st.dictionaries(st.text("abc", min_size=1, max_size=3), values_of(kind.value), max_size=3))
    if isinstance(kind, Union):
        return draw(values_of(draw(st.sampled_from(kind.variants))))
    assume(not isinstance(kind, Json))
    return draw(st.text("abc", min_size=2, max_size=5))


@st.composite
def objects_of(draw: st.DrawFn, fields: tuple[Field, ...]) -> dict[str, Any]:
    """Members for these fields, the required ones and some of the others."""
    return {each.name: draw(values_of(each)) for each in fields if each.required or draw(st.booleans())}


def typed(field: Field, value: Any) -> Any:
    """The value as Appsmith keeps it: text for what is typed, rows for tables."""
    kind = field.kind
    if value is None or isinstance(kind, Boolean):
        return value
    if isinstance(kind, Choice):
        return next(
            text for text, known in option_texts(kind.options).items() if (type(known), known) == (type(value), value)
        )
    if isinstance(kind, MultiChoice):
        return [typed(Field("", "", Choice(kind.options), (), ""), item) for item in value]
    if isinstance(kind, Group):
        return {each.key: typed(each, value[each.name]) for each in kind.fields if each.name in value}
    if isinstance(kind, Items) and is_flat(kind.item):
        return [typed(kind.item, item) for item in value]
    if isinstance(kind, Items | Entries):
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(inputs)
def test_any_input_has_a_form_that_keeps_the_rules_and_reads_back(schema: dict[str, Any]) -> None:
    draft = the_draft(schema)
    assert problems(json.loads(draft.appsmith)) == []
    document = json.loads(draft.json_schema)
    assert json_schema.project(json_schema.read(document)) == document
    assert the_draft(schema) == draft


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(inputs, st.data())
def test_values_that_fit_bind_to_themselves(schema: dict[str, Any], data: st.DataObject) -> None:
    tree, judge = ready(the_draft(schema))
    values = data.draw(objects_of(tree.fields))
    assume(judge.accepts(values))
    # Required choices of one value fill themselves in, and nothing else changes.
    bound = bind(tree, judge, values)
    assert judge.accepts(bound)
    assert {name: bound[name] for name in values} == values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(inputs, st.data())
def test_what_appsmith_keeps_of_values_binds_to_the_same(schema: dict[str, Any], data: st.DataObject) -> None:
    tree, judge = ready(the_draft(schema))
    values = data.draw(objects_of(tree.fields))
    assume(judge.accepts(values))
    assume(not _has_blanks(values))
    branch = {each.key: typed(each, values[each.name]) for each in tree.fields if each.name in values}
    bound = bind(tree, judge, {"command": "ACME_CREATE", "ACME_CREATE": branch})
    assert {name: bound[name] for name in values} == values


@settings(max_examples=200, deadline=None)
@given(inputs, st.dictionaries(names, json_values, max_size=4), st.booleans())
def test_any_values_bind_or_are_refused_by_field(schema: dict[str, Any], values: dict[str, Any], keyed: bool) -> None:
    tree, judge = ready(the_draft(schema))
    sent = {"command": "ACME_CREATE", "ACME_CREATE": values} if keyed else values
    try:
        assert judge.accepts(bind(tree, judge, sent))
    except InvalidFields as error:
        assert all(violation.field.startswith("values") for violation in error.violations)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), json_values, max_size=6), st.dictionaries(st.text(max_size=8), json_values))
def test_any_json_where_a_schema_should_be_still_gives_a_form(schema: dict[str, Any], shared: dict[str, Any]) -> None:
    texts = [json.dumps(each) for each in ({"properties": {"a": schema}, **schema}, shared)]
    (draft,) = Draftsman(a_definition(texts[0], schemas=texts[1])).drafts(["action.create"])
    assert isinstance(draft, Draft)
    JsonSchema.compile(json.loads(draft.json_schema))


def _has_blanks(value: Any) -> bool:
    """Tells whether something in it is what Appsmith has for "nothing"."""
    if isinstance(value, dict):
        return not value or any(_has_blanks(member) for member in value.values())
    if isinstance(value, list):
        return not value or any(_has_blanks(item) for item in value)
    return value in ("", None)
