"""What a definition must mean to be published: each rule refuses what breaks it, and all are told at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from cordboard.catalog.definition import MAX_VIOLATIONS, check, problems
from cordboard.catalog.document import read, write
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.errors import InvalidFields, Violation
from tests.unit.catalog.definitions import DOCUMENT, definitions
from tests.unit.catalog.whole import WHOLE

BASE: dict[str, Any] = yaml.safe_load(DOCUMENT)
Change = Callable[[dict[str, Any]], Any]


def found(change: Change) -> list[Violation]:
    """Returns what is wrong with the base document after a change."""
    document = copy.deepcopy(BASE)
    change(document)
    return problems(read(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)).definition)


def at(path: str, value: Any) -> Change:
    """Returns the change that puts a value at a dotted path; list elements are numbers."""

    def change(document: Any) -> None:
        *steps, last = path.split(".")
        holder = document
        for step in steps:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        if value is None:
            del holder[int(last) if isinstance(holder, list) else last]
        else:
            holder[int(last) if isinstance(holder, list) else last] = value

    return change


LIST = "actions.0"
CREATE = "actions.1"
PLAIN = {"type": "object", "properties": {"x": {"type": "string"}}}


def test_the_document_that_the_changes_begin_with_is_right() -> None:
    assert found(lambda _: None) == []
    check(read(DOCUMENT).definition)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (at("slug", "Acme"), "slug"),
        (at("slug", "a"), "slug"),
        (at("slug", "acme-"), "slug"),
        (at("slug", "\u0430cme"), "slug"),
        (at("slug", "a" * 64), "slug"),
        (at("slug", None), "slug"),
        (at("version", "1.0"), "version"),
        (at("version", "active"), "version"),
        (at("title", None), "title"),
        (at("title", "  "), "title"),
        (at("title", "a\nb"), "title"),
        (at("description", "x" * 5000), "description"),
        (at("description", "a\x07b"), "description"),
        (at("documentation_uri", "ftp://x.example"), "documentation_uri"),
        (at("tags", [""]), "tags"),
        (at("servers", []), "servers"),
        (at("servers.0.url", "ftp://acme.example/{region}"), "servers[0].url"),
        (at("servers.0.url", "/v1/{region}"), "servers[0].url"),
        (at("servers.0.url", "https://{region}.acme.example/v1?x=1"), "servers[0].url"),
        (at("servers.0.url", "https://{region}.acme.example/v1#x"), "servers[0].url"),
        (at("servers.0.url", "https://user:pw@{region}.acme.example"), "servers[0].url"),
        (at("servers.0.url", "https://{region}.acme.example/a b"), "servers[0].url"),
        (at("servers.0.url", "https://{region}.acme.example/\r\nX: y"), "servers[0].url"),
        (at("servers.0.url", "https://{region}.acme.example:99999"), "servers[0].url"),
        (at("servers.0.url", "{scheme}://{region}.acme.example"), "servers[0].url"),
        (at("servers.0.url", "https://{region.acme.example"), "servers[0].url"),
        (at("servers.0.url", "https://{region}.{other}.example"), "servers[0].url"),
        (at("servers.0.url", "https://acme.example"), "servers[0].variables[0].name"),
        (at("servers.0.variables.0.default_value", "asia"), "servers[0].variables[0].default_value"),
        (at("servers.0.variables.0.default_value", "a b"), "servers[0].variables[0].default_value"),
        (at("servers.0.variables.0.allowed_values", ["eu", "a?b"]), "servers[0].variables[0].allowed_values[1]"),
        (at("allowed_hosts", ["https://acme.example"]), "allowed_hosts[0]"),
        (at("allowed_hosts", ["*.acme.example"]), "allowed_hosts[0]"),
        (at("allowed_hosts", ["acme.example/x"]), "allowed_hosts[0]"),
        (at("allowed_hosts", ["ACME.example"]), "allowed_hosts[0]"),
        (at("allowed_hosts", ["acme.example:0"]), "allowed_hosts[0]"),
        (at("allowed_hosts", [""]), "allowed_hosts[0]"),
        (at("auth_schemes.1.id", "oauth"), "auth_schemes[1].id"),
        (at("auth_schemes.1.id", "a b"), "auth_schemes[1].id"),
        (at("auth_schemes.1.api_key", None), "auth_schemes[1]"),
        (at("auth_schemes.0.oauth2.token_url", "http://"), "auth_schemes[0].oauth2.token_url"),
        (at("auth_schemes.0.oauth2.authorization_url", None), "auth_schemes[0].oauth2.authorization_url"),
        (at("auth_schemes.0.oauth2.scopes", [{"name": "a b"}]), "auth_schemes[0].oauth2.scopes[0].name"),
        (at("auth_schemes.0.oauth2.default_scopes", ["other"]), "auth_schemes[0].oauth2.default_scopes[0]"),
        (at("auth_schemes.1.api_key.placement", None), "auth_schemes[1].api_key.placement"),
        (at("auth_schemes.1.api_key.name", "Host"), "auth_schemes[1].api_key.name"),
        (at("auth_schemes.1.api_key.name", "X: y"), "auth_schemes[1].api_key.name"),
        (at("auth_schemes.1.api_key.prefix", "a\r\nb"), "auth_schemes[1].api_key.prefix"),
        (at("schemas.a/b", {}), "schemas.a/b"),
        (at("schemas.Ticket.$id", "https://x.example"), "schemas.Ticket"),
        (at("schemas.Ticket.properties.parent.$ref", "#/$defs/Nope"), "schemas.Ticket"),
        (at("schemas.Ticket.properties.parent.$ref", "https://x.example/a.json"), "schemas.Ticket"),
        (at("schemas.Ticket.type", "thing"), "schemas.Ticket"),
        (at("schemas.Ticket.properties.id.pattern", "(?=a)b"), "schemas.Ticket"),
        (at(f"{LIST}.id", "create_ticket"), "actions[1].id"),
        (at(f"{LIST}.id", "-x"), "actions[0].id"),
        (at(f"{LIST}.id", "a" * 129), "actions[0].id"),
        (at(f"{LIST}.title", "a\nb"), "actions[0].title"),
        (at(f"{LIST}.input_schema.type", "array"), "actions[0].input_schema.type"),
        (at(f"{LIST}.input_schema.required", ["nope"]), "actions[0].input_schema.required"),
        (at(f"{LIST}.input_schema.properties.spare", {}), "actions[0].input_schema"),
        (at(f"{LIST}.input_schema.properties.cursor.pattern", r"(a)\1"), "actions[0].input_schema"),
        (at(f"{LIST}.input_schema.$defs", {}), "actions[0].input_schema"),
        (at(f"{LIST}.input_schema.$ref", "#/$defs/Ticket"), "actions[0].input_schema"),
        (at(f"{LIST}.output_schema.properties.data.items", {"$ref": "#/$defs/No"}), "actions[0].output_schema"),
        (at(f"{LIST}.output_schema.required", True), "actions[0].output_schema"),
        (at(f"{LIST}.request.method", "get"), "actions[0].request.method"),
        (at(f"{LIST}.request.method", "TRACE"), "actions[0].request.method"),
        (at(f"{LIST}.request.path", "accounts/{account}"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", ""), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "//evil.example/{account}"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/a/../{account}"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/a/%2E%2e/{account}"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/{account}?x=1"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/{account}#x"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/{account}/%zz"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/{account}/a b"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/{account"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/{account}/{other}"), "actions[0].request.path"),
        (at(f"{LIST}.request.path", "/tickets"), "actions[0].request.path"),
        (at(f"{LIST}.request.server_url", "https://other.example"), "actions[0].request.server_url"),
        (at(f"{LIST}.request.server_url", "https://{region}.example"), "actions[0].request.server_url"),
        (at(f"{LIST}.request.headers", {"X-A": "a\r\nX-B: b"}), "actions[0].request.headers.X-A"),
        (at(f"{LIST}.request.headers", {"X A": "a"}), "actions[0].request.headers.X A"),
        (at(f"{LIST}.request.headers", {"authorization": "x"}), "actions[0].request.headers.authorization"),
        (at(f"{LIST}.request.headers", {"Host": "x"}), "actions[0].request.headers.Host"),
        (at(f"{LIST}.request.parameters.1.property", "nope"), "actions[0].request"),
        (at(f"{LIST}.request.parameters.1.property", "account"), "actions[0].request"),
        (at(f"{LIST}.request.parameters.1.style", "label"), "actions[0].request.parameters[1].style"),
        (at(f"{LIST}.request.parameters.1.name", "a\nb"), "actions[0].request.parameters[1].name"),
        (at(f"{CREATE}.request.parameters.0", {"property": "notify", "name": "Cookie", "placement": "header"}),
         "actions[1].request.parameters[0].name"),
        (at(f"{CREATE}.request.parameters.0", {"property": "notify", "name": "x"}),
         "actions[1].request.parameters[0].placement"),
        (at(f"{CREATE}.request.body.encoding", None), "actions[1].request.body.encoding"),
        (at(f"{CREATE}.request.body.encoding", "binary"), "actions[1].request.body.property"),
        (at(f"{CREATE}.request.body.property", "subject"), "actions[1].request.body.fields"),
        (at(f"{CREATE}.request.body.media_type", "json\r\nX: y"), "actions[1].request.body.media_type"),
        (at(f"{CREATE}.request.body.fields.0.media_type", "x"), "actions[1].request.body.fields[0].media_type"),
        (at(f"{CREATE}.request.body.fields", [{"property": "subject", "name": "s"}] * 2),
         "actions[1].request.body.fields[1].name"),
        (at(f"{CREATE}.idempotency_key_header", "a b"), "actions[1].idempotency_key_header"),
        (at(f"{LIST}.paging.items_pointer", "data"), "actions[0].paging.items_pointer"),
        (at(f"{LIST}.paging.cursor.next_pointer", None), "actions[0].paging.cursor.next_pointer"),
        (at(f"{LIST}.paging.cursor.next_pointer", "/a~2"), "actions[0].paging.cursor.next_pointer"),
        (at(f"{LIST}.paging.cursor.cursor_property", "nope"), "actions[0].paging.cursor.cursor_property"),
        (at(f"{LIST}.paging", {"items_pointer": "/data"}), "actions[0].paging"),
        (at(f"{LIST}.paging", {"page": {"page_property": "cursor", "size_property": "x"}}),
         "actions[0].paging.page.size_property"),
        (at(f"{LIST}.paging", {"page": {"page_property": "cursor", "first_page": -1}}),
         "actions[0].paging.page.first_page"),
        (at(f"{LIST}.timeout", "0s"), "actions[0].timeout"),
        (at(f"{LIST}.timeout", "601s"), "actions[0].timeout"),
        (at(f"{LIST}.auth_schemes", ["nope"]), "actions[0].auth_schemes[0]"),
        (at(f"{LIST}.scopes", ['a"b']), "actions[0].scopes[0]"),
        (at("rate_limit_headers.remaining", "a b"), "rate_limit_headers.remaining"),
        (at("check_action", "nope"), "check_action"),
        (at("check_action", "list_tickets"), "check_action"),
    ],
)  # fmt: skip
def test_a_rule_names_the_field_that_breaks_it(change: Change, field: str) -> None:
    violations = found(change)
    assert field in [violation.field for violation in violations], violations
    assert all(violation.description for violation in violations)


@pytest.mark.parametrize(
    "change",
    [
        at("servers.0.url", "http://{region}.acme.example:8080"),
        at("allowed_hosts", ["acme.example", "acme.example:8443", "127.0.0.1:9000", "[::1]:80"]),
        at("version", "2.0.0-rc.1"),
        at("schemas.Ticket.properties.id.pattern", r"^[a-z]+\d$"),
        at("schemas.Ticket.enum", [{"$ref": "no reference, but data"}]),
        at("schemas.Ticket.properties.$id", {"type": "string"}),
        at(f"{LIST}.request.path", "/v1/accounts/{account}:search"),
        at(f"{LIST}.request.path", "/a.b/{account}%20x/~x"),
        at(f"{LIST}.request.parameters.1.placement", "header"),
        at(f"{LIST}.idempotency_key_header", "X-Request-Key"),
        at("auth_schemes.1.api_key", {"placement": "header", "name": "Authorization", "prefix": "Token "}),
    ],
)
def test_what_vendors_really_have_is_let_through(change: Change) -> None:
    assert found(change) == []


def test_a_server_of_an_action_must_be_on_an_allowed_host() -> None:
    def change(document: dict[str, Any]) -> None:
        document["allowed_hosts"] = ["upload.acme.example:8443"]
        document["actions"][0]["request"]["server_url"] = "https://upload.acme.example:8443/v2"

    assert found(change) == []
    assert found(at(f"{LIST}.request.server_url", "https://upload.acme.example:8443/v2"))


def test_a_host_that_connections_choose_is_allowed_only_as_a_server_has_it() -> None:
    def listed(host: str) -> Change:
        def change(document: dict[str, Any]) -> None:
            document["servers"] = [{"url": "https://{site}.acme.example", "variables": [{"name": "site"}]}]
            document["allowed_hosts"] = [host]

        return change

    assert found(listed("{site}.acme.example")) == []
    for host in ("{site}.evil.example", "{other}.acme.example", "{site}"):
        assert [violation.field for violation in found(listed(host))] == ["allowed_hosts[0]"]


def test_a_database_needs_no_server() -> None:
    def change(document: dict[str, Any]) -> None:
        document["category"], document["servers"] = "db", []

    assert found(change) == []


def test_everything_that_is_wrong_is_told_at_once() -> None:
    def change(document: dict[str, Any]) -> None:
        document["slug"], document["title"], document["check_action"] = "X", "", "nope"
        document["actions"][0]["request"]["path"] = "x"

    assert {violation.field for violation in found(change)} >= {
        "slug",
        "title",
        "check_action",
        "actions[0].request.path",
    }
    with pytest.raises(InvalidFields) as caught:
        check(Definition(slug="X", title="", auth_schemes=[{}] * 200))  # type: ignore[list-item]
    assert len(caught.value.violations) == MAX_VIOLATIONS


def test_size_has_a_limit() -> None:
    definition = read(DOCUMENT).definition
    definition.description = "x" * (16 * 1024 * 1024)
    assert [violation.field for violation in problems(definition)] == ["actions"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(definitions())
def test_checking_never_fails_itself_and_what_passes_can_be_published_again(definition: Definition) -> None:
    if not problems(definition):
        assert problems(read(write(definition)).definition) == []


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("{instance: /instance}", "{salt: /instance}", "auth_schemes[0].oauth2.token_response.config_variables.salt"),
        ("name: v, value: 2}", "name: v, value: null}", "actions[1].request.constants[0].value"),
        ("{placement: query, name: v, value: 2}", "{placement: header, name: v, value: é}",
         "actions[1].request.constants[0].value"),
        ("name: kind, config_variable: instance}", "name: kind, value: ..}", "actions[1].request.constants[1].value"),
        ("{placement: body, name: request_id}", "{placement: body, name: source}", "actions[2].idempotency_key.name"),
        ("{placement: body, name: request_id}", "{placement: body, name: parent}", "actions[2].idempotency_key.name"),
    ],
)  # fmt: skip
def test_what_could_not_be_sent_as_it_says_is_refused(before: str, after: str, field: str) -> None:
    assert before in WHOLE
    assert field in {one.field for one in problems(read(WHOLE.replace(before, after, 1)).definition)}
    assert field not in {one.field for one in problems(read(WHOLE).definition)}
