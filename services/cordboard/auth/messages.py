"""Auth's values as messages, and back."""

from __future__ import annotations

from typing import Final

from google.protobuf.struct_pb2 import Struct

from cordboard.auth import connect_session, signing_keys, wishes
from cordboard.auth.clients import OAuthClient
from cordboard.auth.configurations import Configuration
from cordboard.auth.connections import Connection, connection_name
from cordboard.auth.leases import Lease, LeasedPart
from cordboard.auth.roles import session_keys
from cordboard.auth.store.connections import ChangeRow
from cordboard.auth.tokens import Wish as TokenWish
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1 import token_service_pb2 as token_pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.workspaces import Workspace
from cordboard.common.v1.options_pb2 import Role
from cordboard.core.access import role_name
from cordboard.core.names import parse
from cordboard.core.secrets import Secret
from cordboard.core.structs import from_struct
from cordboard.core.times import to_duration, to_seconds, to_timestamp

_KEY_STATES: Final = {
    signing_keys.State.PUBLISHED: token_pb.SigningKey.STATE_PUBLISHED,
    signing_keys.State.SIGNING: token_pb.SigningKey.STATE_SIGNING,
    signing_keys.State.VERIFYING: token_pb.SigningKey.STATE_VERIFYING,
}
# What the browser of a person brings back; the prefix keeps other hosts and plain HTTP from setting it.
BINDING_COOKIE: Final = "__Host-cordboard-connect"
_SESSION_STATES: Final = {
    connect_session.State.PENDING: connect_pb.ConnectSession.STATE_PENDING,
    connect_session.State.CONNECTED: connect_pb.ConnectSession.STATE_CONNECTED,
    connect_session.State.FAILED: connect_pb.ConnectSession.STATE_FAILED,
    connect_session.State.EXPIRED: connect_pb.ConnectSession.STATE_EXPIRED,
}


def workspace_message(workspace: Workspace) -> workspace_pb.Workspace:
    """Returns a workspace."""
    return workspace_pb.Workspace(
        name=f"workspaces/{workspace.id}",
        display_name=workspace.display_name,
        customer=workspace.customer,
        tier=workspace.tier,
        region=workspace.region,
        etag=workspace.etag,
        create_time=to_timestamp(workspace.create_time),
        update_time=to_timestamp(workspace.update_time),
    )


def workspace_values(message: workspace_pb.Workspace) -> dict[str, str]:
    """Returns what a caller may set of a workspace."""
    return {
        "display_name": message.display_name,
        "customer": message.customer,
        "tier": message.tier,
        "region": message.region,
    }


def signing_key_message(key: signing_keys.SigningKey) -> token_pb.SigningKey:
    """Returns a signing key."""
    return token_pb.SigningKey(
        name=f"signingKeys/{key.kid}",
        state=_KEY_STATES[key.state],
        create_time=to_timestamp(key.create_time),
        expire_time=None if key.expire_time is None else to_timestamp(key.expire_time),
    )


def token_wish(request: token_pb.IssueTokenRequest) -> TokenWish:
    """Returns the token that is asked for; a role that no token can carry stays in it as its number."""
    known = Role.values()
    return TokenWish(
        workspace=parse(request.workspace, "workspaces/*", field="workspace")[0] if request.workspace else "",
        environment=request.environment,
        roles=tuple(role_name(role) if role in known else str(role) for role in request.roles),
        subject=request.subject,
        seconds=to_seconds(request.ttl) if request.HasField("ttl") else None,
        certificate=request.certificate_thumbprint,
    )


def session_message(session: connect_session.Session) -> connect_pb.ConnectSession:
    """Returns a connect session."""
    url = session.authorization_url
    return connect_pb.ConnectSession(
        name=f"workspaces/{session.workspace}/connectSessions/{session.id}",
        integration=f"integrations/{session.integration}",
        auth_scheme=session.auth_scheme,
        environment=session.environment,
        state=_SESSION_STATES[session.state],
        authorization_url="" if url is None else url.reveal(),
        connection=session.connection,
        error=session.error,
        expire_time=to_timestamp(session.expire_time),
        user_code=session.user_code,
        verification_uri=session.verification_uri,
        verification_uri_complete=session.verification_uri_complete,
        return_url=session.return_url,
        origin=session.origin,
    )


def connect_wish(request: connect_pb.CreateConnectSessionRequest) -> wishes.Wish:
    """Returns what somebody wants to connect."""
    (workspace,) = parse(request.parent, "workspaces/*", field="parent")
    (integration,) = parse(request.integration, "integrations/*", field="integration")
    return wishes.Wish(
        workspace=workspace,
        integration=integration,
        auth_scheme=request.auth_scheme,
        environment=request.environment,
        connection_id=request.connection_id,
        display_name=request.display_name,
        scopes=tuple(request.scopes),
        configuration=dict(request.configuration),
        secret_configuration=dict(request.secret_configuration),
        values=from_struct(request.values, "values"),
        browser=Secret(request.browser_binding),
        return_url=request.return_url,
        origin=request.origin,
    )


def typed_values(values: Struct) -> dict[str, object]:
    """Returns what a person typed in."""
    return from_struct(values, "values")


def vendor_return(request: connect_pb.HandleCallbackRequest, cookie: str) -> connect_session.Return:
    """Returns what a vendor sent the person back with, and what the browser brought."""
    return connect_session.Return(
        Secret(request.state),
        Secret(request.code),
        request.iss,
        request.error,
        request.oauth_token,
        Secret(request.oauth_verifier),
        Secret(browser_binding(cookie)),
    )


def callback_query(request: connect_pb.HandleCallbackRequest) -> dict[str, str]:
    """Returns what a vendor sent the person back with, as it was sent."""
    return {field.name: value for field, value in request.ListFields()}


def browser_binding(header: str) -> str:
    """Returns what a browser's cookie header has for a connect session, or an empty text."""
    for each in header.split(";"):
        name, _, value = each.strip().partition("=")
        if name == BINDING_COOKIE:
            return value
    return ""


def oauth_client_message(client: OAuthClient) -> connect_pb.OAuthClient:
    """Returns an OAuth client, without its secret."""
    return connect_pb.OAuthClient(
        name=client.name,
        client_id=client.client_id,
        redirect_uri=client.redirect_uri,
        update_time=to_timestamp(client.update_time),
    )


def integration_filter(name: str) -> str:
    """Returns the integration that a list is bounded to, or an empty text."""
    return parse(name, "integrations/*", field="integration")[0] if name else ""


def connection_state(*, ready: bool) -> connection_pb.Connection.State.ValueType:
    """Returns whether a connection can be used."""
    states = connection_pb.Connection
    return states.STATE_READY if ready else states.STATE_RECONNECT_REQUIRED


def shown_state(connection: Connection) -> connection_pb.Connection.State.ValueType:
    """Returns whether a connection can be used, and whether the definition's check call has said so."""
    if connection.ready and connection.verification in ("pending", "failed"):
        return connection_pb.Connection.STATE_UNVERIFIED
    return connection_state(ready=connection.ready)


def configuration_message(configuration: Configuration) -> connection_pb.WorkspaceConfiguration:
    """Returns what a workspace has set, of secrets their names alone."""
    return connection_pb.WorkspaceConfiguration(
        name=f"workspaces/{configuration.workspace}/integrations/{configuration.integration}/configuration",
        values=configuration.values,
        secret_names=configuration.secret_names,
        update_time=to_timestamp(configuration.update_time),
    )


def connection_message(connection: Connection) -> connection_pb.Connection:
    """Returns a connection."""
    return connection_pb.Connection(
        name=connection.name,
        integration=f"integrations/{connection.integration}",
        environment=connection.environment,
        auth_scheme=connection.auth_scheme,
        display_name=connection.display_name,
        state=shown_state(connection),
        credential_generation=connection.generation,
        scopes=connection.scopes,
        configuration=connection.configuration,
        create_time=to_timestamp(connection.create_time),
        update_time=to_timestamp(connection.update_time),
        problem=connection.problem,
        credential_expire_time=None if connection.expire_time is None else to_timestamp(connection.expire_time),
    )


def lease_message(lease: Lease) -> credential_pb.LeaseCredentialResponse:
    """Returns a leased credential: the one message that holds it in clear."""
    message = credential_pb.LeaseCredentialResponse(
        connection=connection_message(lease.connection),
        generation=lease.connection.generation,
        expire_time=None if lease.expire_time is None else to_timestamp(lease.expire_time),
        good_for=None if lease.good_for is None else to_duration(lease.good_for.total_seconds()),
    )
    message.connection.configuration.clear()
    message.connection.configuration.update(lease.settings.values)
    message.secret_variables.update({name: secret.reveal() for name, secret in lease.settings.secrets.items()})
    message.parts.extend(part_message(part, lease.connection.auth_scheme) for part in lease.parts)
    first = message.parts[0]
    kind = lease.parts[0].kind
    # What one value says is said in the older words too.
    if kind == "api_key":
        message.api_key = first.token
    elif first.WhichOneof("value") == "basic":
        message.basic.CopyFrom(first.basic)
    elif first.WhichOneof("value") == "token":
        message.access_token = first.token
    else:
        message.none.SetInParent()
    return message


def part_message(part: LeasedPart, auth_scheme: str) -> credential_pb.CredentialPart:
    """Returns one part of a leased credential."""
    message = credential_pb.CredentialPart(auth_scheme=part.id or auth_scheme)
    secrets = {name: secret.reveal() for name, secret in part.secrets.items()}
    message.fields.update({name: secret.reveal() for name, secret in part.fields.items()})
    if part.kind in ("basic", "digest"):
        # A definition can say one of them itself.
        message.basic.username = secrets.get("username", "")
        message.basic.password = secrets.get("password", "")
    elif part.kind == "oauth1" and part.client is not None:
        one = message.oauth1
        one.consumer_key, one.consumer_secret = (
            part.client.id,
            "" if part.client.secret is None else part.client.secret.reveal(),
        )
        one.token, one.token_secret = secrets["access_token"], secrets["token_secret"]
    elif part.kind == "aws_sigv4":
        message.aws.access_key_id, message.aws.secret_access_key = (
            secrets["access_key_id"],
            secrets["secret_access_key"],
        )
        message.aws.session_token = secrets["session_token"]
    elif part.kind == "aws_role":
        keys = session_keys(part.secrets["access_token"])
        message.aws.access_key_id, message.aws.secret_access_key = keys.access_key_id, keys.secret_access_key.reveal()
        message.aws.session_token = keys.session_token.reveal()
    elif part.kind == "mtls":
        message.certificate.certificate_chain = secrets["client_certificate"]
        message.certificate.private_key = secrets["private_key"]
    elif part.kind == "none":
        message.none.SetInParent()
    else:
        message.token = next(iter(secrets.values()))
    return message


def change_message(change: ChangeRow) -> credential_pb.WatchConnectionsResponse:
    """Returns one change of a connection, or the sign that the stream stands."""
    return credential_pb.WatchConnectionsResponse(
        sequence=change.sequence,
        connection=connection_name(change.workspace, change.connection_id) if change.connection_id else "",
        generation=change.generation,
    )
