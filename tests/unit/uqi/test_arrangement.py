"""Fields on tabs, under headings and side by side: in the document, in each format, and in other languages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.uqi import canonical, json_forms, json_schema, react
from cordboard.uqi.arrangement import Columns, Part, Section, Tabs, arranged
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import Field, Text
from cordboard.uqi.languages import localized
from cordboard.uqi.v1 import form_pb2
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.unit.uqi import judges
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import a_definition, an_input
from tests.unit.web.parity import asked

TEXT: dict[str, Any] = {"type": "string"}
PERSON = an_input("name", "city", name=TEXT, street=TEXT, city=TEXT, mail=TEXT, note=TEXT)


def drafted() -> Draft:
    """A form with two tabs, a heading on one of them, and two fields side by side."""
    definition = a_definition(PERSON)
    hints = definition.actions[0].form_hints
    hints.add(property="name", order=1, label="Name")
    hints.add(property="street", order=2, label="Street", tab="Address", columns=2)
    hints.add(property="city", order=3, label="City", tab="Address", columns=2)
    hints.add(property="mail", order=4, label="Mail", tab="More", group="Reach")
    hints[1].translations.add(language="de", label="Straße", tab="Anschrift")
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    return draft


def a_field(name: str, tab: str = "", section: str = "", columns: int = 0) -> Field:
    return Field(name, name, Text(), (name,), name, id=name, tab=tab, section=section, columns=columns)


def shown(parts: tuple[Part, ...]) -> list[Any]:
    """An arrangement as plain values."""
    found: list[Any] = []
    for part in parts:
        match part:
            case Tabs(tabs):
                found.append({tab.title: shown(tab.parts) for tab in tabs})
            case Section(title, inside):
                found.append((title, shown(inside)))
            case Columns(count, fields):
                found.append((count, [field.name for field in fields]))
            case field:
                found.append(field.name)
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], []),
        ([("a",), ("b",)], ["a", "b"]),
        ([("a",), ("b", "", "S"), ("c",), ("d", "", "S")], ["a", ("S", ["b", "d"]), "c"]),
        ([("a", "", "", 2), ("b", "", "", 2), ("c", "", "", 3), ("d",)], [(2, ["a", "b"]), (3, ["c"]), "d"]),
        ([("a",), ("b", "T"), ("c",), ("d", "U"), ("e", "T")], ["a", {"T": ["b", "e"], "U": ["d"]}, "c"]),
        ([("a", "T", "S", 2), ("b", "T", "S", 2), ("c", "T")], [{"T": [("S", [(2, ["a", "b"])]), "c"]}]),
        ([("a", "T", "S"), ("b", "", "S")], [{"T": [("S", ["a"])]}, ("S", ["b"])]),
    ],
)
def test_fields_stand_where_the_first_of_their_kind_does(fields: list[Any], expected: list[Any]) -> None:
    assert shown(arranged([a_field(*each) for each in fields])) == expected


def test_the_document_says_how_fields_stand() -> None:
    document = form_pb2.FormDocument.FromString(drafted().document)
    first, tabs, last = document.layout
    assert (first.field_id, last.field_id) == ("name", "note")
    address, more = tabs.tabs.tabs
    assert (address.title, more.title) == ("Address", "More")
    assert address.nodes[0].columns.count == 2
    assert [node.field_id for node in address.nodes[0].columns.nodes] == ["street", "city"]
    assert (more.nodes[0].section.title, more.nodes[0].section.nodes[0].field_id) == ("Reach", "mail")


def test_the_arrangement_comes_back_from_the_document_and_from_the_json_schema() -> None:
    draft = drafted()
    tree = canonical.read(form_pb2.FormDocument.FromString(draft.document))
    from_schema = json_schema.read(json.loads(draft.json_schema))
    for found in (tree, from_schema):
        assert [(field.tab, field.section, field.columns) for field in found.fields] == [
            ("", "", 0), ("Address", "", 2), ("Address", "", 2), ("More", "Reach", 0), ("", "", 0),
        ]  # fmt: skip


def test_tabs_have_their_names_in_the_language() -> None:
    found = localized(form_pb2.FormDocument.FromString(drafted().document), ("de",))
    assert [tab.title for tab in found.layout[1].tabs.tabs] == ["Anschrift", "More"]
    # The hint of the city has no German name for the tab, and the city stands on it all the same.
    assert [field.tab for field in found.fields] == ["", "Anschrift", "Anschrift", "More", ""]


def test_json_forms_has_categories_and_rows() -> None:
    document = json_forms.project(judges.tree_of(drafted())).document
    first, tabs, _ = document["uischema"]["elements"]
    assert first["scope"] == "#/properties/name"
    assert [(each["type"], each["label"]) for each in tabs["elements"]] == [
        ("Category", "Address"),
        ("Category", "More"),
    ]
    row = tabs["elements"][0]["elements"][0]
    assert (row["type"], [each["scope"] for each in row["elements"]]) == (
        "HorizontalLayout",
        ["#/properties/street", "#/properties/city"],
    )


def test_what_a_client_has_no_word_for_is_said() -> None:
    draft = drafted()
    assert {"Appsmith: tabs; shown as headings", "Appsmith: columns; it has two where the fields are narrow"} <= set(
        draft.losses
    )
    losses = react.project(judges.tree_of(draft)).losses
    assert losses == ("React JSON Schema Form: tabs and columns; one field stands below the other",)
    document = json.loads(draft.appsmith)
    assert problems(document) == []
    zones = [zone.get("label", "") for zone in document["editor"][1]["children"]]
    assert zones == ["", "Address", "More: Reach", ""]


@pytest.mark.skipif(not judges.INSTALLED, reason="needs Node.js and `npm ci` in tests/node")
def test_every_renderer_draws_tabs_and_rows() -> None:
    draft = drafted()
    (found,) = judges.judged([judges.asked(draft, judges.tree_of(draft))])
    assert found["problems"] == []


@pytest.mark.skipif(not INSTALLED, reason=MISSING)
def test_a_person_fills_in_tabs_and_is_put_on_the_one_where_something_is_wrong(drawn: Browser) -> None:
    acts = [
        ["fill", "Name", "Ada"],
        ["fill", "Street", "Main Street"],
        ["fill", "City", "Bern"],
        ["open", "More"],
        ["fill", "Mail", "ada@acme.example"],
    ]
    filled, empty = drawn(
        asked(drafted(), acts=acts, audit=True),
        asked(drafted(), acts=[["open", "More"]], later=[["follow", "City is required"]], audit=True),
    )
    assert filled["wrong"] == []
    assert filled["problems"] == []
    assert filled["values"] == {"name": "Ada", "street": "Main Street", "city": "Bern", "mail": "ada@acme.example"}
    assert empty["wrong"] == []
    # One tab is open at a time, and the one that the person is put on.
    assert filled["tabs"] == ["More"]
    assert empty["tabs"] == ["Address"]
    assert empty["focused"] not in ("cbf-summary", "BODY")
