"""Sign-in of operators at a real OpenID provider (npm oidc-provider): both ways that end well, and what may not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import grpc
import pytest

from cordboard.auth.oidc import challenge
from cordboard.auth.v1 import login_service_pb2 as pb
from cordboard.auth.v1 import revocation_service_pb2 as revocation_pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.v1.login_service_pb2_grpc import LoginServiceStub
from cordboard.auth.v1.revocation_service_pb2_grpc import RevocationServiceStub
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.common.v1 import options_pb2 as roles
from tests.fixtures.auth import PUBLIC_URL, STATE_CONFLICT, Auth, refused
from tests.fixtures.oidc import CLIENT, INSTALLED, SECRET, Provider, provider, signed_in
from tests.fixtures.serving import Served

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not INSTALLED, reason="Node.js or its packages are missing (`make node`): NO real OpenID provider is tried"
    ),
]
CALLBACK = f"{PUBLIC_URL}/login/callback"
PROGRAM = "http://127.0.0.1:49152/callback"
PEOPLE = {
    "ada": {"email": "Ada@Example.com", "email_verified": True, "groups": ["staff", "operators"]},
    "bob": {"email": "bob@example.com", "email_verified": True, "groups": ["staff"]},
    "eve": {"email": "root@example.com", "email_verified": False, "groups": []},
    "pat": {"groups": "publishing"},
}
RULES = ("group:operators=operator", "email:root@example.com=operator", "group:publishing=publisher")
BINDING, SESSION = "__Host-cordboard-login", "__Host-cordboard-session"


@dataclass
class Scene:
    """An Auth at which people of a real provider sign in."""

    auth: Auth
    served: Served
    provider: Provider

    def stub(self) -> Any:
        """Returns LoginService as Envoy reaches it."""
        return LoginServiceStub(self.served.channel("envoy"))

    async def begin(self, verifier: str = "", **fields: Any) -> tuple[str, str]:
        """Begins: for a program with a verifier, for a browser without; returns the URL, and the browser's cookie."""
        if verifier:
            fields = {"redirect_uri": PROGRAM, "code_challenge": challenge(verifier), "state": "mine"} | fields
        call = self.stub().BeginLogin(pb.BeginLoginRequest(**fields))
        return (await call).authorization_url, cookies(await call.initial_metadata()).get(BINDING, "")

    async def returned(self, url: str, login: str = "ada") -> dict[str, str]:
        """Has a person sign in, and returns what the browser brings back."""
        query = await signed_in(url, login=login, until=CALLBACK)
        return {name: value for name, value in query.items() if name in ("code", "state", "iss", "error")}

    async def come_back(self, cookie: str = "", **query: str) -> tuple[str, dict[str, str]]:
        """Comes back as a browser does; returns the page and the cookies that it sets."""
        sent = (("cookie", f"theme=dark; {BINDING}={cookie}"),) if cookie else ()
        call = self.stub().HandleLoginCallback(pb.HandleLoginCallbackRequest(**query), metadata=sent)
        return (await call).data.decode(), cookies(await call.initial_metadata())

    async def program(self, verifier: str, login: str = "ada") -> dict[str, str]:
        """Signs in for a program; returns what its loopback port is sent."""
        url, _ = await self.begin(verifier)
        page, set_cookies = await self.come_back(**await self.returned(url, login))
        assert set_cookies.get(SESSION) is None
        return sent_on(page)

    async def complete(self, code: str, verifier: str) -> pb.CompleteLoginResponse:
        """Takes the token for a code."""
        done: pb.CompleteLoginResponse = await self.stub().CompleteLogin(
            pb.CompleteLoginRequest(code=code, code_verifier=verifier)
        )
        return done

    async def browser(self, login: str = "ada") -> str:
        """Signs a browser in; returns its session."""
        url, binding = await self.begin(return_path="/console/")
        page, set_cookies = await self.come_back(binding, **await self.returned(url, login))
        assert "You are signed in" in page
        assert 'content="0;url=/console/"' in page
        return set_cookies[SESSION]

    async def session_token(self, session: str) -> pb.CompleteLoginResponse:
        """Takes a token for a session's cookie."""
        done: pb.CompleteLoginResponse = await self.stub().IssueSessionToken(
            pb.IssueSessionTokenRequest(), metadata=(("cookie", f"{SESSION}={session}"),)
        )
        return done

    async def works(self, token: str) -> bool:
        """Tells whether a token is an operator's that is good."""
        stub = WorkspaceServiceStub(self.served.channel("envoy", token))
        try:
            await stub.ListWorkspaces(workspace_pb.ListWorkspacesRequest())
        except grpc.aio.AioRpcError as error:
            assert error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            return False
        return True

    async def journal(self) -> list[tuple[str, str, str]]:
        """Returns action, outcome and subject of every entry about sign-ins."""
        found = await self.auth.sql(
            "SELECT body::json->>'action', body::json->>'outcome', body::json->'details'->>'subject' FROM audit_entry "
            "WHERE body::json->>'action' LIKE 'auth.login.%' ORDER BY sequence"
        )
        return [tuple(row) for row in found]

    async def nobody(self) -> None:
        """Checks that no session and no code came into being."""
        assert await self.auth.sql("SELECT 1 FROM operator_session") == []
        assert await self.auth.sql("SELECT 1 FROM login_code") == []


def cookies(metadata: Any) -> dict[str, str]:
    """Returns the cookies that an answer sets, and checks how they are kept."""
    found: dict[str, str] = {}
    for name, value in metadata:
        if name == "set-cookie":
            [(key, morsel)] = SimpleCookie(value).items()
            assert morsel["secure"]
            assert morsel["httponly"]
            assert morsel["path"] == "/"
            assert not morsel["domain"]
            assert morsel["samesite"] == ("Strict" if key == SESSION else "Lax")
            if morsel.value:
                found[key] = morsel.value
    return found


def sent_on(page: str) -> dict[str, str]:
    """Returns the query with which a page goes on to the program."""
    target = page.partition('content="0;url=')[2].partition('"')[0].replace("&amp;", "&")
    assert target.startswith(f"{PROGRAM}?"), page
    return dict(parse_qsl(urlsplit(target).query))


def altered(url: str, **changes: str | None) -> str:
    """Returns an authorization URL with other parameters; None takes one out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | changes
    return urlunsplit(parts._replace(query=urlencode({name: value for name, value in query.items() if value})))


@pytest.fixture
async def scene(auth: Auth, tmp_path: Any) -> AsyncIterator[Scene]:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    async with provider(CALLBACK, people=PEOPLE) as running:
        settings = {
            "login_issuer": running.issuer,
            "login_client_id": CLIENT,
            "login_client_secret_file": file,
            "login_roles": RULES,
            "login_allowed_networks": ("127.0.0.0/8",),
        }
        async with auth.replica(**settings) as served:
            yield Scene(auth, served, running)


async def test_a_program_signs_a_person_in_and_gets_a_token_once(scene: Scene) -> None:
    verifier = secrets.token_urlsafe(32)
    told = await scene.program(verifier)
    assert (set(told), told["state"]) == ({"code", "state"}, "mine")
    done = await scene.complete(told["code"], verifier)
    assert (done.subject, list(done.roles)) == ("ada@example.com", [roles.ROLE_OPERATOR])
    assert await scene.works(done.access_token)
    assert (await refused(scene.complete(told["code"], verifier)))[1] == "OAUTH_FAILED"
    assert await scene.journal() == [("auth.login.succeed", "ok", "ada@example.com")]


async def test_a_browser_signs_a_person_in_gets_tokens_for_its_cookie_and_ends_it(scene: Scene) -> None:
    session = await scene.browser()
    for _ in range(2):
        done = await scene.session_token(session)
        assert (done.subject, list(done.roles)) == ("ada@example.com", [roles.ROLE_OPERATOR])
        assert await scene.works(done.access_token)
    ended = scene.stub().EndSession(pb.EndSessionRequest(), metadata=(("cookie", f"{SESSION}={session}"),))
    await ended
    assert cookies(await ended.initial_metadata()) == {}
    assert (await refused(scene.session_token(session)))[:2] == ("UNAUTHENTICATED", "TOKEN_INVALID")
    actions = [action for action, _, _ in await scene.journal()]
    assert actions == ["auth.login.succeed", "auth.login.end"]


async def test_who_has_no_rule_has_no_role_and_is_told(scene: Scene) -> None:
    for login in ("bob", "eve", "nobody"):  # eve's address is not verified, and so it is not eve's
        told = await scene.program(secrets.token_urlsafe(32), login)
        assert told == {"error": "access_denied", "error_description": "this person has no role here", "state": "mine"}
        url, binding = await scene.begin()
        page, set_cookies = await scene.come_back(binding, **await scene.returned(url, login))
        assert "no role here" in page
        assert SESSION not in set_cookies
    await scene.nobody()
    journal = await scene.journal()
    assert {each[:2] for each in journal} == {("auth.login.refuse", "OAUTH_FAILED")}
    assert [each[2] for each in journal[::2]] == ["bob@example.com", "eve", "nobody"]
    # The control: one who has a rule, by a claim that is no list.
    verifier = secrets.token_urlsafe(32)
    done = await scene.complete((await scene.program(verifier, "pat"))["code"], verifier)
    assert list(done.roles) == [roles.ROLE_PUBLISHER]


async def test_a_state_that_was_made_up_or_spoilt_ends_nowhere(scene: Scene) -> None:
    url, binding = await scene.begin()
    back = await scene.returned(url)
    state = back["state"]
    for each in (
        "", "x", state[:-1], f"{state}A", state.swapcase(), f" {state}", f"{state}\n", "é" * 43, "a" * 8000,
        secrets.token_urlsafe(32), "' OR 1=1 --",
    ):  # fmt: skip
        page, set_cookies = await scene.come_back(binding, **(back | {"state": each}))
        assert "You are not signed in" in page
        assert SESSION not in set_cookies
    await scene.nobody()
    # The control: none of them used the state up.
    assert SESSION in (await scene.come_back(binding, **back))[1]


async def test_a_return_counts_once_even_when_it_comes_many_times_at_once(scene: Scene) -> None:
    url, binding = await scene.begin()
    back = await scene.returned(url)
    answers = await asyncio.gather(*(scene.come_back(binding, **back) for _ in range(8)))
    assert sum(SESSION in set_cookies for _, set_cookies in answers) == 1


async def test_another_browser_cannot_finish_what_one_began(scene: Scene) -> None:
    for wrong in (lambda _: "", lambda _: secrets.token_urlsafe(32), lambda own: own[:-1], lambda own: f"{own}x"):
        url, binding = await scene.begin()
        page, _ = await scene.come_back(wrong(binding), **await scene.returned(url))
        assert "another browser" in page
    await scene.nobody()


async def test_codes_of_two_people_cannot_be_swapped(scene: Scene) -> None:
    one_url, one_binding = await scene.begin()
    two_url, _ = await scene.begin()
    one, two = await scene.returned(one_url), await scene.returned(two_url, "pat")
    # PKCE and the nonce tie a code to the sign-in that it was asked for in.
    page, _ = await scene.come_back(one_binding, **(one | {"code": two["code"]}))
    assert "You are not signed in" in page
    await scene.nobody()


async def test_a_sign_in_without_the_nonce_or_the_challenge_that_was_sent_is_refused(scene: Scene) -> None:
    for changes in (
        {"nonce": None},
        {"nonce": "mine"},
        {"code_challenge": challenge("a" * 43)},
        {"code_challenge_method": "plain"},
        {"scope": "email"},
    ):
        url, binding = await scene.begin()
        try:
            back = await scene.returned(altered(url, **changes))
        except (AssertionError, aiohttp.ClientError):
            continue  # the provider itself refuses
        page, _ = await scene.come_back(binding, **back)
        assert "You are not signed in" in page
    await scene.nobody()


async def test_an_answer_of_another_issuer_is_refused(scene: Scene) -> None:
    true = scene.provider.issuer
    https = true.replace("http://", "https://")
    for said in ("", "https://elsewhere.example", f"{true}/", true.upper(), f"{true}.evil.example", https):
        url, binding = await scene.begin()
        page, _ = await scene.come_back(binding, **(await scene.returned(url) | {"iss": said}))
        assert "issuer_mismatch" in page
    await scene.nobody()


async def test_a_return_without_a_code_or_with_an_error_lets_nobody_in(scene: Scene) -> None:
    for query in ({}, {"error": "access_denied"}, {"error": "<script>", "code": "x"}, {"code": "made-up"}):
        url, binding = await scene.begin()
        state = parse_qs(urlsplit(url).query)["state"][0]
        page, _ = await scene.come_back(binding, state=state, iss=scene.provider.issuer, **query)
        assert "You are not signed in" in page
        assert "<script" not in page
    await scene.nobody()


async def test_a_code_is_worth_nothing_without_its_verifier(scene: Scene) -> None:
    verifier = secrets.token_urlsafe(32)
    for wrong in ("", "a" * 43, verifier[:-1], f"{verifier}x", challenge(verifier)):
        told = await scene.program(verifier)
        assert (await refused(scene.complete(told["code"], wrong)))[1] in ("OAUTH_FAILED", "INVALID_FIELDS")
    # A code that went wrong once is gone: whoever has stolen it cannot go on guessing.
    told = await scene.program(verifier)
    await refused(scene.complete(told["code"], "a" * 43))
    assert (await refused(scene.complete(told["code"], verifier)))[1] == "OAUTH_FAILED"


async def test_what_is_over_is_over(scene: Scene) -> None:
    url, binding = await scene.begin()
    back = await scene.returned(url)
    await scene.auth.sql("UPDATE login_attempt SET expire_time = now() - interval '1 second'")
    assert "over" in (await scene.come_back(binding, **back))[0]
    verifier = secrets.token_urlsafe(32)
    told = await scene.program(verifier)
    await scene.auth.sql("UPDATE login_code SET expire_time = now() - interval '1 second'")
    assert (await refused(scene.complete(told["code"], verifier)))[1] == "OAUTH_FAILED"
    session = await scene.browser()
    await scene.auth.sql("UPDATE operator_session SET expire_time = now() - interval '1 second'")
    assert (await refused(scene.session_token(session)))[0] == "UNAUTHENTICATED"


async def test_ending_all_operators_tokens_ends_their_sessions(scene: Scene) -> None:
    session = await scene.browser()
    before = (await scene.session_token(session)).access_token
    stub = RevocationServiceStub(scene.served.channel("envoy", before))
    await stub.RevokeAllTokens(revocation_pb.RevokeAllTokensRequest(operators=True))
    assert (await refused(scene.session_token(session)))[0] == "UNAUTHENTICATED"
    assert (await scene.session_token(await scene.browser())).access_token


async def test_a_sign_in_that_would_lead_elsewhere_is_not_begun(auth: Auth) -> None:
    good = challenge("v" * 43)
    stub = LoginServiceStub(auth.served.channel("envoy"))
    for uri in (
        "https://evil.example/", "http://localhost:1234/", "http://127.0.0.1:1234/?next=x", "http://127.0.0.1:1/\r\nx",
        "http://127.0.0.1:1@evil.example/", "http://127.0.0.1/", "javascript:alert(1)", "http://0.0.0.0:1/",
    ):  # fmt: skip
        request = pb.BeginLoginRequest(redirect_uri=uri, code_challenge=good)
        assert (await refused(stub.BeginLogin(request)))[1:] == ("INVALID_FIELDS", ["redirect_uri"]), uri
    for field, value in (
        ("code_challenge", ""), ("code_challenge", "short"), ("state", "a b"), ("return_path", "//evil.example"),
        ("return_path", "https://evil.example"), ("return_path", "/\\evil.example"), ("return_path", '/a"><script>'),
    ):  # fmt: skip
        fields = {"redirect_uri": PROGRAM, "code_challenge": good} | {field: value}
        assert (await refused(stub.BeginLogin(pb.BeginLoginRequest(**fields))))[1:] == ("INVALID_FIELDS", [field])


async def test_without_a_provider_nobody_signs_in(auth: Auth) -> None:
    stub = LoginServiceStub(auth.served.channel("envoy"))
    assert await refused(stub.BeginLogin(pb.BeginLoginRequest())) == STATE_CONFLICT
    assert await refused(stub.HandleLoginCallback(pb.HandleLoginCallbackRequest(code="x", state="y"))) == STATE_CONFLICT
