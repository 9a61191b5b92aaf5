"""The form renderer in a real browser: every type of field, conditions, problems, and what must not be on the page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.uqi.drafts import Draft, Draftsman
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.unit.uqi.large_inputs import NODES, deep, flat
from tests.unit.uqi.samples import a_definition, an_auth_form, an_input, the_draft
from tests.unit.uqi.torture import CASES, EVIL
from tests.unit.web.parity import asked, trial

pytestmark = pytest.mark.skipif(not INSTALLED, reason=MISSING)

TEXT: dict[str, Any] = {"type": "string"}
EVERYTHING = an_input(
    "title",
    "count",
    "sure",
    "labels",
    "owner",
    "pay",
    title={"type": "string", "title": "Title", "minLength": 2, "description": "What it is called."},
    story={"type": "string", "title": "Story", "maxLength": 5000},
    count={"type": "integer", "title": "Count", "minimum": 1, "maximum": 50},
    ratio={"type": "number", "title": "Ratio"},
    sure={"type": "boolean", "title": "Sure", "default": False},
    urgent={"type": "boolean", "title": "Urgent"},
    day={"type": "string", "format": "date", "title": "Day"},
    moment={"type": "string", "format": "date-time", "title": "Moment"},
    clock={"type": "string", "format": "time", "title": "Clock"},
    colour={"enum": ["red", "blue"], "title": "Colour"},
    labels={"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "title": "Labels"},
    owner={**an_input("name", name={**TEXT, "title": "Owner's name"}), "title": "Owner"},
    place={**an_input("city", city={**TEXT, "title": "City"}), "title": "Place"},
    words={"type": "array", "items": {**TEXT, "title": "Word"}, "title": "Words"},
    tags={"type": "object", "additionalProperties": {"type": "integer", "title": "Tag"}, "title": "Tags"},
    pay={
        "title": "Payment",
        "oneOf": [
            {"title": "Card", **an_input("kind", "number", kind={"const": "card"}, number={**TEXT, "title": "Number"})},
            {"title": "Bank", **an_input("kind", "iban", kind={"const": "bank"}, iban={**TEXT, "title": "IBAN"})},
        ],
    },
    paper={"type": "string", "format": "binary", "title": "Paper"},
    password={"type": "string", "format": "password", "title": "Password"},
    free={"type": "object", "title": "Free"},
)


def test_every_type_of_field_is_filled_in_by_a_person(drawn: Browser) -> None:
    acts = [
        ["fill", "Title", "Printer"],
        ["fill", "Story", "It\nbroke"],
        ["fill", "Count", "7"],
        ["fill", "Ratio", "0.5"],
        ["check", "Sure"],
        ["select", "Urgent", "No"],
        ["fill", "Day", "2026-01-31"],
        ["fill", "Moment", "2026-01-31T10:30:05"],
        ["fill", "Clock", "09:30:00Z"],
        ["select", "Colour", "blue"],
        ["check", "b"],
        ["fill", "Owner's name", "Ada"],
        ["check", "Fill in Place"],
        ["fill", "City", "Bern"],
        ["click", "Add to Words"],
        ["fill last", "Word", "one"],
        ["click", "Add to Words"],
        ["fill last", "Word", "two"],
        ["click", "Add to Tags"],
        ["fill", "Name", "size"],
        ["fill", "Tag", "3"],
        ["select", "Kind of Payment", "Bank"],
        ["fill", "IBAN", "CH93"],
        ["upload", "Paper", {"name": "a.txt", "mimeType": "text/plain", "text": "hi"}],
        ["fill", "Password", "hunter2"],
        ["fill", "Free", '{"a": [1]}'],
    ]
    (found,) = drawn(asked(the_draft(EVERYTHING), acts=acts, audit=True))
    assert found["wrong"] == []
    assert found["problems"] == []
    assert found["values"] == {
        "title": "Printer", "story": "It\nbroke", "count": 7, "ratio": 0.5, "sure": True, "urgent": False,
        "day": "2026-01-31", "moment": "2026-01-31T09:30:05Z", "clock": "09:30:00Z", "colour": "blue",
        "labels": ["b"], "owner": {"name": "Ada"}, "place": {"city": "Bern"}, "words": ["one", "two"],
        "tags": {"size": 3}, "pay": {"kind": "bank", "iban": "CH93"}, "paper": "aGk=", "password": "hunter2",
        "free": {"a": [1]},
    }  # fmt: skip


def test_a_file_is_held_to_the_kinds_and_the_size_that_the_form_takes(drawn: Browser) -> None:
    definition = a_definition(an_input(photo={"type": "string", "format": "binary", "title": "Photo"}))
    definition.actions[0].form_hints.add(property="photo", accept=["image/png", ".jpg"], max_bytes=4)
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    png, text = "image/png", "text/plain"
    other, large, well, named = drawn(
        *(
            asked(draft, acts=[["upload", "Photo", {"name": name, "mimeType": media_type, "text": held}]])
            for name, media_type, held in (
                ("a.txt", text, "x"),
                ("a.png", png, "12345"),
                ("a.png", png, "1234"),
                ("a.jpg", text, "1"),
            )
        )
    )
    assert other["summary"] == ["Photo must be a file of these: image/png, .jpg"]
    assert large["summary"] == ["Photo must be a file of at most 4 bytes"]
    assert (well["problems"], well["values"]) == ([], {"photo": "MTIzNA=="})
    assert named["problems"] == []


def test_what_is_asked_of_several_fields_is_said_in_the_case_in_which_it_is(drawn: Browser) -> None:
    text = {"type": "string"}
    inner = {**an_input(mail=text, phone=text), "not": {"required": ["mail", "phone"]}, "title": "Owner"}
    case = {"properties": {"kind": {"const": "card"}}, "required": ["kind"]}
    given = {
        **an_input(kind={"enum": ["card", "cash"]}, a=text, b=text, owner=inner),
        "if": case,
        "then": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    }
    draft = the_draft(given)
    never, card, owner = drawn(
        asked(draft, acts=[["select", "Kind", "cash"]]),
        asked(draft, acts=[["select", "Kind", "card"]]),
        asked(draft, acts=[["check", "Fill in Owner"]]),
    )
    note = "At least one of these is needed: A; B."
    assert note not in never["text"]
    assert note in card["text"]
    assert "At most one of these can be filled in" not in card["text"]
    assert "At most one of these can be filled in: Mail; Phone." in owner["text"]


def test_what_is_wrong_is_said_at_the_field_and_above_and_the_person_is_put_there(drawn: Browser) -> None:
    draft = the_draft(EVERYTHING)
    told = [
        {"pointer": "/owner/name", "text": "is taken"},
        {"pointer": "/words/1", "text": "is no word"},
        {"pointer": "", "fieldId": "count", "text": "is odd"},
        {"pointer": "/nowhere", "text": "The vendor is away."},
    ]
    acts = [["fill", "Count", "seven"], ["fill", "Free", "[1]"], ["follow", "Free must be JSON text of: object"]]
    empty, server, clicked = drawn(
        asked(draft, audit=True),
        asked(draft, values={"title": "ok", "count": 3, "words": ["a", "b"]}, told=told),
        asked(draft, acts=[*acts[:2], ["press", "Tab"]]),
    )
    assert empty["wrong"] == []
    assert empty["summary"] == [
        "Title is required", "Count is required", "Labels must have at least 1 items", "Owner's name is required",
        "Payment is required",
    ]  # fmt: skip
    assert empty["focused"] == "cbf-summary"
    assert empty["invalid"] == ["Title", "Count", "Owner's name"]
    assert server["summary"] == [
        "Owner's name is taken", "Word is no word", "Count is odd", "The vendor is away."
    ]  # fmt: skip
    assert {"Count must be a whole number", "Free must be JSON text of: object"} <= set(clicked["summary"])


def test_every_hard_case_gives_back_what_it_was_drawn_with(drawn: Browser) -> None:
    for name, given in CASES.items():
        request, wrong = trial(the_draft(given))
        (found,) = drawn({**request, "audit": name == "hostile"})
        assert wrong(found) == [], name


def test_text_of_a_definition_is_text_on_the_page(drawn: Browser) -> None:
    (found,) = drawn(asked(the_draft(CASES["hostile"])))
    assert found["wrong"] == []
    assert EVIL in found["text"]


def test_fields_come_and_go_with_their_case(drawn: Browser) -> None:
    draft = the_draft(CASES["cases"])
    acts = [["select", "Kind", "mail"], ["fill", "Address", "a@b.c"], ["fill", "Copies", "5"]]
    turned = [*acts, ["select", "Kind", "phone"], ["fill", "Number", "1"]]
    mail, phone = drawn(asked(draft, acts=acts), asked(draft, acts=turned))
    assert [each["pointer"] for each in mail["problems"]] == ["/urgent", "/approval"]
    assert phone["values"] == {"kind": "phone", "copies": 5, "number": "1"}
    assert "Address" not in phone["text"]


def test_a_secret_is_never_on_the_page_and_a_stored_one_may_stay_empty(drawn: Browser) -> None:
    basic = an_auth_form(basic=pb.Basic())
    held = {"username": "ada", "password": "hunter2"}
    key = "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"
    shown, stored, pasted = drawn(
        asked(basic, values=held),
        asked(basic, values={"username": "ada"}, stored=["password"]),
        asked(basic, acts=[["fill", "User name", "ada"], ["paste", "Password", key]], audit=True),
    )
    assert "hunter2" not in json.dumps(shown["held"]) + shown["text"]
    # A password may be empty, and one that is stored is not sent as an empty one.
    assert shown["values"] == {"username": "ada", "password": ""}
    assert stored["values"] == {"username": "ada"}
    assert "A value is stored" in stored["text"]
    # A key of several lines keeps them.
    assert pasted["values"] == {"username": "ada", "password": key}
    assert pasted["wrong"] == []


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(drawn: Browser) -> None:
    large = {"name": "a.txt", "mimeType": "text/plain", "text": "x" * 1001}
    draft = the_draft(an_input("paper", paper=EVERYTHING["properties"]["paper"]))
    (found,) = drawn(asked(draft, acts=[["upload", "Paper", large]]))
    assert [each["text"] for each in found["problems"]] == ["must be at most 0 MB"]


def test_choices_that_only_the_vendor_knows_are_asked_for_with_what_they_hang_on(drawn: Browser) -> None:
    draft = the_draft(an_input("project", team={"type": "integer", "title": "Team"}, project={"type": "integer"}))
    document = asked(draft)["document"]
    source = {"id": "project", "action": "list_projects", "inputs": {"team": "team"}, "searchProperty": "q"}
    document["optionSources"] = [source]
    for field in document["fields"]:
        if field["id"] == "project":
            field |= {"optionSource": "project", "label": "Project"}
    offered = {"project": {"options": [{"value": 4, "label": "Printer"}], "more": True, "problem": ""}}
    acts = [["fill", "Team", "3"], ["fill", "Project", ""], ["wait", "There are more"], ["fill", "Project", "4"]]
    known, away = drawn(
        {"document": document, "offered": offered, "acts": acts, "audit": True},
        {"document": document, "offered": {}, "acts": [*acts[:2], ["wait", "nobody knows"], acts[3]]},
    )
    assert known["questions"][0] == {"fieldId": "project", "values": {"team": 3}, "search": ""}
    assert known["values"] == {"team": 3, "project": 4}
    assert known["wrong"] == []
    # When they cannot be had, the form stays usable.
    assert away["values"] == {"team": 3, "project": 4}


def test_forms_of_thousands_of_nodes_open(drawn: Browser) -> None:
    nested = {"n0": {"m0": {"m0": {"m0": {"x": 1}}}}}
    wide_one, nested_one = drawn(
        asked(the_draft(flat()), values={"f0": "one"}), asked(the_draft(deep()), values=nested)
    )
    assert (wide_one["wrong"], nested_one["wrong"]) == ([], [])
    assert wide_one["values"] == {"f0": "one"}
    assert nested_one["values"]["n0"] == nested["n0"]
    shown = set(re.findall(r"\bF[0-9]+\b", wide_one["text"]))
    assert len(shown) == NODES


def test_what_must_not_be_would_be_seen(drawn: Browser) -> None:
    (found,) = drawn(asked(the_draft(an_input(a=TEXT)), audit=True, spoil=True))
    assert any(each.startswith("axe label") for each in found["wrong"])
    assert any(each.startswith("policy: style-src") for each in found["wrong"])


def test_a_form_says_its_own_words_in_the_language_of_its_texts(drawn: Browser) -> None:
    requests = [asked(the_draft(EVERYTHING)) for _ in range(2)]
    requests[0]["document"]["language"] = "de-CH"
    requests[1]["document"]["language"] = "ja"
    german, other = drawn(*requests)
    assert "Title ist erforderlich" in german["summary"]
    assert "Title is required" in other["summary"]
