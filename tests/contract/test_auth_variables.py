"""Config variables where they are set: against their schema, with nothing required left out, in every address."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import grpc
import pytest
from aiohttp import web

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.structs import to_struct
from tests.fixtures.auth import API_KEY, Auth, a_definition, an_oauth_scheme, consented, refused
from tests.fixtures.sites import listening

NAME = "workspaces/acme/integrations/shop/configuration"
INVALID = ("INVALID_ARGUMENT", "INVALID_FIELDS")


def a_variable(name: str, *, schema: Any = None, default: Any = None, **fields: Any) -> definition.ConfigVariable:
    return definition.ConfigVariable(
        name=name,
        schema_json=json.dumps(schema) if schema is not None else "",
        default_value_json=json.dumps(default) if default is not None else "",
        **fields,
    )


def a_shop(auth: Auth, *variables: definition.ConfigVariable, scheme: Any = API_KEY, url: str = "") -> None:
    servers = [definition.Server(url=url)] if url else []
    auth.catalog.definitions["shop"] = a_definition("shop", scheme, config_variables=variables, servers=servers)


async def put(auth: Auth, **fields: Any) -> connection_pb.WorkspaceConfiguration:
    stub = await auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    request = connection_pb.SetWorkspaceConfigurationRequest(name=NAME, **fields)
    answer: connection_pb.WorkspaceConfiguration = await stub.SetWorkspaceConfiguration(request)
    return answer


async def connect(auth: Auth, **fields: Any) -> connection_pb.Connection:
    """Connects the shop with an API key and these values."""
    session = await auth.begin(slug="shop", auth_scheme="key", connection_id="desk-one", **fields)
    stub = await auth.as_member(ConnectServiceStub)
    request = pb.SubmitConnectSessionRequest(name=session.name, values=to_struct({"api_key": "k"}))
    made: connection_pb.Connection = await stub.SubmitConnectSession(request)
    return made


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "maximum": 9}, "5", "canary"),
        ({"type": "integer", "maximum": 9}, "9", "10"),
        ({"type": "boolean"}, "true", "canary"),
        ({"enum": ["eu", "us"]}, "us", "canary"),
        ({"type": "string", "maxLength": 3}, "abc", "canary"),
        ({"type": "string", "pattern": "^t-[0-9]+$"}, "t-1", "canary"),
    ],
)
async def test_a_value_that_does_not_fit_its_schema_is_refused_where_it_is_set(
    auth: Auth, schema: Any, good: str, bad: str
) -> None:
    a_shop(auth, a_variable("it", schema=schema), a_variable("hidden", schema=schema, secret=True))
    assert dict((await put(auth, values={"it": good}, secret_values={"hidden": good})).values) == {"it": good}
    assert dict((await connect(auth, configuration={"it": good})).configuration) == {"it": good}
    for fields, field in (
        ({"values": {"it": bad}}, "values.it"),
        ({"secret_values": {"hidden": bad}}, "secret_values.hidden"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await put(auth, **fields)
        assert "canary" not in str(told.value)
        assert await refused(put(auth, **fields)) == (*INVALID, [field])
    assert await refused(connect(auth, configuration={"it": bad})) == (*INVALID, ["configuration.it"])
    # A secret that is given empty stays as it was, whatever its schema says.
    assert list((await put(auth, values={"it": good}, secret_values={"hidden": ""})).secret_names) == ["hidden"]


async def test_a_required_value_comes_from_the_connection_or_the_workspace_or_the_default(auth: Auth) -> None:
    a_shop(
        auth, a_variable("team", required=True), a_variable("pin", required=True, secret=True),
        a_variable("seats", required=True, default=3),
    )  # fmt: skip
    assert await refused(connect(auth)) == (*INVALID, ["configuration.team", "secret_configuration.pin"])
    given = {"configuration": {"team": "blue"}, "secret_configuration": {"pin": ""}}
    assert await refused(connect(auth, **given)) == (*INVALID, ["secret_configuration.pin"])
    await put(auth, secret_values={"pin": "1111"})
    await connect(auth, configuration={"team": "blue"})
    lease = await auth.lease()
    assert dict(lease.connection.configuration) == {"team": "blue"}
    assert dict(lease.secret_variables) == {"pin": "1111"}


async def test_a_value_in_a_servers_url_cannot_change_where_it_leads(auth: Auth) -> None:
    a_shop(auth, a_variable("host"), a_variable("name"), a_variable("note"), url="https://{host}/api/{name}")
    for value in ("evil.example/#", "a@b.example", "https://a.example/x"):
        assert await refused(put(auth, values={"host": value})) == (*INVALID, ["values.host"])
    for value in ("a/b", "a:1", "https://a.example"):
        assert await refused(put(auth, values={"name": value})) == (*INVALID, ["values.name"])
    for value in ("acme.example", "acme.example:8443", "https://acme.example/"):
        await put(auth, values={"host": value, "name": "a-1", "note": "a/b#c"})


async def test_addresses_are_filled_with_variables_their_defaults_and_what_was_typed_in(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    scheme = an_oauth_scheme(
        vendor.url, authorization_url=f"{vendor.url}/{{realm}}/{{door}}", token_url=f"{vendor.url}/{{realm}}/token",
        revocation_url=f"{vendor.url}/{{realm}}/revoke", issuer="",
    )  # fmt: skip
    scheme.fields.add(name="door", plain=True)
    a_shop(auth, a_variable("realm", default="oauth"), scheme=scheme)
    await auth.set_client(vendor, "shop")
    session = await auth.begin(slug="shop", connection_id="desk-one", values=to_struct({"door": "authorize"}))
    assert session.authorization_url.startswith(f"{vendor.url}/oauth/authorize?")
    assert "is connected" in await auth.call_back(**await consented(session.authorization_url))
    await auth.age(0)
    assert (await auth.lease()).generation == 2


async def test_an_address_without_a_value_for_its_name_is_told_before_anybody_is_asked(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    a_shop(auth, a_variable("realm"), scheme=an_oauth_scheme(f"{vendor.url}/{{realm}}", issuer=""))
    await auth.set_client(vendor, "shop")
    assert await refused(auth.begin(slug="shop", connection_id="desk-one")) == (*INVALID, ["configuration.realm"])


async def test_what_a_token_answer_tells_nobody_has_to_give(auth: Auth) -> None:
    answer: dict[str, Any] = {
        "access_token": "t-1", "token_type": "Bearer",
        "instance": "https://acme.example", "account": 4711, "odd": "a\nb",
    }  # fmt: skip

    async def token(_: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/token", token)
    async with listening(app) as url:
        told = {name: f"/{name}" for name in ("instance", "account", "odd")}
        scheme = an_oauth_scheme(
            "", authorization_url=f"{url}/auth", token_url=f"{url}/token", revocation_url="", issuer="",
            token_response=definition.TokenResponse(config_variables=told),
        )  # fmt: skip
        a_shop(auth, *(a_variable(name, required=True) for name in told), scheme=scheme)
        await auth.operator(ConnectServiceStub).SetOAuthClient(
            pb.SetOAuthClientRequest(name="integrations/shop/oauthClient", client_id="c", client_secret="s")
        )
        session = await auth.begin(slug="shop", connection_id="desk-one")
        state = dict(parse_qsl(urlsplit(session.authorization_url).query))["state"]
        assert "is connected" in await auth.call_back(state=state, code="c-1")
    # What could not stand in a request is not taken; a call that needs it names it.
    assert dict((await auth.lease()).connection.configuration) == {
        "instance": "https://acme.example",
        "account": "4711",
    }


async def test_what_a_person_types_in_fits_the_schema_of_its_field(auth: Auth) -> None:
    scheme = definition.AuthScheme()
    scheme.CopyFrom(API_KEY)
    schemas = {"api_key": {"pattern": "^k"}, "site": {"enum": ["eu", "us"]}, "note": {"maxLength": 3}}
    for name, schema in schemas.items():
        scheme.fields.add(name=name, schema_json=json.dumps(schema), optional=name == "note")
    a_shop(auth, scheme=scheme)
    session = await auth.begin(slug="shop", auth_scheme="key", connection_id="desk-one")
    stub = await auth.as_member(ConnectServiceStub)

    def submit(**values: str) -> Any:
        return stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=session.name, values=to_struct(values)))

    code, reason, fields = await refused(submit(api_key="canary", site="canary", note="canary"))
    assert (code, reason, sorted(fields)) == (*INVALID, ["values.api_key", "values.note", "values.site"])
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await submit(api_key="canary", site="eu")
    assert "canary" not in str(told.value)
    await submit(api_key="k-1", site="eu")
    assert dict((await auth.lease()).parts[0].fields)["site"] == "eu"
