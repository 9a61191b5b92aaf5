"""Forms in the languages that their definitions have texts in."""

from __future__ import annotations

import json

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import InvalidFields
from cordboard.uqi import canonical
from cordboard.uqi.brevity import MOST_TRANSLATED
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.languages import chosen, localized, wanted
from cordboard.uqi.rendering import rendering
from cordboard.uqi.store import FormRecord
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import NOW, a_definition, an_input

TICKET = an_input(
    "subject",
    subject={"type": "string"},
    state={"type": "string", "enum": ["open", "done"]},
    level={"type": "integer", "enum": [1, 2]},
    owner=an_input(name={"type": "string"}),
)


def a_definition_in_german() -> pb.Definition:
    """A definition with an action and a scheme that have German texts."""
    definition = a_definition(TICKET)
    action = definition.actions[0]
    action.translations.add(language="de", title="Ticket anlegen", description="Legt ein Ticket an.")
    hints = [
        ("subject", "Subject", "Main", {"label": "Betreff", "placeholder": "Worum es geht", "help": "Kurz."}, {}),
        ("state", "", "Main", {"group": "Allgemein"}, {"open": "offen", "done": "erledigt"}),
        ("level", "", "", {}, {"1": "niedrig"}),
        ("/owner/name", "", "", {"label": "Name der Person"}, {}),
    ]
    for name, label, group, texts, choices in hints:
        hint = action.form_hints.add(property=name, label=label, group=group)
        hint.translations.add(language="de", choices=choices, **texts)
    action.form_hints[1].choices["open"] = "Still open"
    scheme = definition.auth_schemes.add(id="key", title="API key")
    scheme.api_key.name = "X-Key"
    scheme.translations.add(language="de", title="API-Schlüssel")
    scheme.fields.add(name="api_key", title="Key").translations.add(language="de", title="Schlüssel")
    return definition


def drafted(form: str = "action.create") -> Draft:
    (draft,) = Draftsman(a_definition_in_german()).drafts([form])
    assert isinstance(draft, Draft)
    return draft


def the_document(form: str = "action.create") -> form_pb2.FormDocument:
    return form_pb2.FormDocument.FromString(drafted(form).document)


def stored(draft: Draft) -> FormRecord:
    return FormRecord(
        "acme", "1.0.0", draft.id, draft.title, draft.description, draft.losses, draft.etag, NOW,
        draft.json_schema, draft.appsmith, draft.document, draft.revision,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("de", ("de",)),
        ("en;q=0.3, de-CH;q=0.9 ,fr", ("fr", "de-CH", "en")),
        ("de;q=0, *;q=0.1", ("*",)),
        ("de, ;;;, x_y, fr;q=2, nl", ("de", "nl")),
        ("", ()),
        (",".join(["de"] * 500), ("de",) * 20),
    ],
)
def test_ranges_are_read_as_browsers_send_them(header: str, ranges: tuple[str, ...]) -> None:
    assert wanted("", header) == ranges


def test_what_is_asked_for_comes_before_what_the_browser_says_and_has_to_be_sound() -> None:
    assert wanted("de", "fr") == ("de",)
    with pytest.raises(InvalidFields, match="language"):
        wanted("deutsch bitte", "fr")


@pytest.mark.parametrize(
    ("ranges", "language"),
    [
        (("de",), "de"),
        (("de-CH-1996",), "de"),
        (("DE",), "de"),
        (("pt",), "pt-BR"),
        (("fr", "pt-BR"), "pt-BR"),
        (("en-US", "de"), "en"),
        (("*", "de"), "en"),
        (("d",), "en"),
        ((), "en"),
    ],
)
def test_the_language_is_the_first_that_there_is(ranges: tuple[str, ...], language: str) -> None:
    assert chosen(ranges, "en", ("de", "pt-BR")) == language


def test_the_document_has_every_text_in_the_language_and_the_others_as_they_were() -> None:
    whole = the_document()
    assert (whole.language, list(whole.languages)) == ("", ["de"])
    found = localized(whole, ("de-AT",))
    assert (found.language, found.title, found.description) == ("de", "Ticket anlegen", "Legt ein Ticket an.")
    fields = {field.id: field for field in found.fields}
    subject = fields["subject"]
    assert (subject.label, subject.placeholder, subject.help) == ("Betreff", "Worum es geht", "Kurz.")
    assert [each.label for each in fields["state"].type.choice.choices] == ["offen", "erledigt"]
    assert [each.label for each in fields["level"].type.choice.choices] == ["niedrig", "2"]
    assert fields["owner"].type.group.fields[0].label == "Name der Person"
    # One hint alone has the group's name, and both fields stand under it.
    assert [node.section.title for node in found.layout if node.section.nodes] == ["Allgemein", "Owner"]
    assert {field.section for field in found.fields} == {"Allgemein", ""}
    assert found.revision == whole.revision
    assert b"Subject" in whole.SerializeToString()
    assert b"Subject" not in found.SerializeToString()


def test_labels_of_choices_come_from_hints_in_the_own_language_too() -> None:
    found = localized(the_document(), ("en",))
    state = next(field for field in found.fields if field.id == "state")
    assert [each.label for each in state.type.choice.choices] == ["Still open", "done"]
    assert (found.language, found.title) == ("en", "Create thing 1")
    assert not any(field.translations for field in found.fields)


def test_a_scheme_has_its_texts_in_the_language() -> None:
    found = localized(the_document("auth.key"), ("de",))
    assert (found.title, found.fields[0].label) == ("API-Schlüssel", "Schlüssel")


def test_the_document_keeps_its_texts_when_it_is_read_and_written() -> None:
    draft, whole = drafted(), the_document()
    again = canonical.document(canonical.read(whole), name=whole.name, losses=list(whole.losses))
    assert again.translations == whole.translations
    assert [field.translations for field in again.fields] == [field.translations for field in whole.fields]
    assert again.revision == draft.revision


@pytest.mark.parametrize("target", form_pb2.FormTarget.values()[1:])
def test_every_format_has_the_texts_of_the_language(target: form_pb2.FormTarget.ValueType) -> None:
    record = stored(drafted())
    own, german = (rendering(record, target, language).text for language in ("", "de"))
    for text in ("Betreff", "offen", "Name der Person", "Worum es geht"):
        assert text in german
        assert text not in own
    assert "Still open" in own
    if target == form_pb2.FORM_TARGET_APPSMITH:
        assert problems(json.loads(german)) == []


def test_translations_are_texts_and_never_expressions() -> None:
    definition = a_definition_in_german()
    definition.actions[0].form_hints[0].translations[0].label = "{{ evil() }}"
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    german = rendering(stored(draft), form_pb2.FORM_TARGET_APPSMITH, "de").text
    assert "evil()" in german
    assert problems(json.loads(german)) == []


def test_translations_that_would_make_a_form_too_large_are_left_out_and_that_is_said() -> None:
    definition = a_definition_in_german()
    for tag in range(MOST_TRANSLATED // 1000 + 1):
        definition.actions[0].form_hints[0].translations.add(language=f"x-{tag}", help="y" * 1000)
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    assert any("in other languages; they are left out" in loss for loss in draft.losses)
    document = form_pb2.FormDocument.FromString(draft.document)
    assert not any(field.translations for field in document.fields)
    assert list(document.languages) == ["de"]
