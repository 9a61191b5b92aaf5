"""An operator who has a token lets one browser in: once, soon, with the roles of the token, and without the token."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from cordboard.auth.v1 import console_page_service_pb2 as page_pb
from cordboard.auth.v1 import login_service_pb2 as pb
from cordboard.auth.v1 import token_service_pb2 as token_pb
from cordboard.auth.v1.console_page_service_pb2_grpc import ConsolePageServiceStub
from cordboard.auth.v1.login_service_pb2_grpc import LoginServiceStub
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.common.v1 import options_pb2
from tests.fixtures.auth import STATE_CONFLICT, Auth, refused

SESSION = "__Host-cordboard-session"
OPERATOR, PUBLISHER = options_pb2.ROLE_OPERATOR, options_pb2.ROLE_PUBLISHER


async def issued(auth: Auth, *given: options_pb2.Role.ValueType, subject: str = "") -> Any:
    """Returns LoginService with a token of these roles."""
    request = token_pb.IssueTokenRequest(roles=given, subject=subject)
    answer = await TokenServiceStub(auth.served.channel("operator")).IssueToken(request)
    return LoginServiceStub(auth.served.channel("envoy", answer.access_token))


async def invited(auth: Auth, *given: options_pb2.Role.ValueType, subject: str = "operator") -> str:
    """Returns the code of an invitation by somebody with these roles."""
    stub = await issued(auth, *(given or (OPERATOR,)), subject=subject)
    return str((await stub.InviteBrowser(pb.InviteBrowserRequest())).code)


def browser(auth: Auth) -> Any:
    """Returns LoginService as a browser reaches it: through Envoy, without a token."""
    return LoginServiceStub(auth.served.channel("envoy"))


async def opened(auth: Auth, code: str) -> tuple[pb.CompleteLoginResponse, str]:
    """Opens a session; returns the answer and the cookie."""
    call = browser(auth).OpenSession(pb.OpenSessionRequest(code=code))
    answer, headers = await call, dict(await call.initial_metadata())
    assert headers["cache-control"] == "no-store"
    morsel = SimpleCookie(headers["set-cookie"])[SESSION]
    assert (morsel["secure"], morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, True, "Strict", "/")
    return answer, f"{SESSION}={morsel.value}"


async def test_a_browser_gets_a_session_of_whoever_invited_it(auth: Auth) -> None:
    answer, cookie = await opened(auth, await invited(auth, subject="ada@example.com"))
    assert (answer.subject, list(answer.roles)) == ("ada@example.com", [OPERATOR])
    again = await browser(auth).IssueSessionToken(pb.IssueSessionTokenRequest(), metadata=(("cookie", cookie),))
    assert again.subject == "ada@example.com"
    assert again.access_token != answer.access_token
    await browser(auth).EndSession(pb.EndSessionRequest(), metadata=(("cookie", cookie),))
    ended = browser(auth).IssueSessionToken(pb.IssueSessionTokenRequest(), metadata=(("cookie", cookie),))
    assert (await refused(ended))[0] == "UNAUTHENTICATED"


async def test_a_code_lets_one_browser_in_and_not_for_long(auth: Auth) -> None:
    code = await invited(auth)
    assert code not in str(await auth.sql("SELECT * FROM login_code")), "its hash alone is kept"
    await opened(auth, code)
    for wrong in (code, "", "x" * 43):
        told = await refused(browser(auth).OpenSession(pb.OpenSessionRequest(code=wrong)))
        assert told[1] in ("OAUTH_FAILED", "INVALID_FIELDS")
    late = await invited(auth)
    await auth.sql("UPDATE login_code SET expire_time = now() - interval '1 second'")
    assert (await refused(browser(auth).OpenSession(pb.OpenSessionRequest(code=late))))[1] == "OAUTH_FAILED"


async def test_a_session_has_no_role_that_its_inviter_has_not(auth: Auth) -> None:
    both, _ = await opened(auth, await invited(auth, OPERATOR, PUBLISHER))
    assert set(both.roles) == {OPERATOR, PUBLISHER}
    stub = await issued(auth, PUBLISHER)
    assert (await refused(stub.InviteBrowser(pb.InviteBrowserRequest())))[0] == "PERMISSION_DENIED"


async def test_who_has_a_bound_token_invites_nobody(auth: Auth, client_identity: Callable[[str], Path]) -> None:
    own = client_identity("edge-one")
    request = token_pb.IssueTokenRequest(roles=[OPERATOR], subject="operator")
    free = (await TokenServiceStub(auth.served.channel("operator")).IssueToken(request)).access_token
    refreshed = token_pb.RefreshTokenRequest(bind_certificate=True)
    bound = (await TokenServiceStub(auth.served.channel(own, free)).RefreshToken(refreshed)).access_token
    stub = LoginServiceStub(auth.served.channel(own, bound))
    assert await refused(stub.InviteBrowser(pb.InviteBrowserRequest())) == STATE_CONFLICT


async def test_an_invitation_is_no_code_of_a_program_and_the_other_way_round(auth: Auth) -> None:
    code = await invited(auth)
    request = pb.CompleteLoginRequest(code=code, code_verifier="v" * 43)
    assert (await refused(browser(auth).CompleteLogin(request)))[1] == "OAUTH_FAILED"
    await invited(auth)
    other = await invited(auth)
    await auth.sql("UPDATE login_code SET challenge = 'of a program'")
    assert (await refused(browser(auth).OpenSession(pb.OpenSessionRequest(code=other))))[1] == "OAUTH_FAILED"


async def test_the_page_of_the_console_names_files_that_are_there_and_lets_in_nothing_else(auth: Auth) -> None:
    stub = ConsolePageServiceStub(auth.served.channel("envoy"))
    call = stub.ShowConsolePage(page_pb.ShowConsolePageRequest())
    page, headers = (await call).data.decode(), dict(await call.initial_metadata())
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for name in ("js", "css"):
        (asset,) = [part for part in page.split('"') if part.endswith(f".{name}")]
        file = await stub.GetConsoleAsset(page_pb.GetConsoleAssetRequest(asset=asset.rpartition("/")[2]))
        assert len(file.data) > 1000
    missing = stub.GetConsoleAsset(page_pb.GetConsoleAssetRequest(asset="connect.js"))
    assert (await refused(missing))[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")
