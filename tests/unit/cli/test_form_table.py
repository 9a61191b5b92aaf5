"""A form in a terminal: what a person sees there of fields, tabs, cases and choices."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cordboard.cli.form_table import condition, form_table
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.v1 import form_pb2 as pb
from tests.unit.uqi.large_inputs import deep
from tests.unit.uqi.samples import a_definition, an_input, the_draft
from tests.unit.uqi.test_arrangement import drafted
from tests.unit.uqi.torture import CASES, EVIL

TEXT: dict[str, Any] = {"type": "string"}


def printed(document: pb.FormDocument) -> list[list[str]]:
    """The words of each line of the table, wide enough for everything."""
    file = io.StringIO()
    Console(file=file, width=2000, no_color=True).print(form_table(document))
    lines = file.getvalue().rstrip("\n").split("\n")
    return [[cell for cell in line.split("  ") if cell.strip()] for line in lines[1:]]


def shown(given: dict[str, Any]) -> dict[str, list[str]]:
    """The lines of an action's form, by the names of the fields."""
    rows = printed(pb.FormDocument.FromString(the_draft(given).document))
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if row}


def test_each_field_says_what_it_takes_and_whether_it_must_be_there() -> None:
    rows = shown(
        an_input(
            "subject",
            subject={**TEXT, "title": "Subject line", "description": "What it is about.\nMore."},
            count={"type": "integer", "default": 3},
            state={"enum": ["open", "done"]},
            tags={"type": "array", "items": TEXT},
            secret={"type": "string", "format": "password"},
            owner=an_input("name", name=TEXT),
            rows={"type": "array", "items": an_input(price={"type": "number"})},
            free={"type": "object"},
        )
    )
    assert rows["subject"] == ["text", "required", "Subject line. What it is about"]
    assert rows["count"][0] == "whole number = 3"
    assert rows["state"][0] == "open | done"
    assert rows["tags"] == ["list of text"]
    assert rows["secret"][0] == "secret"
    assert rows["owner"][0] == "object"
    assert rows["name"][:2] == ["text", "required"]
    assert rows["rows"][0] == "list of object"
    assert rows["price"][0] == "number"
    assert rows["free"][0] == "JSON (object)"


def test_tabs_and_headings_stand_over_their_fields() -> None:
    rows = printed(pb.FormDocument.FromString(drafted().document))
    assert [row[0] for row in rows] == ["name", "[Address]", "street", "city", "[More]", "Reach", "mail", "note"]


def test_a_case_is_said_in_words() -> None:
    given = an_input(kind={"enum": ["card", "bank"], "title": "Way"}, iban={**TEXT, "title": "IBAN"})
    given["if"] = {"properties": {"kind": {"const": "bank"}}, "required": ["kind"]}
    given["then"] = {"required": ["iban"]}
    assert 'required when Way is "bank"' in " ".join(shown(given)["iban"])
    some = pb.Condition(compare=pb.Compare(field_id="a", operator=pb.COMPARE_OPERATOR_PRESENT))
    most = pb.Condition(compare=pb.Compare(field_id="b", operator=pb.COMPARE_OPERATOR_LESS_OR_EQUAL, values_json=["7"]))
    both = pb.Condition(any=pb.ConditionList(conditions=[some, pb.Condition(**{"not": most})]))  # type: ignore[arg-type]  # a word of Python's own
    assert condition(both, {"a": "First"}) == "First is there or not (b is at most 7)"


def test_every_hard_case_and_the_largest_forms_are_printed() -> None:
    for name, given in CASES.items():
        document = pb.FormDocument.FromString(the_draft(given).document)
        assert len(printed(document)) >= len(document.layout), name
    assert len(printed(pb.FormDocument.FromString(the_draft(deep()).document))) > 0


def test_texts_of_a_definition_are_never_markup() -> None:
    title = "[link=https://evil.example]here[/link] [/oops]"
    rows = shown(an_input(a={**TEXT, "title": title, "description": EVIL}))
    assert title in " ".join(rows["a"])
    assert "onerror" in " ".join(rows["a"])


def test_a_file_says_which_files_it_is() -> None:
    definition = a_definition(an_input(photo={"type": "string", "format": "binary"}))
    definition.actions[0].form_hints.add(property="photo", accept=["image/png", ".jpg"], max_bytes=9)
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    (row,) = printed(pb.FormDocument.FromString(draft.document))
    assert "file (image/png, .jpg), at most 9 bytes" in [cell.strip() for cell in row]
