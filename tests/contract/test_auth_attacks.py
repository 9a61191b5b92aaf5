"""Attacks on connecting, with a real authorization server (npm oidc-provider): none may end in a connection."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import grpc
import pytest

from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.common.v1 import options_pb2 as roles
from tests.fixtures.auth import REDIRECT_URI, Auth, a_definition, an_oauth_scheme, refused, until
from tests.fixtures.oidc import CLIENT, INSTALLED, SECRET, Provider, provider, signed_in

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not INSTALLED, reason="Node.js or its packages are missing (`make node`): NO real OAuth server is tried"
    ),
]


@dataclass
class Scene:
    """Auth with two real servers: `honest` is the integration `desk`, `other` the integration `trap`."""

    auth: Auth
    honest: Provider
    other: Provider

    async def begin(self, workspace: str = "acme", slug: str = "desk", **fields: Any) -> pb.ConnectSession:
        """Begins to connect for the id `victim`."""
        return await self.auth.begin(workspace, slug, **({"connection_id": "victim"} | fields))

    async def returned(self, session: pb.ConnectSession, login: str = "ada") -> dict[str, str]:
        """Has a person consent, and returns what the browser brings back."""
        query = await signed_in(session.authorization_url, login=login)
        return {name: value for name, value in query.items() if name in ("code", "state", "iss")}

    async def connections(self, workspace: str = "acme") -> list[str]:
        """Returns the names of the workspace's connections."""
        stub = await self.auth.as_member(ConnectionServiceStub, workspace)
        found = await stub.ListConnections(connection_pb.ListConnectionsRequest(parent=f"workspaces/{workspace}"))
        return [each.name for each in found.connections]

    async def attempt(self, **query: str) -> None:
        """Comes back as a browser does; whatever the answer is."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self.auth.call_back(**query)

    async def nothing(self, *workspaces: str) -> None:
        """Checks that no workspace has a connection."""
        for workspace in workspaces or ("acme",):
            assert await self.connections(workspace) == []


def altered(url: str, **changes: str | None) -> str:
    """Returns an authorization URL with other parameters; None takes one out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | changes
    return urlunsplit(parts._replace(query=urlencode({name: value for name, value in query.items() if value})))


@pytest.fixture
async def scene(auth: Auth) -> AsyncIterator[Scene]:
    async with provider(REDIRECT_URI) as honest, provider(REDIRECT_URI) as other:
        for slug, server in (("desk", honest), ("trap", other)):
            scheme = an_oauth_scheme("", **server.fields(default_scopes=["desk:read"]))
            auth.catalog.definitions[slug] = a_definition(slug, scheme)
            await auth.operator(ConnectServiceStub).SetOAuthClient(
                pb.SetOAuthClientRequest(
                    name=f"integrations/{slug}/oauthClient", client_id=CLIENT, client_secret=SECRET
                )
            )
        await auth.workspace("mallory")
        yield Scene(auth, honest, other)


async def test_an_account_is_connected_refreshed_and_revoked_at_a_real_server(scene: Scene) -> None:
    # The control of every attack below: without one, the same steps end in a connection that works.
    session = await scene.begin()
    page = await scene.auth.call_back(**await scene.returned(session))
    assert "is connected" in page
    first = await scene.auth.lease("victim")
    assert await scene.honest.active(first.access_token)
    for generation in range(2, 5):
        # Refresh tokens rotate: each must be the one that the last refresh gave.
        await scene.auth.age(0, "victim")
        assert (await scene.auth.lease("victim")).generation == generation
    last = await scene.auth.lease("victim")
    assert await scene.honest.active(last.access_token)
    stub = await scene.auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    await stub.DeleteConnection(connection_pb.DeleteConnectionRequest(name="workspaces/acme/connections/victim"))

    async def revoked() -> bool:
        return not await scene.honest.active(last.access_token)

    await until(revoked)


async def test_a_state_that_was_made_up_or_spoilt_ends_nowhere(scene: Scene) -> None:
    session = await scene.begin()
    back = await scene.returned(session)
    state = back["state"]
    spoilt = [
        "", "x", state[:-1], f"{state}A", state.swapcase(), state[::-1], f" {state}", f"{state}\n", f"{state}%00",
        secrets.token_urlsafe(32), "0" * 43, "../../etc", "' OR 1=1 --", "*", "é" * 43, "a" * 8000,
    ]  # fmt: skip
    for each in spoilt:
        await scene.attempt(**(back | {"state": each}))
    await scene.nothing()
    # The control: the state itself was not used up by any of them.
    assert "is connected" in await scene.auth.call_back(**back)


async def test_a_return_cannot_be_replayed(scene: Scene) -> None:
    back = await scene.returned(await scene.begin())
    await scene.auth.call_back(**back)
    for _ in range(3):
        assert (await refused(scene.auth.call_back(**back)))[1] == "OAUTH_FAILED"
    assert (await scene.auth.lease("victim")).generation == 1


async def test_a_return_that_comes_twice_at_once_is_used_once(scene: Scene) -> None:
    back = await scene.returned(await scene.begin())
    answers = await asyncio.gather(*(scene.auth.call_back(**back) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, str) and "is connected" in answer for answer in answers) == 1
    assert (await scene.auth.lease("victim")).generation == 1


async def test_a_stolen_code_is_worth_nothing_in_a_session_of_the_thief(scene: Scene) -> None:
    stolen = (await scene.returned(await scene.begin(), login="ada"))["code"]
    own = await scene.begin("mallory", connection_id="loot")
    state = parse_qs(urlsplit(own.authorization_url).query)["state"][0]
    # PKCE binds the code to the verifier of the session that it was asked for in.
    await scene.attempt(state=state, code=stolen, iss=scene.honest.issuer)
    await scene.nothing("mallory")
    assert (await scene.auth.session(own.name)).state == pb.ConnectSession.STATE_FAILED


async def test_the_code_of_a_thief_cannot_be_put_into_the_session_of_a_victim(scene: Scene) -> None:
    victim = await scene.begin()
    state = parse_qs(urlsplit(victim.authorization_url).query)["state"][0]
    planted = (await scene.returned(await scene.begin("mallory", connection_id="bait"), login="mallory"))["code"]
    await scene.attempt(state=state, code=planted, iss=scene.honest.issuer)
    await scene.nothing("acme", "mallory")


async def test_two_sessions_cannot_swap_their_codes(scene: Scene) -> None:
    one = await scene.returned(await scene.begin(connection_id="one"))
    two = await scene.returned(await scene.begin(connection_id="two"))
    await scene.attempt(**(one | {"code": two["code"]}))
    await scene.attempt(**(two | {"code": one["code"]}))
    await scene.nothing()


async def test_a_code_of_another_server_is_refused(scene: Scene) -> None:
    session = await scene.begin()
    state = parse_qs(urlsplit(session.authorization_url).query)["state"][0]
    foreign = await scene.returned(await scene.begin("mallory", "trap", connection_id="bait"))
    # The mix-up attack (RFC 9207 section 4): the code never reaches the honest server's token endpoint.
    await scene.attempt(state=state, code=foreign["code"], iss=foreign["iss"])
    await scene.nothing()
    assert (await scene.auth.session(session.name)).error == "issuer"


@pytest.mark.parametrize("issuer", ["missing", "other", "slash", "upper", "prefix", "suffix", "scheme", "space"])
async def test_a_wrong_issuer_is_refused_whatever_else_is_right(scene: Scene, issuer: str) -> None:
    back = await scene.returned(await scene.begin())
    true = scene.honest.issuer
    said = {
        "missing": "",
        "other": scene.other.issuer,
        "slash": f"{true}/",
        "upper": true.upper(),
        "prefix": f"{true}.evil.example",
        "suffix": f"http://evil.example/{true}",
        "scheme": true.replace("http://", "https://"),
        "space": f" {true}",
    }[issuer]
    await scene.attempt(**(back | {"iss": said}))
    await scene.nothing()


async def test_the_person_cannot_be_sent_out_without_pkce(scene: Scene) -> None:
    session = await scene.begin()
    # A downgrade: the attacker takes the challenge out of the URL, or sets its own. The server either refuses, or gives
    # a code that our verifier does not fit.
    for changes in (
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "A" * 43},
    ):
        with contextlib.suppress(AssertionError, aiohttp.ClientError):
            back = await signed_in(altered(session.authorization_url, **changes))
            if "code" in back:
                await scene.attempt(code=back["code"], state=back["state"], iss=back["iss"])
    await scene.nothing()


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/connect/callback",
        "https://cordboard.test.evil.example/connect/callback",
        "https://cordboard.test/connect/callback/",
        "https://cordboard.test/connect/callback?next=https://evil.example",
        "https://cordboard.test/connect/callback#fragment",
        "https://cordboard.test/connect/../connect/callback",
        "http://cordboard.test/connect/callback",
        "https://CORDBOARD.test@evil.example/connect/callback",
        "//evil.example",
        "javascript:alert(1)",
    ],
)
async def test_another_redirect_uri_gets_no_code(scene: Scene, target: str) -> None:
    session = await scene.begin()
    with pytest.raises(AssertionError):
        await signed_in(altered(session.authorization_url, redirect_uri=target), until=target)
    await scene.nothing()


async def test_a_return_without_a_code_or_with_an_error_connects_nothing(scene: Scene) -> None:
    for query in (
        {},
        {"error": "access_denied"},
        {"error": "access_denied", "code": "given"},
        {"error": "<script>alert(1)</script>"},
        {"code": "made-up"},
        {"code": "a" * 20_000},
        {"code": "new\r\nline"},
    ):
        session = await scene.begin()
        state = parse_qs(urlsplit(session.authorization_url).query)["state"][0]
        with contextlib.suppress(grpc.aio.AioRpcError):
            page = await scene.auth.call_back(**({"state": state, "iss": scene.honest.issuer} | query))
            assert "<script" not in page
    await scene.nothing()


async def test_an_expired_session_takes_nobody_back(scene: Scene) -> None:
    back = await scene.returned(await scene.begin())
    await scene.auth.sql("UPDATE connect_session SET expire_time = now() - interval '1 second'")
    await scene.attempt(**back)
    await scene.nothing()


async def test_another_browser_cannot_finish_what_one_began(scene: Scene) -> None:
    binding = secrets.token_urlsafe(32)
    for cookie in ("", secrets.token_urlsafe(32), binding[:-1], f"{binding}x"):
        back = await scene.returned(await scene.begin(browser_binding=binding))
        stub = ConnectServiceStub(scene.auth.served.channel("envoy"))
        brought = (("cookie", f"__Host-cordboard-connect={cookie}"),) if cookie else ()
        answer = await stub.HandleCallback(pb.HandleCallbackRequest(**back), metadata=brought)
        assert b"browser" in answer.data
    await scene.nothing()
    # The control: the browser that was bound comes back.
    back = await scene.returned(await scene.begin(browser_binding=binding))
    stub = ConnectServiceStub(scene.auth.served.channel("envoy"))
    cookies = (("cookie", f"other=1; __Host-cordboard-connect={binding}"),)
    answer = await stub.HandleCallback(pb.HandleCallbackRequest(**back), metadata=cookies)
    assert b"is connected" in answer.data


async def test_a_session_belongs_to_its_workspace(scene: Scene) -> None:
    session = await scene.begin()
    thief = await scene.auth.as_member(ConnectServiceStub, "mallory")
    for name in (session.name, session.name.replace("acme", "mallory")):
        assert (await refused(thief.GetConnectSession(pb.GetConnectSessionRequest(name=name))))[0] == "NOT_FOUND"
        wrong = pb.SubmitConnectSessionRequest(name=name)
        assert (await refused(thief.SubmitConnectSession(wrong)))[0] == "NOT_FOUND"
    await scene.nothing("acme", "mallory")


async def test_an_id_that_another_integration_took_meanwhile_is_not_overwritten(scene: Scene) -> None:
    first = await scene.begin(connection_id="shared")
    second = await scene.begin(slug="trap", connection_id="shared")
    await scene.auth.call_back(**await scene.returned(first))
    page = await scene.auth.call_back(**await scene.returned(second))
    assert "was not connected" in page
    assert (await scene.auth.lease("shared")).connection.integration == "integrations/desk"
