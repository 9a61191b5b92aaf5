"""Starts Auth: wires its parts, and does nothing else."""

from __future__ import annotations

from cordboard.auth.callback_page import CallbackPage
from cordboard.auth.clients import OAuthClients
from cordboard.auth.connect import Connect
from cordboard.auth.connections import Connections
from cordboard.auth.definitions import Definitions
from cordboard.auth.housekeeping import keep_house
from cordboard.auth.kek import FileKeys
from cordboard.auth.leases import Leases
from cordboard.auth.oauth import EXCHANGE_SECONDS, TokenEndpoints
from cordboard.auth.refresh import Refresher
from cordboard.auth.revocations import Revocations
from cordboard.auth.servicer import (
    ConnectionServicer,
    ConnectServicer,
    CredentialServicer,
    TokenServicer,
    WorkspaceServicer,
)
from cordboard.auth.settings import AuthSettings
from cordboard.auth.signing_keys import SigningKeys
from cordboard.auth.store.connections import CHANNEL
from cordboard.auth.tokens import TokenIssuer
from cordboard.auth.v1.connect_service_pb2_grpc import add_ConnectServiceServicer_to_server
from cordboard.auth.v1.connection_service_pb2_grpc import add_ConnectionServiceServicer_to_server
from cordboard.auth.v1.credential_service_pb2_grpc import add_CredentialServiceServicer_to_server
from cordboard.auth.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server
from cordboard.auth.v1.workspace_service_pb2_grpc import add_WorkspaceServiceServicer_to_server
from cordboard.auth.vault import Vault
from cordboard.auth.workspaces import Workspaces
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.core.database import Changes
from cordboard.core.egress import Egress
from cordboard.core.server import Process, run
from cordboard.core.times import SystemClock


async def start(mesh: Process[AuthSettings]) -> None:
    """Wires the parts; raises where the vault cannot be opened."""
    settings, clock = mesh.settings, SystemClock()
    database, journal = mesh.database(), mesh.journal()
    provider = FileKeys.load(settings.kek_dir)
    await provider.health()
    mesh.add_check("key-provider", provider.health)
    vault = Vault(database, provider, clock)
    keys = SigningKeys(database, vault, journal, clock, overlap=settings.signing_key_overlap_seconds)
    await keys.start()
    mesh.verify_with(keys.jwks)

    session = Egress(settings.egress_allowed_networks).session(timeout=EXCHANGE_SECONDS)
    mesh.on_close(session.close)
    endpoints = TokenEndpoints(session, plain_http=bool(settings.egress_allowed_networks))
    definitions = Definitions(lambda: CatalogServiceStub(mesh.channels.to("catalog")), clock)
    clients = OAuthClients(database, vault, definitions, journal, redirect_uri=settings.redirect_uri)
    revocations = Revocations(database, vault, definitions, clients, endpoints, journal)
    feed = Changes(database, CHANNEL)
    connections = Connections(database, journal, feed, revocations)
    refresher = Refresher(database, vault, definitions, clients, endpoints, revocations, journal, feed)
    connect = Connect(
        database,
        vault,
        definitions,
        clients,
        endpoints,
        connections,
        journal,
        redirect_uri=settings.redirect_uri,
    )
    mesh.on_close(refresher.close)
    mesh.on_close(connect.close)

    issuer = TokenIssuer(database, keys, journal, issuer=settings.token_issuer, audience=settings.token_audience)
    server = mesh.server
    add_WorkspaceServiceServicer_to_server(WorkspaceServicer(Workspaces(database, journal)), server)
    add_TokenServiceServicer_to_server(TokenServicer(issuer, keys, jwks_max_age=settings.jwks_max_age_seconds), server)
    add_ConnectServiceServicer_to_server(ConnectServicer(connect, clients, CallbackPage()), server)
    add_ConnectionServiceServicer_to_server(ConnectionServicer(connections), server)
    add_CredentialServiceServicer_to_server(
        CredentialServicer(Leases(database, vault, refresher, journal), connections), server
    )
    mesh.background(feed.run())
    mesh.background(connections.follow())
    mesh.background(revocations.run())
    mesh.background(keep_house(database))


if __name__ == "__main__":
    run("auth", AuthSettings, start)
