"""LoginService: messages in, one domain call, messages out; and the cookies of browsers."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final

from google.api.httpbody_pb2 import HttpBody

from cordboard.auth import login_page
from cordboard.auth.callback_page import CONTENT_TYPE
from cordboard.auth.login import ATTEMPT_SECONDS, SignedIn, Wish
from cordboard.auth.v1 import login_service_pb2 as pb
from cordboard.auth.v1.login_service_pb2_grpc import LoginServiceServicer
from cordboard.common.v1 import options_pb2
from cordboard.core import headers
from cordboard.core.caller import current_caller
from cordboard.core.errors import DependencyUnavailable, OAuthFailed
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.auth.login import SignIn

# The prefix makes browsers take them from this very host alone, over TLS alone (RFC 6265bis section 4.1.3.2).
BINDING: Final = "__Host-cordboard-login"
SESSION: Final = "__Host-cordboard-session"
NO_STORE: Final = ("cache-control", "no-store")


class LoginServicer(LoginServiceServicer):
    """Answers LoginService."""

    def __init__(self, sign_in: SignIn, *, session_seconds: float) -> None:
        """Takes how many seconds a browser keeps its session."""
        self._sign_in = sign_in
        self._session_seconds = int(session_seconds)

    async def BeginLogin(self, request: pb.BeginLoginRequest, context: Any) -> pb.BeginLoginResponse:
        wish = Wish(request.redirect_uri, request.code_challenge, request.state, request.return_path)
        begun = await self._sign_in.begin(wish)
        if begun.binding is not None:
            # Lax: the provider's page leads back to us, and Strict would keep the cookie from coming along.
            await context.send_initial_metadata((_cookie(BINDING, begun.binding.reveal(), ATTEMPT_SECONDS, "Lax"),))
        return pb.BeginLoginResponse(authorization_url=begun.url)

    async def HandleLoginCallback(self, request: pb.HandleLoginCallbackRequest, context: Any) -> HttpBody:
        cookies = [_cookie(BINDING, "", 0, "Lax")]
        try:
            done = await self._sign_in.finish(
                request.state, request.code, request.iss, request.error, _sent(context, BINDING)
            )
        except OAuthFailed as error:
            page = login_page.refused(error.metadata["problem"])
        except DependencyUnavailable as error:
            page = login_page.refused(error.text)
        else:
            page = (
                login_page.refused(done.problem, done.location) if done.problem else login_page.signed_in(done.location)
            )
            if done.session is not None:
                cookies.append(_cookie(SESSION, done.session.reveal(), self._session_seconds, "Strict"))
        await context.send_initial_metadata((*page.headers, *cookies))
        return HttpBody(content_type=CONTENT_TYPE, data=page.text.encode())

    async def CompleteLogin(self, request: pb.CompleteLoginRequest, context: Any) -> pb.CompleteLoginResponse:
        found = await self._sign_in.complete(request.code, request.code_verifier)
        await context.send_initial_metadata((NO_STORE,))
        return _message(found)

    async def IssueSessionToken(self, _: pb.IssueSessionTokenRequest, context: Any) -> pb.CompleteLoginResponse:
        found = await self._sign_in.session_token(_sent(context, SESSION))
        await context.send_initial_metadata((NO_STORE,))
        return _message(found)

    async def InviteBrowser(self, _: pb.InviteBrowserRequest, context: Any) -> pb.InviteBrowserResponse:
        made = await self._sign_in.invite(current_caller())
        await context.send_initial_metadata((NO_STORE,))
        return pb.InviteBrowserResponse(code=made.code.reveal(), expire_time=to_timestamp(made.expire_time))

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> pb.CompleteLoginResponse:
        session, found = await self._sign_in.open_session(request.code)
        cookie = _cookie(SESSION, session.reveal(), self._session_seconds, "Strict")
        await context.send_initial_metadata((NO_STORE, cookie))
        return _message(found)

    async def EndSession(self, _: pb.EndSessionRequest, context: Any) -> pb.EndSessionResponse:
        await self._sign_in.end_session(_sent(context, SESSION))
        await context.send_initial_metadata((_cookie(SESSION, "", 0, "Strict"),))
        return pb.EndSessionResponse()


def _message(found: SignedIn) -> pb.CompleteLoginResponse:
    return pb.CompleteLoginResponse(
        access_token=found.issued.token.reveal(),
        expire_time=to_timestamp(found.issued.expire_time),
        subject=found.subject,
        roles=[options_pb2.Role.Value(f"ROLE_{role.upper().replace('-', '_')}") for role in found.roles],
    )


def _cookie(name: str, value: str, seconds: int, same_site: str) -> tuple[str, str]:
    return "set-cookie", f"{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={seconds}"


def _sent(context: Any, name: str) -> str:
    # HTTP/2 may send each cookie in a header of its own.
    for cookies in headers.values(context, "cookie"):
        try:
            found = SimpleCookie(cookies).get(name)
        except CookieError:
            continue
        if found is not None:
            return found.value
    return ""
