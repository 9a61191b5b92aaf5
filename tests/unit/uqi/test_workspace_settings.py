"""The form of a definition's config variables: what a workspace sets, in every format and back as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.uqi import canonical, json_schema
from cordboard.uqi.binding import Bound, Client
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import Boolean, Choice, Field, Integer, Secret, Settings, Text
from cordboard.uqi.form_cache import FormCache
from cordboard.uqi.languages import localized
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi import judges
from tests.unit.uqi.appsmith_rules import controls, problems
from tests.unit.uqi.samples import an_auth_form, stored

GIVEN: dict[str, Any] = {"site": "acme", "app_key": "s3cret-key", "page_size": 4, "storage": "mssql", "sandbox": False}
TEXTS = {"site": "acme", "app_key": None, "page_size": "4", "storage": "mssql", "sandbox": "false"}


def a_definition() -> pb.Definition:
    """A definition with a variable of every kind."""
    definition = pb.Definition(slug="acme", title="Acme")
    site = definition.config_variables.add(name="site", required=True, title="Site", description="Such as {{acme}}")
    site.translations.add(language="de", title="Seite", description="Zum Beispiel acme")
    definition.config_variables.add(
        name="app_key", required=True, secret=True,
        schema_json=json.dumps({"type": "string", "minLength": 4, "examples": ["hunter22"], "description": "hunter22"}),
    )  # fmt: skip
    size = json.dumps({"type": "integer", "maximum": 5})
    definition.config_variables.add(name="page_size", schema_json=size, default_value_json="2", required=True)
    definition.config_variables.add(name="storage", schema_json='{"enum": ["mssql", "postgresql"]}')
    definition.config_variables.add(name="sandbox", schema_json='{"type": "boolean"}')
    return definition


def the_form(definition: pb.Definition) -> Draft:
    draftsman = Draftsman(definition)
    assert "settings" in draftsman.ids()
    (draft,) = draftsman.drafts(["settings"])
    assert isinstance(draft, Draft), draft
    return draft


def bound(values: Mapping[str, Any], client: Client = "json_schema", *given: str) -> Bound:
    draft = the_form(a_definition())
    record = replace(stored("acme", [draft])[0], json_schema=draft.json_schema, document=draft.document)
    binder = FormCache(10_000_000).binder(("acme", "1.0.0", "settings"), record)
    return binder.answered(binder.bound(values, client, expressions=False, stored=given), values)


def fields() -> dict[str, Field]:
    return {each.name: each for each in judges.tree_of(the_form(a_definition())).fields}


def test_each_variable_is_a_field_of_its_kind() -> None:
    found = fields()
    kinds = {"site": Text, "app_key": Secret, "page_size": Integer, "storage": Choice, "sandbox": Boolean}
    assert {name: type(field.kind) for name, field in found.items()} == kinds
    # What has a default is left to the definition, which may change it.
    assert [name for name, field in found.items() if field.required] == ["site", "app_key"]
    assert (found["page_size"].default, found["page_size"].placeholder) == (None, "2")
    assert found["site"].title == "Site"


def test_a_definition_without_variables_has_no_such_form() -> None:
    assert Draftsman(pb.Definition(slug="acme")).ids() == []


def test_nothing_of_a_secret_stands_in_any_format() -> None:
    draft = the_form(a_definition())
    for text in (draft.json_schema, draft.appsmith, draft.document.decode(errors="replace")):
        assert "app_key" in text
        assert "hunter22" not in text


def test_what_a_vendor_tells_nobody_has_to_set() -> None:
    definition = a_definition()
    scheme = definition.auth_schemes.add(id="main")
    scheme.oauth2.token_response.config_variables["site"] = "/instance_url"
    (draft,) = (each for each in Draftsman(definition).drafts(["settings"]) if isinstance(each, Draft))
    assert [each.name for each in judges.tree_of(draft).fields if each.required] == ["app_key"]


def test_the_form_comes_in_the_languages_of_its_variables() -> None:
    document = form_pb2.FormDocument.FromString(the_form(a_definition()).document)
    assert list(document.languages) == ["de"]
    german = localized(document, ("de",))
    assert (german.title, german.description) == ("Einstellungen", "Was allen Verbindungen zu Acme gemeinsam ist")
    assert [field.label for field in german.fields][:2] == ["Seite", "App key"]


def test_it_is_the_same_form_after_every_way_through() -> None:
    draft = the_form(a_definition())
    tree = canonical.read(form_pb2.FormDocument.FromString(draft.document))
    assert tree.target == Settings()
    again = json_schema.read(json.loads(draft.json_schema))
    assert again.target == Settings()
    assert [field.id for field in again.fields] == [field.id for field in tree.fields]
    assert form_pb2.FormDocument.FromString(draft.document).kind == form_pb2.FORM_KIND_SETTINGS


def test_appsmith_draws_it_as_properties_of_a_data_source() -> None:
    document = json.loads(the_form(a_definition()).appsmith)
    assert problems(document) == []
    shown = {node["configProperty"]: node for node in controls(document)}
    assert shown["datasourceConfiguration.properties[1].key"]["initialValue"] == "app_key"
    secret = shown["datasourceConfiguration.properties[1].value"]
    assert (secret["dataType"], secret["encrypted"]) == ("PASSWORD", True)
    size = shown["datasourceConfiguration.properties[2].value"]
    assert (size["dataType"], size["isRequired"]) == ("NUMBER", False)
    assert [each["value"] for each in shown["datasourceConfiguration.properties[3].value"]["options"]] == [
        "mssql", "postgresql",
    ]  # fmt: skip


@pytest.mark.parametrize("client", ["json_schema", "json_forms", "react", "appsmith"])
def test_values_of_every_client_become_the_texts_that_auth_keeps(client: Client) -> None:
    values = GIVEN
    if client == "appsmith":
        rows = [{"key": name, "value": str(value).lower()} for name, value in GIVEN.items()]
        values = {"datasourceConfiguration": {"properties": rows}}
    found = bound(values, client)
    assert found.problems == ()
    assert found.input == TEXTS
    assert [(each.field_id, each.pointer) for each in found.secrets] == [("app_key", "/app_key")]
    assert [each.reveal() for each in found.withheld] == ["s3cret-key"]


def test_what_does_not_fit_is_said_at_its_field() -> None:
    found = bound({"site": "", "app_key": "abc", "page_size": 6, "storage": "oracle", "else": 1})
    assert {each.pointer for each in found.problems} == {"/site", "/app_key", "/page_size", "/storage", "/else"}


def test_a_secret_that_is_stored_may_stay_empty() -> None:
    given = {name: value for name, value in GIVEN.items() if name != "app_key"}
    for values in (given, {**given, "app_key": ""}, {**given, "app_key": None}):
        kept = bound(values, "json_schema", "app_key")
        assert (kept.problems, kept.kept) == ((), ("/app_key",))
        assert kept.input == {name: text for name, text in TEXTS.items() if name != "app_key"}
        # Where nothing is stored, it is missing.
        assert [each.pointer for each in bound(values).problems] == ["/app_key"]
    # One that is given replaces what is stored, and fits or does not.
    assert bound(GIVEN, "json_schema", "app_key").kept == ()
    assert [each.pointer for each in bound({**given, "app_key": "abc"}, "json_schema", "app_key").problems] == [
        "/app_key"
    ]
    # It is about secrets alone.
    assert [each.pointer for each in bound({**GIVEN, "site": ""}, "json_schema", "site").problems] == ["/site"]


@pytest.mark.node
@pytest.mark.skipif(not judges.INSTALLED, reason="needs `npm ci` in tests/node")
def test_every_renderer_draws_it() -> None:
    draft = the_form(a_definition())
    (found,) = judges.judged([judges.asked(draft, judges.tree_of(draft))])
    assert found["problems"] == []


def test_appsmith_says_which_secrets_of_a_data_source_are_stored() -> None:
    draft = an_auth_form(basic={})
    record = replace(stored("acme", [draft])[0], json_schema=draft.json_schema, document=draft.document)
    binder = FormCache(10_000_000).binder(("acme", "1.0.0", draft.id), record)

    def told(**more: Any) -> Bound:
        values = {"authenticationType": "basic", "username": "ada", **more}
        return binder.bound({"datasourceConfiguration": {"authentication": values}}, "appsmith", expressions=False)

    assert [each.pointer for each in told().problems] == ["/password"]
    assert [each.pointer for each in told(secretExists={"password": False}).problems] == ["/password"]
    kept = told(secretExists={"password": True})
    assert (kept.problems, kept.kept, kept.input) == ((), ("/password",), {"username": "ada"})
    assert told(secretExists={"password": True}, password="another").input["password"] == "another"
