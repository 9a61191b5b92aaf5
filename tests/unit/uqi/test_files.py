"""Which files a field takes: said in every format, and held to where values are bound."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.schema import JsonSchema
from cordboard.uqi import appsmith, canonical, json_forms, json_schema, react
from cordboard.uqi.binding import Client, bound
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import File, FormTree
from cordboard.uqi.files import base64_length, is_accepted
from cordboard.uqi.v1 import form_pb2
from tests.unit.uqi.samples import a_definition, an_input

BYTES = {"type": "string", "format": "binary"}


def the_form(schema: dict[str, Any] | None = None, **said: Any) -> tuple[FormTree, JsonSchema]:
    """The form of an input with one file, of which a hint says something; and what judges its values."""
    definition = a_definition(an_input(photo=schema or BYTES))
    definition.actions[0].form_hints.add(property="photo", **said)
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft), draft
    tree = canonical.read(form_pb2.FormDocument.FromString(draft.document))
    assert json_schema.read(json.loads(draft.json_schema)).fields == tree.fields
    return tree, JsonSchema.compile(json.loads(draft.json_schema))


def said(form: tuple[FormTree, JsonSchema], photo: Any, client: Client = "json_schema") -> list[str]:
    """What is wrong with a file, as a client sends it."""
    return [each.violation.description for each in bound(*form, {"photo": photo}, client).problems]


def text(size: int) -> str:
    """So many bytes as base64 text."""
    return base64.b64encode(b"x" * size).decode()


@pytest.mark.parametrize(
    ("accept", "media_type", "name", "fits"),
    [
        ((), "text/html", "a.html", True),
        (("image/png",), "image/png", "", True),
        (("image/png",), "IMAGE/PNG; charset=x", "", True),
        (("image/png",), "image/gif", "", False),
        (("image/*",), "image/gif", "", True),
        (("image/*",), "imagery/gif", "", False),
        ((".pdf",), "", "A.PDF", True),
        ((".pdf",), "", "a.pdf.exe", False),
        ((".pdf",), "application/pdf", "", True),
        ((".pdf",), "text/plain", "", False),
        (("image/png",), "", "a.png", True),
        (("image/png",), "application/octet-stream", "a.gif", False),
        (("image/png", ".csv"), "text/csv", "a.csv", True),
        # Of which nothing is known.
        (("image/png",), "", "", True),
        (("image/png",), "application/octet-stream", "", True),
    ],
)
def test_a_file_is_one_of_those_by_its_type_or_its_name(
    accept: tuple[str, ...], media_type: str, name: str, fits: bool
) -> None:
    assert is_accepted(accept, media_type, name) is fits


@pytest.mark.parametrize("size", range(7))
def test_the_length_of_base64_text_is_known_from_the_size(size: int) -> None:
    assert base64_length(size) == len(text(size))


def test_a_file_that_is_too_large_is_refused_in_bytes_once() -> None:
    form = the_form(max_bytes=4)
    assert said(form, text(4)) == []
    assert said(form, text(5)) == ["must be a file of at most 4 bytes"]
    assert said(form, text(400)) == ["must be a file of at most 4 bytes"]


@pytest.mark.parametrize(
    ("client", "photo"),
    [
        ("json_schema", "data:image/gif;base64,aGk="),
        ("react", "data:image/gif;name=a.gif;base64,aGk="),
        ("react", "data:;name=a%20b.gif;base64,aGk="),
        ("json_schema", {"name": "a.gif", "base64Content": "data:application/octet-stream;base64,aGk="}),
    ],
)
def test_a_file_of_another_kind_is_refused_where_its_client_says_what_it_is(client: Client, photo: Any) -> None:
    form = the_form(accept=["image/png", ".jpg"])
    assert said(form, photo, client) == ["must be a file of these: image/png, .jpg"]
    # The negative: without the limit, and where nobody says what it is.
    assert said(the_form(), photo, client) == []
    assert said(form, "aGk=", client) == []


def test_a_schema_that_names_a_media_type_takes_files_of_that_alone() -> None:
    (field,) = the_form({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"})[0].fields
    assert field.kind == File(("image/png",))
    anything = {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/octet-stream"}
    (field,) = the_form(anything)[0].fields
    assert field.kind == File()


def test_every_format_says_which_files_it_takes() -> None:
    tree, _ = the_form(accept=["image/png", ".jpg"], max_bytes=9)
    schema = json_schema.project(tree)["properties"]["photo"]
    assert (schema["maxLength"], schema["x-uqi"]["accept"]) == (12, ["image/png", ".jpg"])
    assert (
        json_schema.project(the_form(accept=["image/png"])[0])["properties"]["photo"]["contentMediaType"] == "image/png"
    )
    assert react.project(tree).document["uiSchema"]["photo"]["ui:options"]["accept"] == "image/png,.jpg"
    for project in (appsmith.project, json_forms.project, react.project):
        assert "Takes image/png, .jpg. At most 9 bytes." in json.dumps(project(tree).document)


def test_a_smaller_limit_of_the_schema_stays() -> None:
    tree, judge = the_form({**BYTES, "maxLength": 8}, max_bytes=90)
    assert tree.fields[0].constraints["maxLength"] == 8
    assert said((tree, judge), text(9)) != []


@pytest.mark.parametrize("kind", ["png", "image/", "*/*", "image/png, image/gif", ".", "../x", 'image/png"onload=x'])
def test_a_definition_names_media_types_and_endings_alone(kind: str) -> None:
    definition = a_definition(an_input(photo=BYTES))
    definition.actions[0].form_hints.append(pb.FormHint(property="photo", accept=[kind], max_bytes=-1))
    found = {each.field: each.description for each in problems(definition)}
    assert "must be a media type" in found["actions[0].form_hints[0].accept[0]"]
    assert "actions[0].form_hints[0].max_bytes" in found
