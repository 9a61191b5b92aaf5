"""Tokens for one API of a vendor (RFC 8707), at a real server, npm's oidc-provider, that gives none for any other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import jwt
import pytest

from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from tests.fixtures.auth import (
    NOT_FOUND,
    OAUTH_FAILED,
    REDIRECT_URI,
    Auth,
    a_definition,
    an_oauth_scheme,
    refused,
    until,
)
from tests.fixtures.oidc import CLIENT, INSTALLED, SECRET, Provider, allowed, provider, signed_in

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not INSTALLED, reason="Node.js or its packages are missing (`make node`): NO real OAuth server is tried"
    ),
]
RESOURCE: Final = "https://api.desk.example/v2"
NAME: Final = "desk-one"


@pytest.fixture
async def server(auth: Auth) -> AsyncIterator[Provider]:
    """A server that knows one API, as the integration `desk`, which names none."""
    async with provider(REDIRECT_URI, resource=RESOURCE) as running:
        declare(auth, running, "")
        await auth.operator(ConnectServiceStub).SetOAuthClient(
            pb.SetOAuthClientRequest(name="integrations/desk/oauthClient", client_id=CLIENT, client_secret=SECRET)
        )
        yield running


def declare(auth: Auth, server: Provider, resource: str) -> None:
    """Defines the integration, by three grants, for an API."""
    wanted = {"resource": resource} if resource else {}
    grant = definition.TokenGrant(token_url=f"{server.issuer}/token", scopes=["desk:read"], token_parameters=wanted)
    auth.catalog.definitions["desk"] = a_definition(
        "desk",
        an_oauth_scheme(
            "",
            **server.fields(
                default_scopes=["openid", "offline_access", "desk:read"],
                authorization_parameters={"prompt": "consent", **wanted},
                token_parameters=wanted,
            ),
        ),
        definition.AuthScheme(
            id="device",
            device=definition.DeviceAuthorization(device_authorization_url=f"{server.issuer}/device/auth", grant=grant),
        ),
        definition.AuthScheme(id="own", client_credentials=definition.ClientCredentials(grant=grant)),
    )


async def connect(auth: Auth, kind: str) -> str:
    """Connects; returns what went wrong."""
    if kind == "own":
        typed = {"client_id": CLIENT, "client_secret": SECRET}
        await auth.type_in(typed, auth_scheme="own", connection_id=NAME)
        return ""
    session = await auth.begin(auth_scheme=kind, connection_id=NAME)
    if kind == "oauth":
        query = await signed_in(session.authorization_url)
        await auth.call_back(
            **{name: told for name, told in query.items() if name in ("code", "state", "iss", "error")}
        )
    else:
        await allowed(session.verification_uri, session.user_code)

    async def ended() -> Any:
        found = await auth.session(session.name)
        return found if found.state != pb.ConnectSession.STATE_PENDING else None

    return str((await until(ended)).error)


async def audience(auth: Auth) -> object:
    """Returns for whom the token of the connection is; None where it does not say so."""
    token = (await auth.lease(NAME)).access_token
    return jwt.decode(token, options={"verify_signature": False})["aud"] if token.count(".") == 2 else None


@contextlib.asynccontextmanager
async def declared(auth: Auth, server: Provider, resource: str) -> AsyncIterator[None]:
    """Has the definition name an API inside the block, for an Auth that has read no other."""
    declare(auth, server, resource)
    async with auth.replica() as fresh:
        before, auth.served = auth.served, fresh
        yield
        auth.served = before


@pytest.mark.parametrize("kind", ["oauth", "device", "own"])
async def test_a_token_is_for_the_api_that_the_definition_names(auth: Auth, server: Provider, kind: str) -> None:
    assert not await connect(auth, kind)
    assert await audience(auth) is None, "the control: where nothing is named, it is for nobody in particular"
    async with declared(auth, server, RESOURCE):
        assert not await connect(auth, kind)
        assert await audience(auth) == RESOURCE
        generation = (await auth.lease(NAME)).generation
        await auth.age(-1)
        assert await audience(auth) == RESOURCE, "the next one is for the same"
        assert (await auth.lease(NAME)).generation == generation + 1


@pytest.mark.parametrize(("kind", "told"), [("oauth", "invalid_target"), ("device", ""), ("own", "")])
async def test_an_api_that_the_server_does_not_know_connects_nothing(
    auth: Auth, server: Provider, kind: str, told: str
) -> None:
    async with declared(auth, server, "https://evil.example/"):
        if told:
            assert await connect(auth, kind) == told
        else:
            assert await refused(connect(auth, kind)) == OAUTH_FAILED
        assert await refused(auth.lease(NAME)) == NOT_FOUND
