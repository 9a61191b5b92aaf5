"""A whole OpenAPI document: what is read, what is refused, and how findings are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.catalog.openapi import import_document
from cordboard.core.errors import DocumentInvalid, InvalidFields
from tests.unit.catalog.descriptions import (
    a_document,
    a_parameter,
    an_operation,
    answers,
    imported,
    losses,
    notes,
    repairs,
)


@pytest.mark.parametrize("version", ["3.0.0", "3.0.3", "3.1.0", "3.1", "3.2.0"])
def test_every_version_3_is_read(version: str) -> None:
    became = imported(a_document({"/run": {"get": an_operation()}}, openapi=version))
    assert [action.id for action in became.definition.actions] == ["run"]
    assert (became.report.operation_count, became.report.action_count) == (1, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"swagger": "1.2"}', "Swagger '1.2' is not known"),
        ('{"openapi": "4.0.0"}', "'4.0.0' is not known"),
        ('{"openapi": "2.0"}', "'2.0' is not known"),
        ('{"info": {}}', "neither a member `openapi`"),
        ("[]", "is a mapping"),
        ("just text", "is a mapping"),
        ('{"openapi": "3.0.0", ', "JSON cannot be read"),
        ("openapi: 3.0.0\n  x: [", "YAML cannot be read"),
    ],
)
def test_what_is_no_openapi_document_is_told_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(DocumentInvalid, match=words):
        import_document(text)


def test_yaml_gives_what_json_gives() -> None:
    document = a_document({"/run": {"get": an_operation(responses=answers({"type": "string"}))}})
    text = "\n".join(f"{name}: {json.dumps(value)}" for name, value in document.items())
    assert import_document(text) == import_document(json.dumps(document))


def test_a_key_that_stands_twice_is_reported_and_the_last_one_holds() -> None:
    became = import_document(
        "openapi: 3.0.0\ninfo: {title: Acme}\nservers: [{url: https://a.example}]\n"
        "paths:\n  /run: {get: {operationId: one}}\n  /run: {get: {operationId: two}}\n"
    )
    assert [action.id for action in became.definition.actions] == ["two"]
    assert ("/paths//run", "the key 'paths./run' stands twice; the last one holds") in repairs(became)


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Acme Desk", "acme-desk"),
        ("  Ünïcode & Söhne API!  ", "unicode-sohne-api"),
        ("1Password", "api-1password"),
        ("日本", "api-acme-example"),
        ("x" * 90, "x" * 63),
        ("a", "api-acme-example"),
    ],
)
def test_the_slug_follows_from_the_title(title: str, slug: str) -> None:
    assert imported(a_document(info={"title": title})).definition.slug == slug


def test_a_slug_an_owner_and_a_server_can_be_given() -> None:
    document = a_document({"/run": {"get": an_operation(servers=[{"url": "https://other.example"}])}})
    became = imported(document, slug="mine", owner="team-a", server_url="http://127.0.0.1:4010/")
    assert became.definition.slug == "mine"
    assert became.definition.owner == "team-a"
    assert [server.url for server in became.definition.servers] == ["http://127.0.0.1:4010"]
    assert became.definition.actions[0].request.server_url == ""


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"slug": "No Slug"}, "slug"),
        ({"server_url": "ftp://x.example"}, "server_url"),
        ({"server_url": "https://x.example/?a=b"}, "server_url"),
        ({"source_uri": "https://u:p@x.example/openapi.json"}, "source_uri"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        import_document(json.dumps(a_document()), **arguments)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_document_that_was_read_from_a_file_has_nothing_to_resolve_against() -> None:
    assert imported(a_document(), source_uri="descriptions/acme.json").definition.servers


def test_what_the_document_says_of_itself_is_taken_over_as_plain_text() -> None:
    became = imported(
        a_document(
            info={"title": "Acme\x07 <b>Desk</b>", "description": "Says <em>more</em>.\r\nMuch" + " more" * 2000},
            externalDocs={"url": "https://docs.acme.example/#start"},
        )
    )
    assert became.definition.title == "Acme Desk"
    assert became.definition.description.startswith("Says more.\nMuch more")
    assert len(became.definition.description) <= 2000
    assert became.definition.documentation_uri == "https://docs.acme.example/#start"


@pytest.mark.parametrize("paths", [None, [], "x", {"/a": 7}, {"/a": {"$ref": "other.yaml"}}, {"/a": {"$ref": "#/no"}}])
def test_a_document_without_usable_paths_has_no_actions_and_says_why(paths: Any) -> None:
    became = imported(a_document() | {"paths": paths})
    assert list(became.definition.actions) == []
    assert losses(became)


def test_each_operation_is_an_action_or_a_loss() -> None:
    became = imported(
        a_document(
            {
                "/a": {"get": an_operation(), "trace": an_operation(), "put": 7, "post": {"$ref": "post.yaml"}},
                "/b": {"query": an_operation(), "additionalOperations": {"COPY": an_operation()}},
                "x-extension": {"get": an_operation()},
            }
        )
    )
    assert became.report.operation_count == 6
    assert became.report.action_count == 1
    assert [pointer for pointer, _ in losses(became)] == [
        "/paths/~1a/put",
        "/paths/~1a/post",
        "/paths/~1a/trace",
        "/paths/~1b/query",
        "/paths/~1b/additionalOperations/COPY",
    ]


def test_webhooks_are_reported_as_left_out() -> None:
    became = imported(a_document(openapi="3.1.0", webhooks={"a": {}, "b": {}}))
    assert ("/webhooks", "2 webhooks: what the vendor sends is no action") in losses(became)


def test_ids_are_made_where_they_are_missing_wrong_or_taken() -> None:
    became = imported(
        a_document(
            {
                "/tickets/{id}": {"get": {"responses": {}}, "delete": an_operation(operationId="a/b c#d")},
                "/x": {"get": an_operation(), "post": an_operation(), "put": an_operation(operationId="x" * 200)},
                "/ü": {"get": an_operation(operationId="日本")},
            }
        )
    )
    assert [action.id for action in became.definition.actions] == [
        "get_tickets_id",
        "a_b_c_d",
        "run",
        "x" * 128,
        "run_2",
        "get",
    ]
    texts = [text for _, text in repairs(became)]
    assert "there is no operationId; the method and the path make one" in texts
    assert "the operationId 'a/b c#d' became 'a_b_c_d'" in texts
    assert any("stands twice" in text for text in texts)


def test_an_action_says_what_the_operation_says() -> None:
    became = imported(
        a_document(
            {
                "/t": {
                    "get": an_operation(
                        operationId="listAllTickets",
                        summary="All <b>tickets</b>",
                        description="All of them.",
                        tags=["Support", "Support", "", 7, "x" * 300],
                        deprecated=True,
                    ),
                    "put": an_operation(operationId="putTicket"),
                }
            }
        )
    )
    listed, put = became.definition.actions
    assert (listed.title, listed.description, listed.deprecated) == ("All tickets", "All of them.", True)
    assert list(listed.tags) == ["Support", "x" * 128]
    assert (put.title, put.deprecated) == ("Put Ticket", False)


def test_findings_that_are_alike_are_counted_and_losses_are_not() -> None:
    paths = {f"/p{number}": {"get": {"parameters": [a_parameter("a", "header?")]}} for number in range(50)}
    became = imported(a_document(paths))
    assert len(losses(became)) == 50
    alike = [text for _, text in repairs(became) if "there is no operationId" in text]
    assert len(alike) == 21
    assert alike[-1] == "30 more like it: there is no operationId; the method and the path make one"


def test_an_action_that_shows_whether_a_connection_works_is_found() -> None:
    paths = {
        "/status": {"get": an_operation(operationId="status")},
        "/users/me": {"get": an_operation(operationId="me"), "delete": an_operation(operationId="leave")},
        "/{account}/me": {"get": an_operation(operationId="other")},
    }
    became = imported(a_document(paths))
    assert became.definition.check_action == "me"
    assert any("checks connections" in text for _, text in notes(became))
    assert imported(a_document({"/tickets": {"get": an_operation()}})).definition.check_action == ""


def test_an_action_that_no_definition_can_have_is_a_loss() -> None:
    became = imported(a_document({"/a/../b": {"get": an_operation()}, "/c": {"get": an_operation(operationId="c")}}))
    assert [action.id for action in became.definition.actions] == ["c"]
    assert [text for _, text in losses(became)] == [
        "GET /a/../b is left out: request.path: must not have '.' or '..' as a segment"
    ]
