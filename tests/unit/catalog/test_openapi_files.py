"""Descriptions that are spread over several files."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml

from cordboard.catalog.openapi import Files, Imported, import_document
from cordboard.catalog.openapi.bundle import MAX_FILES, named, references
from cordboard.catalog.v1.catalog_service_pb2 import ImportFinding
from cordboard.core.errors import DocumentInvalid, InvalidFields
from tests.unit.catalog.descriptions import a_document, an_operation, answers

MAIN = {
    "openapi": "3.1.0",
    "info": {"title": "Library", "version": "1"},
    "servers": [{"url": "https://api.library.example"}],
    "paths": {
        "/books": {"$ref": "paths/books.yaml"},
        "/books/{id}": {"$ref": "./paths/book.yaml#/by-id"},
        "/loans": {
            "post": {
                "operationId": "lend",
                "requestBody": {"$ref": "bodies.yaml#/Loan"},
                "responses": {"201": {"$ref": "paths/../responses.yaml#/Lent"}},
            }
        },
    },
    "components": {"schemas": {"Id": {"type": "string", "maxLength": 26}}},
}
FILES = {
    "paths/books.yaml": """
get:
  operationId: list_books
  parameters:
  - $ref: 'parameters.yaml#/Limit'
  responses:
    '200': {description: ok, content: {application/json: {schema: {type: array, items: {$ref: ../schemas/Book.yaml}}}}}
post:
  operationId: add_book
  requestBody: {content: {application/json: {schema: {$ref: ../schemas/Book.yaml}}}}
  responses: {}
""",
    "paths/parameters.yaml": "Limit: {name: limit, in: query, schema: {type: integer, maximum: 100}}",
    "paths/book.yaml": """
by-id:
  parameters:
  - {name: id, in: path, required: true, schema: {$ref: '../openapi.yaml#/components/schemas/Id'}}
  get:
    operationId: get_book
    responses: {'200': {description: ok, content: {application/json: {schema: {$ref: '../schemas/Book.yaml#'}}}}}
""",
    "schemas/Book.yaml": """
type: object
required: [title]
properties:
  title: {type: string}
  author: {$ref: './Person.json'}
  sequel: {$ref: '#'}
  format: {$ref: '#/$defs/format'}
$defs:
  format: {enum: [paper, audio]}
""",
    "schemas/Person.json": '{"type": "object", "properties": {"name": {}, "wrote": {"$ref": "Book.yaml"}}}',
    "bodies.yaml": "Loan: {required: true, content: {application/json: {schema: {type: object, properties: "
    "{book: {$ref: 'openapi.yaml#/components/schemas/Id'}}}}}}",
    "responses.yaml": "Lent: {description: ok, content: {application/json: {schema: {$ref: schemas/Person.json}}}}",
}


def library(files: dict[str, str] | None = None, main: dict[str, Any] | None = None) -> Imported:
    """Returns what the description of a library becomes."""
    held = Files.of("openapi.yaml", (FILES if files is None else files).items())
    return import_document(yaml.safe_dump(main or MAIN, sort_keys=False), files=held)


def losses(became: Imported) -> dict[str, str]:
    """Returns what was left out, by place."""
    return {one.pointer: one.text for one in became.report.findings if one.severity == ImportFinding.SEVERITY_LOSS}


def test_a_description_of_several_files_becomes_one_definition() -> None:
    became = library()
    assert losses(became) == {}
    assert [one.id for one in became.definition.actions] == ["list_books", "add_book", "get_book", "lend"]
    listing, adding, getting, lending = became.definition.actions
    assert json.loads(listing.input_schema_json)["properties"]["limit"] == {"type": "integer", "maximum": 100}
    shared = json.loads(became.definition.schemas_json)
    assert set(shared) == {"Book", "Person", "Id", "format"}
    assert shared["Book"]["properties"] == {
        "title": {"type": "string"},
        "author": {"$ref": "#/$defs/Person"},
        "sequel": {"$ref": "#/$defs/Book"},
        "format": {"$ref": "#/$defs/format"},
    }
    assert shared["Person"]["properties"]["wrote"] == {"$ref": "#/$defs/Book"}
    assert json.loads(listing.output_schema_json)["items"] == {"$ref": "#/$defs/Book"}
    assert json.loads(adding.input_schema_json)["properties"]["body"] == {"$ref": "#/$defs/Book"}
    assert json.loads(getting.input_schema_json)["properties"]["id"] == {"$ref": "#/$defs/Id"}
    assert json.loads(lending.input_schema_json)["properties"]["book"] == {"$ref": "#/$defs/Id"}
    assert "7 files belong to the document" in became.report.findings[0].text


def test_the_order_of_the_files_does_not_matter() -> None:
    paths = list(FILES)
    for seed in range(5):
        random.Random(seed).shuffle(paths)
        assert library({path: FILES[path] for path in paths}) == library()


def test_the_same_description_in_one_file_becomes_the_same() -> None:
    # Without its name the document cannot be referred to; nothing here refers to it.
    whole = a_document({"/a": {"get": an_operation(responses=answers({"type": "object"}))}})
    spread = {**whole, "paths": {"/a": {"$ref": "a.json"}}}
    files = Files.of("", [("a.json", json.dumps(whole["paths"]["/a"]))])
    assert import_document(json.dumps(spread), files=files).definition == import_document(json.dumps(whole)).definition


def test_a_missing_file_costs_what_it_stands_in_and_no_more() -> None:
    became = library({path: text for path, text in FILES.items() if path not in ("paths/book.yaml", "bodies.yaml")})
    assert [one.id for one in became.definition.actions] == ["list_books", "add_book"]
    left_out = losses(became)
    assert "is in another file" in left_out["/paths/~1books~1{id}"]
    assert "is in another file" in left_out["/paths/~1loans/post"]


def test_a_file_that_cannot_be_read_is_told_by_its_name() -> None:
    became = library({**FILES, "paths/book.yaml": "a: [1"})
    assert [one.id for one in became.definition.actions] == ["list_books", "add_book", "lend"]
    assert "cannot be read" in losses(became)["paths/book.yaml#"]


def test_a_fault_in_another_file_is_told_with_its_place_there() -> None:
    became = library({**FILES, "paths/books.yaml": "get: 7\nput: {operationId: a, operationId: b, responses: {}}"})
    assert losses(became)["paths/books.yaml#/get"].startswith("GET /books is left out")
    repairs = [one.pointer for one in became.report.findings if one.severity == ImportFinding.SEVERITY_REPAIR]
    assert "paths/books.yaml#/put/operationId" in repairs


def test_swagger_may_be_spread_over_files_too() -> None:
    main = {
        "swagger": "2.0",
        "info": {"title": "Library"},
        "host": "api.library.example",
        "consumes": ["application/json"],
        "paths": {"/books": {"$ref": "paths.yaml#/books"}, "/loans": {"post": {"$ref": "loans.yaml"}}},
    }
    paths = """
books:
  post:
    operationId: add_book
    parameters:
    - {name: book, in: body, schema: {$ref: 'book.yaml'}}
    - {name: dry, in: query, type: boolean}
    responses: {'200': {description: ok, schema: {$ref: 'book.yaml'}}}
"""
    files = {"paths.yaml": paths, "book.yaml": "{type: object, properties: {title: {type: string, x-nullable: true}}}"}
    became = library(files, main)
    [action] = became.definition.actions
    assert json.loads(action.input_schema_json)["properties"]["dry"] == {"type": "boolean"}
    assert json.loads(became.definition.schemas_json)["book"]["properties"]["title"]["type"] == ["string", "null"]
    assert list(losses(became)) == ["/paths/~1loans/post"]


@pytest.mark.parametrize(
    ("reference", "holder", "file"),
    [
        ("#/a", "paths/a.yaml", "paths/a.yaml"),
        ("b.yaml#/a", "paths/a.yaml", "paths/b.yaml"),
        ("../b.yaml", "paths/a.yaml", "b.yaml"),
        ("with%20space.yaml", "", "with space.yaml"),
        ("../b.yaml", "a.yaml", None),
        ("../../etc/passwd", "paths/a.yaml", None),
        ("%2e%2e/b.yaml", "a.yaml", None),
        ("/etc/passwd", "a.yaml", None),
        ("file:///etc/passwd", "a.yaml", None),
        ("https://other.example/b.yaml", "a.yaml", None),
        ("//other.example/b.yaml", "a.yaml", None),
        ("..\\b.yaml", "a.yaml", None),
        ("b.yaml?x=1", "a.yaml", None),
        (".", "a.yaml", None),
    ],
)
def test_a_reference_leads_below_the_folder_or_nowhere(reference: str, holder: str, file: str | None) -> None:
    assert named(reference, holder) == file


def test_a_reference_to_another_host_is_none_within_the_document() -> None:
    main = {**MAIN, "paths": {"/x": {"$ref": "https://other.example/x.yaml#/components"}}}
    for path in ("", "openapi.yaml"):
        became = import_document(yaml.safe_dump(main), files=Files.of(path, FILES.items()))
        assert "is in another file" in losses(became)["/paths/~1x"]


def test_every_reference_to_another_file_is_found_in_order() -> None:
    text = "a: &x [{$ref: one.yaml}, {$ref: '#/a'}]\nb: *x\nc: {$ref: two.yaml#/b, d: {$ref: three.yaml}}"
    assert list(references(yaml.safe_load(text))) == ["one.yaml", "two.yaml#/b", "three.yaml"]


@pytest.mark.parametrize(
    ("path", "files", "field"),
    [
        ("/openapi.yaml", [], "path"),
        ("a.yaml", [("../b.yaml", "")], "files[0].path"),
        ("a.yaml", [("b.yaml", ""), ("./c.yaml", "")], "files[1].path"),
        ("a.yaml", [("b.yaml", ""), ("b.yaml", "")], "files[1].path"),
        ("a.yaml", [("a.yaml", "")], "files[0].path"),
        ("a.yaml", [("", "")], "files[0].path"),
        ("a.yaml", [(f"{at}.yaml", "") for at in range(MAX_FILES + 1)], "files"),
        ("a.yaml", [("b.yaml", " " * 9_000_000), ("c.yaml", " " * 9_000_000)], "files"),
    ],
)
def test_files_that_cannot_stand_beside_a_document_are_refused(
    path: str, files: list[tuple[str, str]], field: str
) -> None:
    with pytest.raises(InvalidFields) as refusal:
        Files.of(path, files)
    assert [one.field for one in refusal.value.violations] == [field]


def test_aliases_in_many_files_do_not_multiply() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcde", "bcdef", strict=True)
    )
    with pytest.raises(DocumentInvalid, match="with its files"):
        library({f"{at}.yaml": bomb for at in range(20)})
