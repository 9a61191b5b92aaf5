"""The editor over all actions: what it lists, what Appsmith draws of it, and how large it gets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.query_editor import QueryEditor, query_editor
from cordboard.uqi.store import FormRecord
from tests.unit.uqi import judges
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import a_definition, an_input, stored
from tests.unit.uqi.torture import CASES

TEXT: dict[str, Any] = {"type": "string"}
MAIL = an_input("kind", kind={"enum": ["mail", "phone"]}, address=TEXT)


def records(definition: definition_pb2.Definition) -> list[FormRecord]:
    """The forms of the definition's actions, as they are stored."""
    draftsman = Draftsman(definition)
    made = draftsman.drafts([form for form in draftsman.ids() if form.startswith("action.")])
    return stored(definition.slug, (draft for draft in made if isinstance(draft, Draft)))


def an_editor(*inputs: dict[str, Any], most: int = 1_000_000) -> QueryEditor:
    return query_editor("1.0.0", records(a_definition(*inputs)), most)


def sections(editor: QueryEditor) -> dict[str, dict[str, Any]]:
    """What Appsmith is given, by the sections' identifiers."""
    return {each["identifier"]: each for each in json.loads(editor.appsmith.text)["editor"]}


def options(editor: QueryEditor) -> list[str]:
    """The commands that can be picked."""
    (zone,) = sections(editor)["SELECTOR"]["children"]
    return [option["value"] for option in zone["children"][0]["options"]]


def test_every_action_has_a_command_with_its_form_by_the_order_of_titles() -> None:
    found = records(a_definition(MAIL, an_input(title=TEXT)))
    editor = query_editor("1.0.0", [replace(found[0], title="b"), replace(found[1], title="A")])
    assert [(each.title, each.action, each.form) for each in editor.commands] == [
        ("A", "create-2", "integrations/acme/forms/action.create-2"),
        ("b", "create", "integrations/acme/forms/action.create"),
    ]
    assert [each.form_revision for each in editor.commands] == [found[1].revision, found[0].revision]
    assert options(editor) == [each.command for each in editor.commands]
    assert editor.named("ACME_CREATE_2") == editor.commands[0]
    assert editor.named("SELECTOR") is None


def test_the_revision_changes_with_any_form_and_with_nothing_else() -> None:
    first = an_editor(MAIL, an_input(title=TEXT))
    assert an_editor(MAIL, an_input(title=TEXT)) == first
    other = an_editor(MAIL, an_input("title", title=TEXT))
    assert other.revision != first.revision
    assert other.appsmith.etag != first.appsmith.etag


def test_appsmith_takes_the_editor_over_every_hard_case() -> None:
    editor = an_editor(*CASES.values())
    assert problems(json.loads(editor.appsmith.text)) == []
    assert len(sections(editor)) == len(CASES) + 1


def test_what_appsmith_would_not_take_is_noticed() -> None:
    document = json.loads(an_editor(MAIL, an_input(title=TEXT)).appsmith.text)
    document["editor"][2]["children"][0]["identifier"] = document["editor"][1]["children"][0]["identifier"]
    assert problems(document)


@pytest.mark.skipif(not judges.INSTALLED, reason="NOT TESTED: run `make node`")
def test_only_the_fields_of_the_picked_command_are_drawn() -> None:
    (first, *_) = Draftsman(a_definition(MAIL)).drafts(["action.create"])
    assert isinstance(first, Draft)
    editor = json.loads(an_editor(MAIL, an_input("where", where=an_input(city=TEXT))).appsmith.text)
    left = {"ACME_CREATE": {"kind": "mail"}, "ACME_CREATE_2": {}}
    trials = [{"shown": "appsmith", "values": {"command": command, **left}} for command in ("ACME_CREATE_2", "NONE")]
    asked = {**judges.asked(first, judges.tree_of(first)), "appsmith": editor, "trials": trials}
    (said,) = judges.judged([asked])
    assert said["problems"] == []
    prefix = "actionConfiguration.formData."
    assert set(said["trials"][0]) == {f"{prefix}command", f"{prefix}ACME_CREATE_2.where.city"}
    assert set(said["trials"][1]) == {f"{prefix}command"}


def test_a_large_editor_gives_up_its_slots_and_then_its_last_commands_and_says_so() -> None:
    inputs = [an_input(**{f"field_{number}": TEXT for number in range(20)}) for _ in range(10)]
    whole = an_editor(*inputs)
    assert whole.appsmith.losses == ()
    size = len(whole.appsmith.text)
    slim = an_editor(*inputs, most=size - 1)
    assert "what it cannot express is left out" in slim.appsmith.losses[0]
    assert all("_uqi" not in section for section in sections(slim).values())
    assert len(options(slim)) == 10
    part = an_editor(*inputs, most=size // 3)
    shown = options(part)
    assert 0 < len(shown) < 10
    assert f"{10 - len(shown)} commands beyond" in part.appsmith.losses[-1]
    assert set(sections(part)) == {"SELECTOR", *shown}
    assert len(part.appsmith.text) <= size // 3
    assert problems(json.loads(part.appsmith.text)) == []
    # The commands themselves are all there.
    assert len(part.commands) == 10
