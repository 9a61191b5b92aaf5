"""Starts Auth: wires its parts, and does nothing else."""

from __future__ import annotations

from cordboard.auth.api_keys import ApiKeyRing
from cordboard.auth.callback_page import CallbackPage
from cordboard.auth.clients import OAuthClients
from cordboard.auth.configurations import Configurations
from cordboard.auth.connect import Connect, Vendors
from cordboard.auth.connections import Connections
from cordboard.auth.definitions import Definitions
from cordboard.auth.devices import Devices
from cordboard.auth.edge_tokens import EdgeTokens
from cordboard.auth.grants import Grants
from cordboard.auth.housekeeping import keep_house
from cordboard.auth.incidents import Incidents
from cordboard.auth.keepalive import KeepAlive
from cordboard.auth.kek import ProviderHealth, open_ring
from cordboard.auth.leases import Leases
from cordboard.auth.links import ConnectLinks
from cordboard.auth.login import SignIn
from cordboard.auth.logins import Logins
from cordboard.auth.oauth import EXCHANGE_SECONDS, TokenEndpoints
from cordboard.auth.oauth1 import OAuth1Endpoints
from cordboard.auth.oidc import OpenIdProvider, Registration
from cordboard.auth.page_files import PageFiles
from cordboard.auth.page_forms import PageForms
from cordboard.auth.reads import ReadWatch
from cordboard.auth.refresh import Refresher, refresh_durations
from cordboard.auth.relay import Relay
from cordboard.auth.revocations import Revocations
from cordboard.auth.roles import Roles
from cordboard.auth.rotation import Rotations
from cordboard.auth.sealing_keys import SealingKeys
from cordboard.auth.servicer import (
    ConnectionServicer,
    ConnectServicer,
    CredentialServicer,
    TokenServicer,
    WorkspaceServicer,
)
from cordboard.auth.servicers.api_keys import ApiKeyServicer
from cordboard.auth.servicers.connect_links import ConnectLinkServicer, ConnectPageServicer
from cordboard.auth.servicers.console_page import ConsolePageServicer
from cordboard.auth.servicers.edge_tokens import EdgeTokenServicer
from cordboard.auth.servicers.incidents import IncidentServicer
from cordboard.auth.servicers.login import LoginServicer
from cordboard.auth.servicers.sealing_keys import SealingKeyServicer
from cordboard.auth.servicers.token_revocations import RevocationServicer
from cordboard.auth.servicers.try_page import TryPageServicer
from cordboard.auth.servicers.vault import VaultServicer
from cordboard.auth.servicers.verification import VerificationServicer
from cordboard.auth.settings import AuthSettings
from cordboard.auth.shredding import Shredder
from cordboard.auth.signing_keys import SigningKeys
from cordboard.auth.store.connections import CHANNEL
from cordboard.auth.store.token_revocations import CHANNEL as REVOKED
from cordboard.auth.token_revocations import TokenRevocations
from cordboard.auth.tokens import TokenIssuer
from cordboard.auth.transfer import Transfers
from cordboard.auth.v1.api_key_service_pb2_grpc import add_ApiKeyServiceServicer_to_server
from cordboard.auth.v1.connect_link_service_pb2_grpc import add_ConnectLinkServiceServicer_to_server
from cordboard.auth.v1.connect_page_service_pb2_grpc import add_ConnectPageServiceServicer_to_server
from cordboard.auth.v1.connect_service_pb2_grpc import add_ConnectServiceServicer_to_server
from cordboard.auth.v1.connection_service_pb2_grpc import add_ConnectionServiceServicer_to_server
from cordboard.auth.v1.console_page_service_pb2_grpc import add_ConsolePageServiceServicer_to_server
from cordboard.auth.v1.credential_service_pb2_grpc import add_CredentialServiceServicer_to_server
from cordboard.auth.v1.edge_token_service_pb2_grpc import add_EdgeTokenServiceServicer_to_server
from cordboard.auth.v1.incident_service_pb2_grpc import add_IncidentServiceServicer_to_server
from cordboard.auth.v1.login_service_pb2_grpc import add_LoginServiceServicer_to_server
from cordboard.auth.v1.revocation_service_pb2_grpc import add_RevocationServiceServicer_to_server
from cordboard.auth.v1.sealing_key_service_pb2_grpc import add_SealingKeyServiceServicer_to_server
from cordboard.auth.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server
from cordboard.auth.v1.try_page_service_pb2_grpc import add_TryPageServiceServicer_to_server
from cordboard.auth.v1.vault_service_pb2_grpc import add_VaultServiceServicer_to_server
from cordboard.auth.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server
from cordboard.auth.v1.workspace_service_pb2_grpc import add_WorkspaceServiceServicer_to_server
from cordboard.auth.vault import Vault
from cordboard.auth.ways import Ways
from cordboard.auth.workspaces import Workspaces
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.edge_access_service_pb2_grpc import EdgeAccessServiceStub
from cordboard.core.database import Changes
from cordboard.core.egress import Egress
from cordboard.core.secrets import Secret
from cordboard.core.server import Process, run
from cordboard.core.times import SystemClock


async def start(mesh: Process[AuthSettings]) -> None:
    """Wires the parts; raises where the vault cannot be opened."""
    settings, clock = mesh.settings, SystemClock()
    database, journal = mesh.database(), mesh.journal()
    vault = await _vault(mesh)
    keys = SigningKeys(database, vault, journal, clock, overlap=settings.signing_key_overlap_seconds)
    await keys.start()
    issuer = TokenIssuer(
        database,
        keys,
        journal,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        refresh_seconds=settings.token_refresh_seconds,
    )
    _let_in(mesh, vault, keys, issuer)
    _sign_in(mesh, vault, issuer)

    vendors = _vendors(mesh)
    definitions = Definitions(lambda: CatalogServiceStub(mesh.channels.to("catalog")), clock)
    clients = OAuthClients(database, vault, definitions, journal, redirect_uri=settings.redirect_uri)
    configurations = Configurations(database, vault, definitions, journal)
    ways = Ways(definitions, clients, configurations)
    revocations = Revocations(database, vault, ways, vendors.endpoints, journal)
    feed = Changes(database, CHANNEL)
    connections = Connections(database, journal, feed, revocations)
    refresher = Refresher(
        database, vault, ways, vendors.grants, revocations, journal, feed, refresh_durations(mesh.measures)
    )
    relay = Relay(settings.relay_name, settings.relays)
    connect = Connect(database, vault, ways, vendors, connections, journal, relay, redirect_uri=settings.redirect_uri)
    _invite(mesh, vault, ways, connect)
    devices = Devices(database, connect)
    mesh.on_close(refresher.close)
    mesh.on_close(connect.close)
    mesh.on_close(devices.close)

    server = mesh.server
    add_WorkspaceServiceServicer_to_server(WorkspaceServicer(Workspaces(database, journal)), server)
    add_TokenServiceServicer_to_server(TokenServicer(issuer, keys, jwks_max_age=settings.jwks_max_age_seconds), server)
    add_ConnectServiceServicer_to_server(ConnectServicer(connect, clients, CallbackPage(), relay), server)
    add_ConnectionServiceServicer_to_server(ConnectionServicer(connections, configurations), server)
    add_CredentialServiceServicer_to_server(
        CredentialServicer(
            Leases(database, vault, refresher, clients, configurations, journal, _watch(mesh)), connections
        ),
        server,
    )
    add_IncidentServiceServicer_to_server(IncidentServicer(Incidents(database, journal, revocations)), server)
    _look_after(mesh, vault)
    mesh.background(feed.run())
    mesh.background(connections.follow())
    mesh.background(revocations.run())
    mesh.background(devices.run())
    mesh.background(KeepAlive(database, refresher).run())
    mesh.background(keep_house(database))


def _let_in(mesh: Process[AuthSettings], vault: Vault, keys: SigningKeys, issuer: TokenIssuer) -> None:
    database, journal = mesh.database(), mesh.journal()
    changes = Changes(database, REVOKED)
    revoked = TokenRevocations(database, journal, changes, refresh_seconds=mesh.settings.token_refresh_seconds)
    ring = ApiKeyRing(database, vault, journal, issuer, SystemClock())
    mesh.verify_with(keys.jwks, revocations=revoked.signals, exchange=ring.token)
    add_RevocationServiceServicer_to_server(RevocationServicer(revoked), mesh.server)
    add_ApiKeyServiceServicer_to_server(ApiKeyServicer(ring), mesh.server)
    add_VerificationServiceServicer_to_server(VerificationServicer(revoked, ring), mesh.server)
    mesh.background(changes.run())
    edges = EdgeTokens(issuer, lambda: EdgeAccessServiceStub(mesh.channels.to("catalog")), mesh.settings.edge_callers)
    add_EdgeTokenServiceServicer_to_server(EdgeTokenServicer(edges), mesh.server)
    mesh.background(keys.rotate_when_old(mesh.settings.signing_key_seconds))


def _sign_in(mesh: Process[AuthSettings], vault: Vault, issuer: TokenIssuer) -> None:
    settings, provider = mesh.settings, None
    if settings.login_issuer:
        file = settings.login_client_secret_file
        registration = Registration(
            settings.login_issuer,
            settings.login_client_id,
            None if file is None else Secret(file.read_text().strip()),
            settings.login_redirect_uri,
            settings.login_scopes,
            settings.login_groups_claim,
        )
        session = Egress(settings.login_allowed_networks).session(timeout=EXCHANGE_SECONDS)
        mesh.on_close(session.close)
        provider = OpenIdProvider(session, registration, plain_http=bool(settings.login_allowed_networks))
    sign_in = SignIn(
        mesh.database(),
        vault,
        mesh.journal(),
        issuer,
        provider,
        rules=settings.login_roles,
        session_seconds=settings.login_session_seconds,
    )
    servicer = LoginServicer(sign_in, session_seconds=settings.login_session_seconds)
    add_LoginServiceServicer_to_server(servicer, mesh.server)
    console = ConsolePageServicer(PageFiles("console", "Cordboard"))
    add_ConsolePageServiceServicer_to_server(console, mesh.server)


def _invite(mesh: Process[AuthSettings], vault: Vault, ways: Ways, connect: Connect) -> None:
    uqi = (lambda: mesh.channels.to("uqi")) if mesh.settings.uqi_address else None
    links = ConnectLinks(
        mesh.database(), vault, ways, connect, PageForms(uqi), mesh.journal(), public_url=mesh.settings.public_url
    )
    add_ConnectLinkServiceServicer_to_server(ConnectLinkServicer(links), mesh.server)
    page = PageFiles("connect", "Connect an account")
    add_ConnectPageServiceServicer_to_server(ConnectPageServicer(links, page), mesh.server)
    add_TryPageServiceServicer_to_server(TryPageServicer(PageFiles("try", "Try an action")), mesh.server)


async def _vault(mesh: Process[AuthSettings]) -> Vault:
    settings, clock = mesh.settings, SystemClock()
    provider = open_ring(settings.kek, networks=settings.kek_allowed_networks)
    mesh.on_close(provider.close)
    await provider.health()
    health = ProviderHealth(provider, clock)
    mesh.add_check("key-provider", health.check)
    mesh.background(health.run())
    return Vault(mesh.database(), provider, clock)


def _look_after(mesh: Process[AuthSettings], vault: Vault) -> None:
    database, journal = mesh.database(), mesh.journal()
    rotations = Rotations(database, vault, journal)
    shredder, transfers = Shredder(database, vault, journal), Transfers(database, vault, journal)
    add_SealingKeyServiceServicer_to_server(SealingKeyServicer(SealingKeys(database, vault, journal)), mesh.server)
    add_VaultServiceServicer_to_server(VaultServicer(vault, rotations, shredder, transfers), mesh.server)
    mesh.background(rotations.run())


def _watch(mesh: Process[AuthSettings]) -> ReadWatch:
    most, seconds = mesh.settings.mass_read_connections, mesh.settings.mass_read_seconds
    return ReadWatch(mesh.database(), mesh.journal(), SystemClock(), connections=most, seconds=seconds)


def _vendors(mesh: Process[AuthSettings]) -> Vendors:
    networks = mesh.settings.egress_allowed_networks
    session, plain_http = Egress(networks).session(timeout=EXCHANGE_SECONDS), bool(networks)
    mesh.on_close(session.close)
    endpoints = TokenEndpoints(session, plain_http=plain_http)
    grants = Grants(
        endpoints, Logins(session, plain_http=plain_http), Roles(session, SystemClock(), plain_http=plain_http)
    )
    return Vendors(endpoints, OAuth1Endpoints(session, plain_http=plain_http), grants)


def main() -> None:
    """Runs the service to its end."""
    run("auth", AuthSettings, start)


if __name__ == "__main__":
    main()
