"""Security of API descriptions: which auth schemes they become, and what each operation needs."""

from __future__ import annotations

from typing import Any

import pytest

from cordboard.catalog.definition import problems
from tests.unit.catalog.descriptions import (
    a_document,
    a_parameter,
    an_operation,
    imported,
    input_schema,
    losses,
    notes,
    repairs,
)

CODE = {
    "type": "oauth2",
    "flows": {
        "authorizationCode": {
            "authorizationUrl": "https://acme.example/authorize",
            "tokenUrl": "/token",
            "scopes": {"read": "Read", "write": "Write", "a b": "no scope"},
        }
    },
}
IMPLICIT = {"type": "oauth2", "flows": {"implicit": {"authorizationUrl": "https://acme.example/a", "scopes": {}}}}
KEY = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
SECRET = {"type": "apiKey", "in": "header", "name": "X-Api-Secret"}
BASIC = {"type": "http", "scheme": "Basic"}


def became(operation: dict[str, Any], *, root: Any = None, **schemes: Any) -> Any:
    document = a_document({"/run": {"get": operation}}, components={"securitySchemes": schemes})
    return imported(document if root is None else document | {"security": root})


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (CODE, "oauth2"),
        (IMPLICIT, "bearer"),
        ({"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://a.example"}}}, "client_credentials"),
        ({"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "ftp://a.example"}}}, "bearer"),
        ({"type": "http", "scheme": "digest"}, "digest"),
        ({"type": "mutualTLS"}, "mtls"),
        ({"type": "oauth2"}, "bearer"),
        ({"type": "openIdConnect", "openIdConnectUrl": "https://a.example"}, "bearer"),
        (KEY, "api_key"),
        ({"type": "apiKey", "in": "query", "name": "api key"}, "api_key"),
        ({"type": "apiKey", "in": "cookie", "name": "session"}, "api_key"),
        ({"type": "apiKey", "in": "header", "name": "Authorization"}, "api_key"),
        ({"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer TOKEN"}, "bearer"),
        (BASIC, "basic"),
        ({"type": "http", "scheme": "BEARER"}, "bearer"),
        ({"$ref": "#/components/securitySchemes/other"}, "basic"),
    ],
)
def test_a_security_scheme_becomes_an_auth_scheme(declared: Any, kind: str) -> None:
    schemes = became(an_operation(), one=declared, other=BASIC).definition.auth_schemes
    assert [scheme.id for scheme in schemes if scheme.id != "one_token"] == ["one", "other"]
    assert schemes[0].WhichOneof("kind") == kind


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "http", "scheme": "hoba"},
        {"type": "apiKey", "in": "body", "name": "key"},
        {"type": "apiKey", "in": "header", "name": "Host"},
        {"type": "apiKey", "in": "header", "name": "a: b"},
        {"type": "apiKey", "in": "header"},
        {"$ref": "other.yaml"},
        "x",
        {},
    ],
)
def test_what_cannot_be_used_is_a_loss_and_the_operation_stays(declared: Any) -> None:
    result = became(an_operation(security=[{"one": []}]), one=declared)
    assert [scheme.WhichOneof("kind") for scheme in result.definition.auth_schemes] == ["none"]
    assert len(result.definition.actions) == 1
    assert losses(result)


def test_the_code_flow_is_taken_over_with_its_scopes() -> None:
    operation = an_operation(security=[{"oauth": ["read", "extra"]}])
    result = became(operation, oauth={**CODE, "description": "How"})
    scheme, _ = result.definition.auth_schemes
    assert scheme.description == "How"
    assert scheme.oauth2.authorization_url == "https://acme.example/authorize"
    assert scheme.oauth2.token_url == "https://api.acme.example/token"
    assert [scope.name for scope in scheme.oauth2.scopes] == ["read", "write", "extra"]
    assert list(scheme.oauth2.default_scopes) == ["read", "extra"]
    assert list(result.definition.actions[0].scopes) == ["read", "extra"]
    assert any("'a b' cannot be an OAuth scope" in text for _, text in repairs(result))


def test_a_token_can_be_pasted_instead_of_the_code_flow() -> None:
    result = became(an_operation(security=[{"oauth": ["read"]}]), oauth=CODE, basic=BASIC)
    assert [(scheme.id, scheme.WhichOneof("kind")) for scheme in result.definition.auth_schemes] == [
        ("oauth", "oauth2"),
        ("oauth_token", "bearer"),
        ("basic", "basic"),
    ]
    assert list(result.definition.actions[0].auth_schemes) == ["oauth", "oauth_token"]


def test_client_credentials_ask_for_the_scopes_unless_there_are_very_many() -> None:
    def scopes(count: int) -> list[str]:
        flow = {"tokenUrl": "/token", "scopes": {f"s{number}": "" for number in range(count)}}
        result = became(
            an_operation(security=[{"own": ["s0"]}]), own={"type": "oauth2", "flows": {"clientCredentials": flow}}
        )
        own, pasted = result.definition.auth_schemes
        assert own.client_credentials.grant.token_url == "https://api.acme.example/token"
        assert (pasted.id, pasted.WhichOneof("kind")) == ("own_token", "bearer")
        return list(own.client_credentials.grant.scopes)

    assert scopes(2) == ["s0", "s1"]
    assert scopes(13) == []


def test_a_client_certificate_goes_with_a_key() -> None:
    result = became(an_operation(security=[{"shown": [], "key": []}]), shown={"type": "mutualTLS"}, key=KEY)
    (action,) = result.definition.actions
    assert list(action.auth_schemes) == ["shown_and_key"]


def test_very_many_scopes_are_not_asked_for_by_default() -> None:
    flow = {**CODE["flows"]["authorizationCode"], "scopes": {f"s{number}": "" for number in range(13)}}  # type: ignore[index]
    result = became(an_operation(), oauth={"type": "oauth2", "flows": {"authorizationCode": flow}})
    assert list(result.definition.auth_schemes[0].oauth2.default_scopes) == []


def test_a_document_without_schemes_asks_for_nothing() -> None:
    assert [scheme.id for scheme in became(an_operation()).definition.auth_schemes] == ["none"]


@pytest.mark.parametrize(
    ("root", "own", "needed"),
    [
        (None, None, []),
        ([{"key": []}], None, ["key"]),
        ([{"key": []}], [], []),
        ([{"key": []}], [{}], []),
        ([{"key": []}], [{"basic": []}], ["basic"]),
        (None, [{"key": []}, {"basic": []}], []),
        (None, [{"key": []}, {}], []),
        (None, [{"nobody": []}], []),
        (None, [{"nobody": []}, {"key": []}], ["key"]),
        (None, [{"key": [], "secret": []}, {"basic": []}], ["key_and_secret", "basic"]),
        (None, "x", []),
        (None, [7], []),
    ],
)
def test_an_operation_can_be_run_with_any_one_of_what_it_names(root: Any, own: Any, needed: list[str]) -> None:
    operation = an_operation() if own is None else an_operation(security=own)
    # With `key` and `basic` alone every scheme is enough, and none is named.
    schemes = {"key": KEY, "basic": BASIC} if own == [{"key": []}, {"basic": []}] else {
        "key": KEY, "basic": BASIC, "secret": SECRET
    }  # fmt: skip
    (action,) = became(operation, root=root, **schemes).definition.actions
    assert list(action.auth_schemes) == needed


def test_two_keys_that_are_needed_at_once_are_one_scheme_of_both() -> None:
    result = became(an_operation(security=[{"key": [], "secret": []}]), key=KEY, secret=SECRET)
    (action,) = result.definition.actions
    both, *parts = result.definition.auth_schemes
    assert list(action.auth_schemes) == [both.id] == ["key_and_secret"]
    assert (list(both.all_of.auth_schemes), both.title) == (["key", "secret"], "key and secret")
    assert all("no action takes it alone" in part.description for part in parts)
    assert input_schema(action)["properties"] == {}
    assert problems(result.definition) == []


def test_a_key_beside_oauth_goes_with_the_code_flow_and_with_a_pasted_token() -> None:
    result = became(an_operation(security=[{"oauth": ["read"], "key": []}]), oauth=CODE, key=KEY)
    (action,) = result.definition.actions
    schemes = {scheme.id: list(scheme.all_of.auth_schemes) for scheme in result.definition.auth_schemes}
    assert schemes["oauth_and_key"] == ["oauth", "key"]
    assert schemes["oauth_token_and_key"] == ["oauth_token", "key"]
    assert list(action.auth_schemes) == ["oauth_and_key", "oauth_token_and_key"]
    assert list(action.scopes) == ["read"]
    assert problems(result.definition) == []


def test_who_has_more_than_an_operation_needs_may_call_it() -> None:
    document = a_document(
        {
            "/one": {"get": an_operation(security=[{"key": []}])},
            "/both": {"get": an_operation(security=[{"key": [], "secret": []}])},
            "/other": {"get": an_operation(security=[{"basic": []}])},
        },
        components={"securitySchemes": {"key": KEY, "secret": SECRET, "basic": BASIC}},
    )
    one, both, other = imported(document).definition.actions
    assert list(one.auth_schemes) == ["key", "key_and_secret"]
    assert list(both.auth_schemes) == ["key_and_secret"]
    assert list(other.auth_schemes) == ["basic"]


def test_of_two_things_that_go_to_the_same_place_one_is_left() -> None:
    result = became(
        an_operation(security=[{"basic": [], "oauth": ["read"], "key": []}]), basic=BASIC, oauth=CODE, key=KEY
    )
    (action,) = result.definition.actions
    assert list(action.auth_schemes) == ["oauth_and_key", "oauth_token_and_key"]
    assert any("'basic' goes where 'oauth' goes" in text for _, text in repairs(result))


def test_keys_that_are_a_choice_and_all_of_them_required_parameters_are_sent_together() -> None:
    token = {"type": "apiKey", "in": "query", "name": "token"}
    parameters = [a_parameter("x-api-key", "header", required=True), a_parameter("token", required=True)]
    operation = an_operation(security=[{"key": []}, {"token": []}], parameters=parameters)
    result = became(operation, key=KEY, token=token)
    (action,) = result.definition.actions
    assert list(action.auth_schemes) == ["key_and_token"]
    assert input_schema(action)["properties"] == {}
    assert any("all of them required parameters" in text for _, text in repairs(result))


def test_keys_that_are_a_choice_stay_one_where_only_one_of_them_is_required() -> None:
    token = {"type": "apiKey", "in": "query", "name": "token"}
    parameters = [a_parameter("x-api-key", "header", required=True), a_parameter("token")]
    operation = an_operation(security=[{"key": []}, {"token": []}], parameters=parameters)
    (action,) = became(operation, key=KEY, token=token, basic=BASIC).definition.actions
    assert list(action.auth_schemes) == ["key", "token"]


def test_the_flows_of_one_server_declared_twice_are_one() -> None:
    result = became(an_operation(security=[{"a": ["read"], "b": ["read"]}]), a=IMPLICIT, b=CODE)
    (action,) = result.definition.actions
    assert (list(action.auth_schemes), list(action.scopes)) == (["b", "b_token"], ["read"])
    assert input_schema(action)["properties"] == {}


def test_a_key_that_is_also_declared_as_a_parameter_is_no_input() -> None:
    parameters = [a_parameter("x-api-key", "header", required=True), a_parameter("x")]
    result = became(an_operation(security=[{"key": []}], parameters=parameters), key=KEY)
    assert list(input_schema(result.definition.actions[0])["properties"]) == ["x"]
    assert any("credential goes there" in text for _, text in notes(result))


def test_a_key_of_a_scheme_that_the_operation_does_not_use_is_an_input() -> None:
    parameters = [a_parameter("X-Api-Key", "header", required=True)]
    result = became(an_operation(security=[{"basic": []}], parameters=parameters), key=KEY, basic=BASIC)
    assert input_schema(result.definition.actions[0])["required"] == ["X-Api-Key"]


def test_a_credential_that_hides_among_the_parameters_is_not_asked_of_the_caller() -> None:
    told = "Authentication token. Requires scope: `read`"
    operation = an_operation(
        parameters=[
            a_parameter("token", "header", required=True, description=told),
            a_parameter("access_token", description="An access token"),
            a_parameter("invitation", description="Not an access token of ours"),
        ],
        security=[{"oauth": ["read"]}],
    )
    result = became(operation, oauth=CODE)
    schema = input_schema(result.definition.actions[0])
    assert list(schema["properties"]) == ["token", "invitation"]
    assert schema["properties"]["token"]["writeOnly"] is True
    assert "required" not in schema


def test_the_same_parameter_is_an_input_where_nothing_else_authenticates() -> None:
    operation = an_operation(parameters=[a_parameter("token", required=True, description="Authentication token")])
    assert input_schema(became(operation).definition.actions[0])["required"] == ["token"]


def test_names_of_schemes_become_ids() -> None:
    result = became(an_operation(), **{"api key!": KEY, "api key?": SECRET, "1": BASIC, "日本": BASIC})
    assert [scheme.id for scheme in result.definition.auth_schemes] == ["api_key", "api_key_2", "scheme_1", "scheme"]
