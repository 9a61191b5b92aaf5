"""Servers of API descriptions: absolute, relative, templated, missing, and those of single operations."""

from __future__ import annotations

from typing import Any

import pytest

from cordboard.planning.servers import Servers
from tests.unit.catalog.descriptions import a_document, an_operation, imported, repairs

GET = {"/run": {"get": an_operation()}}


def servers_of(*servers: Any, source_uri: str = "") -> list[str]:
    became = imported(a_document(GET, servers=list(servers)), source_uri=source_uri)
    return [server.url for server in became.definition.servers]


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://api.acme.example/v1/", "https://api.acme.example/v1"),
        ("HTTPS://api.acme.example", "https://api.acme.example"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("//api.acme.example/v1", "https://api.acme.example/v1"),
        ("api.acme.example/v1", "https://api.acme.example/v1"),
        ("https://api.acme.example/v1?x=y", "https://api.acme.example/v1"),
        ("https://api.acme.example/v1#x", "https://api.acme.example/v1"),
        ("https://api.acme.example/v1 (production)", "https://api.acme.example/v1"),
    ],
)
def test_a_server_is_an_absolute_url(url: str, used: str) -> None:
    assert servers_of({"url": url}) == [used]


def test_a_relative_server_follows_from_where_the_document_is() -> None:
    source = "https://acme.example/docs/openapi.json"
    assert servers_of({"url": "/api/v3"}, source_uri=source) == ["https://acme.example/api/v3"]
    assert servers_of({"url": "../v3"}, source_uri=source) == ["https://acme.example/v3"]
    became = imported(a_document(GET, servers=None), source_uri=source)
    assert [server.url for server in became.definition.servers] == ["https://acme.example"]
    assert repairs(became)


@pytest.mark.parametrize("servers", [None, [], "x", [{"url": ""}], [{"url": "wss://a.example"}], [7], [{"url": "/"}]])
def test_a_host_that_nobody_knows_is_asked_of_each_connection(servers: Any) -> None:
    became = imported(a_document(GET, servers=servers))
    (server,) = became.definition.servers
    assert server.url == "https://{host}"
    assert [(variable.name, variable.default_value) for variable in server.variables] == [("host", "")]
    assert any("each connection has to name it" in text for _, text in repairs(became))
    assert len(became.definition.actions) == 1


def test_the_path_of_a_server_without_a_host_is_kept() -> None:
    assert servers_of({"url": "/open-banking/v4"}) == ["https://{host}/open-banking/v4"]


def test_variables_are_taken_over() -> None:
    became = imported(
        a_document(
            GET,
            servers=[
                {
                    "url": "https://{sub}.{region}.acme.example:{port}/{base}",
                    "description": "All",
                    "variables": {
                        "sub": {"description": "Yours"},
                        "region": {"default": "eu", "enum": ["eu", "us"]},
                        "port": {"default": 8443},
                        "unused": {"default": "x"},
                    },
                }
            ],
        )
    )
    (server,) = became.definition.servers
    known = {one.name: (one.default_value, list(one.allowed_values)) for one in server.variables}
    assert known == {"sub": ("", []), "region": ("eu", ["eu", "us"]), "port": ("8443", []), "base": ("", [])}
    assert server.variables[0].description == "Yours"


def test_a_variable_for_the_scheme_or_the_whole_url_is_filled_in() -> None:
    scheme = {"url": "{protocol}://{hostname}/api", "variables": {"protocol": {"default": "http"}}}
    assert servers_of(scheme) == ["https://{hostname}/api"]
    only_http = {"url": "{p}://a.example", "variables": {"p": {"enum": ["http"]}}}
    assert servers_of(only_http) == ["http://a.example"]
    whole = {
        "url": "{base}/v2",
        "variables": {"base": {"default": "https://a.example/", "enum": ["https://b.example"]}},
    }
    assert servers_of(whole) == ["https://a.example/v2", "https://b.example/v2"]
    assert servers_of({"url": "{Endpoint}/v2"}) == ["https://{Endpoint}/v2"]


def test_the_example_value_of_a_secret_is_not_kept() -> None:
    server = {"url": "https://api.acme.example/bot{token}", "variables": {"token": {"default": "123:ABC"}}}
    became = imported(a_document(GET, servers=[server]))
    assert became.definition.servers[0].variables[0].default_value == ""
    assert any("is a credential" in text for _, text in repairs(became))


@pytest.mark.parametrize("variable", [{"default": "a b"}, {"default": "x", "enum": ["y"]}])
def test_a_default_that_does_not_fit_is_left_out(variable: dict[str, Any]) -> None:
    server = {"url": "https://{sub}.acme.example", "variables": {"sub": variable}}
    became = imported(a_document(GET, servers=[server]))
    assert became.definition.servers[0].variables[0].default_value == ""
    assert repairs(became)


def test_an_operation_may_have_a_server_of_its_own_and_its_host_is_allowed() -> None:
    paths = {
        "/a": {"get": an_operation(operationId="a", servers=[{"url": "https://upload.acme.example/v2/"}])},
        "/b": {"get": an_operation(operationId="b", servers=[{"url": "https://api.acme.example/v1/"}])},
        "/c": {"servers": [{"url": "https://api.acme.example/v9"}], "get": an_operation(operationId="c")},
        "/d": {"get": an_operation(operationId="d", servers=[{"url": "/relative"}])},
        "https://whole.acme.example/e": {"get": an_operation(operationId="e")},
    }
    became = imported(a_document(paths))
    assert {action.id: action.request.server_url for action in became.definition.actions} == {
        "a": "https://upload.acme.example/v2",
        "b": "",
        "c": "https://api.acme.example/v9",
        "d": "",
        "e": "https://whole.acme.example",
    }
    assert list(became.definition.allowed_hosts) == [
        "api.acme.example",
        "upload.acme.example",
        "whole.acme.example",
    ]


def test_no_host_is_listed_where_the_servers_say_it_all() -> None:
    paths = {"/a": {"get": an_operation(servers=[{"url": "https://api.acme.example/v2"}])}}
    assert list(imported(a_document(paths)).definition.allowed_hosts) == []


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("https://{sub}.acme.example", "{sub}.acme.example"),
        ("http://{host}/api", "{host}:80"),
        ("http://{host}:8080", "{host}:8080"),
    ],
)
def test_a_foreign_server_is_allowed_beside_a_host_that_connections_choose(url: str, listed: str) -> None:
    paths = {
        "/a": {"get": an_operation(operationId="a", servers=[{"url": "https://uploads.acme.example"}])},
        "/b": {"get": an_operation(operationId="b")},
    }
    definition = imported(a_document(paths, servers=[{"url": url}])).definition
    assert list(definition.allowed_hosts) == [listed, "uploads.acme.example"]
    servers = Servers(definition)
    given = {"sub": "desk", "host": "desk.acme.example"}
    own, foreign = servers.place(given), servers.place(given, definition.actions[0].request.server_url)
    assert own.hosts == foreign.hosts == {listed.format(**given), "uploads.acme.example"}
    assert foreign.base == "https://uploads.acme.example"


def test_servers_that_stand_beside_every_path_are_the_definitions() -> None:
    twice = [{"url": "https://b.example"}]
    paths = {
        "/a": {"servers": [{"url": "https://a.example"}], "get": an_operation(operationId="a")},
        "/b": {"servers": twice, "get": an_operation(operationId="b")},
        "/c": {"servers": twice, "get": an_operation(operationId="c")},
    }
    became = imported(a_document(paths, servers=None))
    assert [server.url for server in became.definition.servers] == ["https://b.example", "https://a.example"]
