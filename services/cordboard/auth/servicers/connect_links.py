"""ConnectLinkService and ConnectPageService: messages in, one domain call, messages out."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from google.api.httpbody_pb2 import HttpBody

from cordboard.auth.callback_page import CONTENT_TYPE
from cordboard.auth.connect_session import SESSION_SECONDS, Session, State
from cordboard.auth.links import Choice, Link, LinkState, Page
from cordboard.auth.messages import BINDING_COOKIE, typed_values
from cordboard.auth.page_forms import ACCEPT_LANGUAGE
from cordboard.auth.v1 import connect_link_service_pb2 as pb
from cordboard.auth.v1 import connect_page_service_pb2 as page_pb
from cordboard.auth.v1.connect_link_service_pb2_grpc import ConnectLinkServiceServicer
from cordboard.auth.v1.connect_page_service_pb2_grpc import ConnectPageServiceServicer
from cordboard.auth.wishes import Wish
from cordboard.core import headers
from cordboard.core.caller import current_caller
from cordboard.core.names import parse
from cordboard.core.secrets import Secret
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.auth.links import ConnectLinks
    from cordboard.auth.page_files import PageFiles

LINK: Final = "workspaces/*/connectLinks/*"
NO_STORE: Final = ("cache-control", "no-store")
_STATES: Final = {
    LinkState.PENDING: pb.ConnectLink.STATE_PENDING,
    LinkState.CONNECTED: pb.ConnectLink.STATE_CONNECTED,
    LinkState.EXPIRED: pb.ConnectLink.STATE_EXPIRED,
}


class ConnectLinkServicer(ConnectLinkServiceServicer):
    """Answers ConnectLinkService."""

    def __init__(self, links: ConnectLinks) -> None:
        """Takes the links."""
        self._links = links

    async def CreateConnectLink(self, request: pb.CreateConnectLinkRequest, context: Any) -> pb.ConnectLink:
        wish, caller = _wish(request), current_caller()
        schemes = tuple(dict.fromkeys(request.auth_schemes))
        made = await self._links.create(wish, schemes, environment=caller.environment, actor=caller.actor)
        await context.send_initial_metadata((NO_STORE,))
        return _link_message(made)

    async def GetConnectLink(self, request: pb.GetConnectLinkRequest, _: Any) -> pb.ConnectLink:
        return _link_message(await self._links.link(*parse(request.name, LINK)))


class ConnectPageServicer(ConnectPageServiceServicer):
    """Answers ConnectPageService."""

    def __init__(self, links: ConnectLinks, files: PageFiles) -> None:
        """Takes the page's files."""
        self._links = links
        self._files = files

    async def ShowConnectPage(self, request: page_pb.ShowConnectPageRequest, context: Any) -> HttpBody:
        page = self._files.page(await self._links.origin(request.link))
        await context.send_initial_metadata(page.headers)
        return HttpBody(content_type=CONTENT_TYPE, data=page.text.encode())

    async def GetConnectAsset(self, request: page_pb.GetConnectAssetRequest, context: Any) -> HttpBody:
        file = self._files.file(request.asset)
        await context.send_initial_metadata(file.headers)
        return HttpBody(content_type=file.content_type, data=file.data)

    async def OpenConnectPage(self, request: page_pb.OpenConnectPageRequest, context: Any) -> page_pb.ConnectPage:
        languages = headers.combined(context, ACCEPT_LANGUAGE)
        page = await self._links.open(request.link, request.key, brief=request.brief, languages=languages)
        await context.send_initial_metadata((NO_STORE,))
        return _page_message(page)

    async def SubmitConnectPage(self, request: page_pb.SubmitConnectPageRequest, context: Any) -> page_pb.ConnectPage:
        browser = Secret(secrets.token_urlsafe(32))
        values, settings = typed_values(request.values), dict(request.settings)
        page = await self._links.submit(
            request.link, request.key, Choice(request.auth_scheme, values, settings, browser)
        )
        await context.send_initial_metadata((NO_STORE, _cookie(browser)))
        return _page_message(page)


def _cookie(browser: Secret[str]) -> tuple[str, str]:
    # Lax: the vendor's page leads back to us, and Strict would keep the cookie from coming along.
    told = f"Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={SESSION_SECONDS}"
    return "set-cookie", f"{BINDING_COOKIE}={browser.reveal()}; {told}"


def _wish(request: pb.CreateConnectLinkRequest) -> Wish:
    (workspace,) = parse(request.parent, "workspaces/*", field="parent")
    (integration,) = parse(request.integration, "integrations/*", field="integration")
    return Wish(
        workspace=workspace,
        integration=integration,
        environment=request.environment,
        connection_id=request.connection_id,
        display_name=request.display_name,
        scopes=tuple(request.scopes),
        configuration=dict(request.configuration),
        secret_configuration=dict(request.secret_configuration),
        return_url=request.return_url,
        origin=request.origin,
    )


def _link_message(link: Link) -> pb.ConnectLink:
    return pb.ConnectLink(
        name=f"workspaces/{link.workspace}/connectLinks/{link.id}",
        integration=f"integrations/{link.integration}",
        environment=link.environment,
        state=_STATES[link.state],
        url="" if link.url is None else link.url.reveal(),
        connection=link.connection,
        error=link.error,
        expire_time=to_timestamp(link.expire_time),
        origin=link.origin,
        return_url=link.return_url,
    )


def _page_message(page: Page) -> page_pb.ConnectPage:
    link, session = page.link, page.session
    message = page_pb.ConnectPage(
        state=_page_state(link, session),
        integration_title=page.integration_title,
        workspace_title=page.workspace_title,
        settings=page.settings,
        problem=link.error,
        link=f"workspaces/{link.workspace}/connectLinks/{link.id}",
        connection=link.connection,
        verified=page.verified,
        verifiable=page.verifiable,
        origin=link.origin,
        return_url=link.return_url,
        expire_time=to_timestamp(link.expire_time),
    )
    for scheme in page.schemes:
        message.schemes.add(id=scheme.id, title=scheme.title, consents=scheme.consents, form=scheme.form)
    if session is not None and message.state == page_pb.ConnectPage.STATE_WAITING:
        message.authorization_url = "" if session.authorization_url is None else session.authorization_url.reveal()
        message.user_code = session.user_code
        message.verification_uri = session.verification_uri
        message.verification_uri_complete = session.verification_uri_complete
    return message


def _page_state(link: Link, session: Session | None) -> page_pb.ConnectPage.State.ValueType:
    if link.state is LinkState.CONNECTED:
        return page_pb.ConnectPage.STATE_CONNECTED
    if session is not None and session.state is State.PENDING:
        return page_pb.ConnectPage.STATE_WAITING
    return page_pb.ConnectPage.STATE_OPEN
