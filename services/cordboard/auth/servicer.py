"""Auth's RPCs: messages in, one domain call, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from cordboard.auth import messages
from cordboard.auth.callback_page import CONTENT_TYPE
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1 import token_service_pb2 as token_pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceServicer
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceServicer
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceServicer
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceServicer
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceServicer
from cordboard.core import headers
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.layers import shown_certificate
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.secrets import Secret
from cordboard.core.times import to_seconds, to_timestamp

if TYPE_CHECKING:
    from cordboard.auth.callback_page import CallbackPage
    from cordboard.auth.clients import OAuthClients
    from cordboard.auth.configurations import Configurations
    from cordboard.auth.connect import Connect
    from cordboard.auth.connections import Connection, Connections
    from cordboard.auth.leases import Leases
    from cordboard.auth.relay import Relay
    from cordboard.auth.signing_keys import SigningKeys
    from cordboard.auth.tokens import TokenIssuer
    from cordboard.auth.workspaces import Workspaces

CONNECTION = "workspaces/*/connections/*"
SESSION = "workspaces/*/connectSessions/*"
CLIENT = "integrations/*/oauthClient"
WORKSPACE_CLIENT = "workspaces/*/integrations/*/oauthClient"
CONFIGURATION = "workspaces/*/integrations/*/configuration"


class WorkspaceServicer(WorkspaceServiceServicer):
    """Answers WorkspaceService."""

    def __init__(self, workspaces: Workspaces) -> None:
        """Takes the workspaces."""
        self._workspaces = workspaces

    async def CreateWorkspace(self, request: workspace_pb.CreateWorkspaceRequest, _: Any) -> workspace_pb.Workspace:
        values = messages.workspace_values(request.workspace)
        return messages.workspace_message(await self._workspaces.create(request.workspace_id, values))

    async def GetWorkspace(self, request: workspace_pb.GetWorkspaceRequest, _: Any) -> workspace_pb.Workspace:
        (workspace,) = parse(request.name, "workspaces/*")
        return messages.workspace_message(await self._workspaces.workspace(workspace))

    async def ListWorkspaces(
        self, request: workspace_pb.ListWorkspacesRequest, _: Any
    ) -> workspace_pb.ListWorkspacesResponse:
        page = Paging.of(request)
        found = await self._workspaces.workspaces(after=page.after, limit=page.size + 1)
        response = workspace_pb.ListWorkspacesResponse(
            workspaces=[messages.workspace_message(workspace) for workspace in found[: page.size]]
        )
        if len(found) > page.size:
            response.next_page_token = page.token(found[page.size - 1].id)
        return response

    async def UpdateWorkspace(self, request: workspace_pb.UpdateWorkspaceRequest, _: Any) -> workspace_pb.Workspace:
        (workspace,) = parse(request.workspace.name, "workspaces/*", field="workspace.name")
        values, paths = messages.workspace_values(request.workspace), request.update_mask.paths
        changed = await self._workspaces.update(workspace, values, paths, request.workspace.etag)
        return messages.workspace_message(changed)


class TokenServicer(TokenServiceServicer):
    """Answers TokenService."""

    def __init__(self, issuer: TokenIssuer, keys: SigningKeys, *, jwks_max_age: int) -> None:
        """Takes how many seconds a verifier may keep the key set."""
        self._issuer = issuer
        self._keys = keys
        self._headers = (("cache-control", f"public, max-age={jwks_max_age}"),)

    async def IssueToken(self, request: token_pb.IssueTokenRequest, _: Any) -> token_pb.IssueTokenResponse:
        issued = await self._issuer.issue(messages.token_wish(request), current_caller())
        return token_pb.IssueTokenResponse(
            access_token=issued.token.reveal(), expire_time=to_timestamp(issued.expire_time), token_id=issued.id
        )

    async def RefreshToken(self, request: token_pb.RefreshTokenRequest, context: Any) -> token_pb.IssueTokenResponse:
        caller = current_caller()
        certificate = shown_certificate(context, caller.peer) if request.bind_certificate else ""
        if request.bind_certificate and not certificate:
            raise InvalidFields([Violation("bind_certificate", "this call came with no client certificate")])
        seconds = to_seconds(request.ttl) if request.HasField("ttl") else None
        issued = await self._issuer.refresh(caller, seconds, certificate)
        return token_pb.IssueTokenResponse(
            access_token=issued.token.reveal(), expire_time=to_timestamp(issued.expire_time), token_id=issued.id
        )

    async def GetJwks(self, _request: token_pb.GetJwksRequest, context: Any) -> HttpBody:
        jwks = await self._keys.jwks()
        await context.send_initial_metadata(self._headers)
        return HttpBody(content_type="application/jwk-set+json", data=jwks.encode())

    async def RotateSigningKey(self, _request: token_pb.RotateSigningKeyRequest, _: Any) -> token_pb.SigningKey:
        return messages.signing_key_message(await self._keys.rotate())

    async def RevokeSigningKey(
        self, request: token_pb.RevokeSigningKeyRequest, _context: Any
    ) -> token_pb.RevokeSigningKeyResponse:
        # A thumbprint can begin with a hyphen or an underscore, which no other id does.
        collection, _, kid = request.name.partition("/")
        if collection != "signingKeys" or not kid:
            parse(request.name, "signingKeys/*")
        signs = await self._keys.revoke(kid, request.reason, current_caller().actor)
        return token_pb.RevokeSigningKeyResponse(signing_key=messages.signing_key_message(signs))

    async def ListSigningKeys(
        self, _request: token_pb.ListSigningKeysRequest, _: Any
    ) -> token_pb.ListSigningKeysResponse:
        keys = await self._keys.keys()
        return token_pb.ListSigningKeysResponse(signing_keys=[messages.signing_key_message(key) for key in keys])


class ConnectServicer(ConnectServiceServicer):
    """Answers ConnectService."""

    def __init__(self, connect: Connect, clients: OAuthClients, page: CallbackPage, relay: Relay) -> None:
        """Takes the page that a person sees at the end, and what knows the browsers that only pass."""
        self._connect = connect
        self._clients = clients
        self._page = page
        self._relay = relay

    async def CreateConnectSession(
        self, request: connect_pb.CreateConnectSessionRequest, _: Any
    ) -> connect_pb.ConnectSession:
        wish, caller = messages.connect_wish(request), current_caller()
        begun = await self._connect.begin(wish, environment=caller.environment, actor=caller.actor)
        return messages.session_message(begun)

    async def GetConnectSession(
        self, request: connect_pb.GetConnectSessionRequest, _: Any
    ) -> connect_pb.ConnectSession:
        workspace, session = parse(request.name, SESSION)
        return messages.session_message(await self._connect.session(workspace, session))

    async def SubmitConnectSession(
        self, request: connect_pb.SubmitConnectSessionRequest, _: Any
    ) -> connection_pb.Connection:
        workspace, session = parse(request.name, SESSION)
        values = messages.typed_values(request.values)
        return messages.connection_message(await self._connect.submit(workspace, session, values))

    async def HandleCallback(self, request: connect_pb.HandleCallbackRequest, context: Any) -> HttpBody:
        onward = self._relay.onward(request.state, messages.callback_query(request))
        if onward:
            page = self._page.onward(onward)
        else:
            cookies = headers.values(context, "cookie")
            page = self._page.of(await self._connect.finish(messages.vendor_return(request, ";".join(cookies))))
        await context.send_initial_metadata(page.headers)
        return HttpBody(content_type=CONTENT_TYPE, data=page.text.encode())

    async def SetOAuthClient(self, request: connect_pb.SetOAuthClientRequest, _: Any) -> connect_pb.OAuthClient:
        (integration,) = parse(request.name, CLIENT)
        put = await self._clients.put(integration, request.client_id, Secret(request.client_secret))
        return messages.oauth_client_message(put)

    async def GetOAuthClient(self, request: connect_pb.GetOAuthClientRequest, _: Any) -> connect_pb.OAuthClient:
        (integration,) = parse(request.name, CLIENT)
        return messages.oauth_client_message(await self._clients.shown(integration))

    async def SetWorkspaceOAuthClient(
        self, request: connect_pb.SetWorkspaceOAuthClientRequest, _: Any
    ) -> connect_pb.OAuthClient:
        workspace, integration = parse(request.name, WORKSPACE_CLIENT)
        secret = Secret(request.client_secret)
        return messages.oauth_client_message(await self._clients.put(integration, request.client_id, secret, workspace))

    async def GetWorkspaceOAuthClient(
        self, request: connect_pb.GetWorkspaceOAuthClientRequest, _: Any
    ) -> connect_pb.OAuthClient:
        workspace, integration = parse(request.name, WORKSPACE_CLIENT)
        return messages.oauth_client_message(await self._clients.shown(integration, workspace))

    async def DeleteWorkspaceOAuthClient(self, request: connect_pb.DeleteWorkspaceOAuthClientRequest, _: Any) -> Empty:
        workspace, integration = parse(request.name, WORKSPACE_CLIENT)
        await self._clients.drop(integration, workspace)
        return Empty()


class ConnectionServicer(ConnectionServiceServicer):
    """Answers ConnectionService."""

    def __init__(self, connections: Connections, configurations: Configurations) -> None:
        """Takes the connections, and what workspaces have set for them."""
        self._connections = connections
        self._configurations = configurations
        # Most reads find a connection as it was: its message need not be made again.
        self._messages: WeakKeyDictionary[Connection, connection_pb.Connection] = WeakKeyDictionary()

    async def GetConnection(self, request: connection_pb.GetConnectionRequest, _: Any) -> connection_pb.Connection:
        found = await self._connections.connection(*parse(request.name, CONNECTION))
        message = self._messages.get(found)
        if message is None:
            message = self._messages[found] = messages.connection_message(found)
        return message

    async def ListConnections(
        self, request: connection_pb.ListConnectionsRequest, _: Any
    ) -> connection_pb.ListConnectionsResponse:
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        integration = messages.integration_filter(request.integration)
        page = Paging.of(request)
        found = await self._connections.connections(
            workspace, integration=integration, after=page.after, limit=page.size + 1
        )
        response = connection_pb.ListConnectionsResponse(
            connections=[messages.connection_message(connection) for connection in found[: page.size]]
        )
        if len(found) > page.size:
            response.next_page_token = page.token(found[page.size - 1].id)
        return response

    async def SetWorkspaceConfiguration(
        self, request: connection_pb.SetWorkspaceConfigurationRequest, _: Any
    ) -> connection_pb.WorkspaceConfiguration:
        workspace, integration = parse(request.name, CONFIGURATION)
        plain, secret = dict(request.values), dict(request.secret_values)
        return messages.configuration_message(await self._configurations.put(workspace, integration, plain, secret))

    async def GetWorkspaceConfiguration(
        self, request: connection_pb.GetWorkspaceConfigurationRequest, _: Any
    ) -> connection_pb.WorkspaceConfiguration:
        workspace, integration = parse(request.name, CONFIGURATION)
        return messages.configuration_message(await self._configurations.shown(workspace, integration))

    async def DeleteConnection(self, request: connection_pb.DeleteConnectionRequest, _: Any) -> Empty:
        workspace, connection = parse(request.name, CONNECTION)
        await self._connections.delete(workspace, connection)
        return Empty()


class CredentialServicer(CredentialServiceServicer):
    """Answers CredentialService."""

    def __init__(self, leases: Leases, connections: Connections) -> None:
        """Takes what gives credentials away, and what sees connections change."""
        self._leases = leases
        self._connections = connections

    async def LeaseCredential(
        self, request: credential_pb.LeaseCredentialRequest, _: Any
    ) -> credential_pb.LeaseCredentialResponse:
        workspace, connection = parse(request.connection, CONNECTION, field="connection")
        return messages.lease_message(await self._leases.lease(workspace, connection))

    async def ReportCredential(
        self, request: credential_pb.ReportCredentialRequest, _: Any
    ) -> credential_pb.ReportCredentialResponse:
        workspace, connection = parse(request.connection, CONNECTION, field="connection")
        heard = self._leases.accept if request.accepted else self._leases.report
        generation, ready = await heard(workspace, connection, request.generation)
        state = messages.connection_state(ready=ready)
        return credential_pb.ReportCredentialResponse(generation=generation, state=state)

    async def WatchConnections(
        self, request: credential_pb.WatchConnectionsRequest, _: Any
    ) -> AsyncIterator[credential_pb.WatchConnectionsResponse]:
        async for change in self._connections.changes(request.after_sequence):
            yield messages.change_message(change)
