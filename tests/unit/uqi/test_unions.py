"""Values of one of several shapes: how a form shows them, and how what was filled in finds its shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.core.errors import InvalidFields
from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.binding import bound as bind
from cordboard.uqi.fields import Json, Union
from tests.unit.uqi.appsmith_rules import controls, problems
from tests.unit.uqi.samples import an_input, bound, the_draft, the_field

CARD = an_input("kind", "number", kind={"const": "card"}, number={"type": "string"}, month={"type": "integer"})
BANK = an_input("kind", "iban", kind={"const": "bank"}, iban={"type": "string"})
PAYMENT = {"oneOf": [{"title": "Card", **CARD}, {"title": "Bank account", **BANK}]}
LABEL = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def test_a_member_with_a_value_of_its_own_in_each_shape_is_the_tag() -> None:
    kind = the_field(PAYMENT).kind
    assert isinstance(kind, Union)
    assert kind.tag == "kind"
    assert [each.key for each in kind.variants] == ["Card", "Bank_account"]


def test_a_value_as_the_api_has_it_stays_as_it_is() -> None:
    value = {"kind": "card", "number": "4111"}
    assert bound(an_input(pay=PAYMENT), {"pay": value}) == {"pay": value}


def test_a_chosen_variant_is_sent_without_the_choice_and_without_the_others() -> None:
    schema = json.loads(the_draft(an_input(pay=PAYMENT)).json_schema)
    branch = {"variant": "Card", "Card": {"number": "4111", "month": "7"}, "Bank_account": {"iban": "DE1"}}
    found = bind(
        json_schema.read(schema),
        JsonSchema.compile(schema),
        {"command": "ACME_CREATE", "ACME_CREATE": {"pay": {**branch}}},
    )
    assert found.input == {"pay": {"kind": "card", "number": "4111", "month": 7}}
    assert found.problems == ()
    assert found.dropped == ("/pay/Bank_account",)


@pytest.mark.parametrize(
    ("filled", "path"),
    [
        ({"Card": {"number": "1"}}, "values.pay.variant"),
        ({"variant": "Cheque"}, "values.pay.variant"),
        ({"variant": ["Card"]}, "values.pay.variant"),
        ({"variant": "Card", "Card": {"month": "soon", "number": "1"}}, "values.pay.month"),
        ({"variant": "Card", "Card": 5}, "values.pay"),
        ([], "values.pay"),
    ],
)
def test_a_variant_that_is_not_clear_or_not_right_is_refused(filled: Any, path: str) -> None:
    with pytest.raises(InvalidFields) as raised:
        bound(an_input("pay", pay=PAYMENT), {"command": "ACME_CREATE", "ACME_CREATE": {"pay": filled}})
    assert raised.value.violations[0].field == path


def test_a_union_that_nobody_filled_in_is_absent() -> None:
    filled = {"command": "ACME_CREATE", "ACME_CREATE": {"pay": {"variant": "", "Card": {"number": ""}}}}
    assert bound(an_input(pay=PAYMENT), filled) == {}


@pytest.mark.parametrize(
    ("filled", "value"),
    [
        ({"variant": "Text", "Text": "a,b"}, "a,b"),
        ({"variant": "List", "List": "a,b"}, ["a", "b"]),
        ("plain words", "plain words"),
        ('["a", "b"]', ["a", "b"]),
    ],
)
def test_shapes_may_be_of_any_type(filled: Any, value: Any) -> None:
    assert bound(an_input(tag=LABEL), {"command": "ACME_CREATE", "ACME_CREATE": {"tag": filled}}) == {"tag": value}


def test_appsmith_asks_which_and_shows_the_fields_of_that_one() -> None:
    document = json.loads(the_draft(an_input(pay=PAYMENT)).appsmith)
    assert problems(document) == []
    selector = next(each for each in controls(document) if each["configProperty"].endswith("pay.variant"))
    assert [option["value"] for option in selector["options"]] == ["Card", "Bank_account"]
    zones = document["editor"][1]["children"]
    shown = [zone["conditionals"]["show"] for zone in zones if "conditionals" in zone]
    assert len(shown) == 2
    assert '=== "Bank_account"' in shown[1]


def test_one_shape_that_contains_the_whole_is_json_and_the_others_are_not() -> None:
    tree = {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/Tree"}]}
    schemas = {"Tree": an_input(left=tree, name={"type": "string"})}
    kind = the_field(tree, schemas).kind
    assert isinstance(kind, Union)
    deeper = kind.variants[1].kind.fields[0].kind  # type: ignore[union-attr]
    assert isinstance(deeper, Union)
    assert isinstance(deeper.variants[1].kind, Json)


def test_too_many_shapes_become_json_and_a_loss() -> None:
    many = {"oneOf": [an_input(**{f"field_{number}": {"type": "string"}}) for number in range(20)]}
    assert the_draft(an_input(thing=many)).losses == ("thing: one of 20 shapes; shown as JSON",)


def test_a_union_reads_back_from_its_json_schema() -> None:
    schema = json.loads(the_draft(an_input(pay=PAYMENT, tag=LABEL)).json_schema)
    assert json_schema.project(json_schema.read(schema)) == schema


def test_what_a_value_of_one_variant_alone_leaves_out_is_filled_in() -> None:
    done = an_input("status", "result", status={"enum": ["done"]}, result={"type": "string"})
    open_ = an_input("name", name={"type": "string"}, status={"enum": ["queued", "begun"], "default": "queued"})
    given = an_input(check={"anyOf": [{"title": "Done", **done}, {"title": "Open", **open_}]})
    assert bound(given, {"check": {"name": "a"}}) == {"check": {"name": "a", "status": "queued"}}
    assert bound(given, {"check": {"name": "a", "status": "begun"}}) == {"check": {"name": "a", "status": "begun"}}
    # What may be meant to be either stays as it is.
    either = {"status": "done", "result": "x", "name": "a"}
    assert bound(given, {"check": either}) == {"check": either}


def test_nothing_is_filled_in_where_several_variants_take_a_value() -> None:
    shapes = [an_input("a", a={"type": "string"}, n={"type": "integer", "default": number}) for number in (1, 2)]
    assert bound(an_input(thing={"anyOf": shapes}), {"thing": {"a": "x"}}) == {"thing": {"a": "x"}}
