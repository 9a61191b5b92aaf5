"""Edges that are one process each: the Catalog, Auth, Flags and the Proxy with all that they are made of, on databases
of their own, behind mutual TLS. Envoy, UQI and Telemetry are not there, and no RPC of a call goes through them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.struct_pb2 import Struct

from cordboard.auth.__main__ import start as start_auth
from cordboard.auth.settings import AuthSettings
from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.catalog.__main__ import start as start_catalog
from cordboard.catalog.settings import CatalogSettings
from cordboard.cli.session import MEMBER, operator_token
from cordboard.client import DeadlineExceeded, Unavailable
from cordboard.client.errors import from_rpc
from cordboard.core.server import Process
from cordboard.flags.__main__ import start as start_flags
from cordboard.flags.settings import FlagsSettings
from cordboard.local.certificates import CertificateAuthority, Identities, mesh_identities
from cordboard.local.ports import Ports
from cordboard.proxy.__main__ import start as start_proxy
from cordboard.proxy.settings import ProxySettings
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from tests.scale._meshes import FORKS, Failed
from tests.scale.sync import databases

# PostgreSQL of a mesh takes 120 connections, and an edge keeps nearly thirty.
ON_ONE_SERVER: Final = 3
BOUND: Final = 180.0
SERVICES: Final[Mapping[str, tuple[Any, Any]]] = {
    "catalog": (CatalogSettings, start_catalog),
    "auth": (AuthSettings, start_auth),
    "flags": (FlagsSettings, start_flags),
    "proxy": (ProxySettings, start_proxy),
}
PRELOADED: Final = (__name__,)


@dataclass(frozen=True)
class Edge:
    """An edge that runs, as those reach it who are in its network."""

    name: str
    addresses: Mapping[str, str]
    identities: Path
    log: Path
    runs: Callable[[], bool]
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    async def connect(self, workspace: str, slug: str) -> str:
        """Makes a workspace and a connection of the same id as the integration; returns a member's token."""
        operator = await self._operator()
        wanted = workspaces.Workspace(customer=workspace, tier="business", region="eu")
        request = workspaces.CreateWorkspaceRequest(workspace_id=workspace, workspace=wanted)
        create = WorkspaceServiceStub(self.channel("auth")).CreateWorkspace
        # Auth gives tokens before it has heard which ones are revoked, and takes none until then.
        await _patiently(lambda: create(request, metadata=_as(operator)), grpc.StatusCode.UNAVAILABLE)
        issued = await TokenServiceStub(self.channel("auth")).IssueToken(
            tokens.IssueTokenRequest(workspace=f"workspaces/{workspace}", environment="production", roles=MEMBER),
            metadata=_as(operator),
        )
        token = str(issued.access_token)
        await self._connected(workspace, slug, token)
        return token

    async def call(self, workspace: str, slug: str, token: str) -> None:
        """Calls the action `look`; raises CordboardError."""
        request = proxy.ExecuteRequest(connection=f"workspaces/{workspace}/connections/{slug}", action="look")
        try:
            await ProxyServiceStub(self.channel("proxy")).Execute(request, timeout=BOUND, metadata=_as(token))
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from None

    async def _operator(self) -> str:
        """Returns an operator's token as soon as the edge runs; raises Failed with what its process said."""
        async with asyncio.timeout(BOUND):
            while True:
                try:
                    return await operator_token(self.addresses["auth"], self.identities / "operator")
                except (DeadlineExceeded, Unavailable):
                    if not self.runs():
                        said = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
                        raise Failed(f"{self.name} has ended: {said[-2000:]}") from None

    async def _connected(self, workspace: str, slug: str, token: str) -> None:
        stub = ConnectServiceStub(self.channel("auth"))
        request = connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{workspace}", integration=f"integrations/{slug}", auth_scheme="open", connection_id=slug
        )
        # What is published at the hub is on its way.
        session = await _patiently(
            lambda: stub.CreateConnectSession(request, metadata=_as(token)),
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.UNAVAILABLE,
        )
        if not session.connection:
            submit = connecting.SubmitConnectSessionRequest(name=session.name, values=Struct())
            await stub.SubmitConnectSession(submit, metadata=_as(token))

    def channel(self, service: str) -> grpc.aio.Channel:
        """Returns the channel to a service, with Envoy's certificate."""
        if service not in self._channels:
            identity = self.identities / "envoy"
            credentials = grpc.ssl_channel_credentials(
                (identity / "ca.crt").read_bytes(),
                (identity / "tls.key").read_bytes(),
                (identity / "tls.crt").read_bytes(),
            )
            options = [("grpc.ssl_target_name_override", f"{service}.cordboard.internal"), ("grpc.enable_retries", 0)]
            self._channels[service] = grpc.aio.secure_channel(self.addresses[service], credentials, options=options)
        return self._channels[service]

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()


async def _patiently(call: Callable[[], Awaitable[Any]], *passing: grpc.StatusCode) -> Any:
    """Returns a call's answer, once it ends in none of the ways that pass by."""
    async with asyncio.timeout(BOUND):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in passing:
                    raise
            await asyncio.sleep(0.2)


@contextlib.contextmanager
def servers(count: int) -> Iterator[list[Any]]:
    """Gives what makes databases, for each of so many edges."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(databases()) for _ in range(-(-count // ON_ONE_SERVER))]
        yield [made[number // ON_ONE_SERVER] for number in range(count)]


@contextlib.asynccontextmanager
async def an_edge(name: str, bootstrap: Path, make: Any, folder: Path) -> AsyncIterator[Edge]:
    """Runs an edge, which begins with what its hub gave it."""
    keys, ports = _prepared(folder), Ports()
    addresses = {service: f"127.0.0.1:{ports.claim()}" for service in SERVICES}
    own = {
        "catalog": {"edge_bootstrap_file": str(bootstrap)},
        "auth": {"kek": f"file:{keys}", "public_url": "https://edge.example.com"},
    }
    settings = {
        service: {
            "listen_address": addresses[service],
            "database_url": make(service).url,
            "database_pool_size": 3,
            "identity_dir": str(folder / "identities" / service),
            "egress_allowed_networks": ["127.0.0.0/8"],
            "log_level": "error",
            **{f"{other}_address": address for other, address in addresses.items()},
            **own.get(service, {}),
        }
        for service in SERVICES
    }
    process = FORKS.Process(target=_run, args=(settings, str(folder / "log")), daemon=True)
    process.start()
    edge = Edge(name, addresses, folder / "identities", folder / "log", process.is_alive)
    try:
        yield edge
    finally:
        await edge.close()
        process.terminate()
        await asyncio.to_thread(process.join, 30)
        if process.is_alive():
            process.kill()
        ports.release()


def _prepared(folder: Path) -> Path:
    """Makes the certificates of an edge, and a key-encryption key; returns the latter's folder."""
    folder.mkdir()
    identities = Identities(CertificateAuthority.open(folder / "ca"), folder / "identities")
    identities.issue(*mesh_identities())
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    (keys / "1.key").write_bytes(os.urandom(32))
    (keys / "1.key").chmod(0o400)
    return keys


def _run(settings: dict[str, dict[str, Any]], log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        asyncio.run(_serve(settings))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


async def _serve(settings: dict[str, dict[str, Any]]) -> None:
    """Serves until it is ended; what its parts keep is in the databases."""
    for service, (kind, start) in SERVICES.items():
        process: Process[Any] = Process(service, kind(**settings[service]))
        await start(process)
        await process.serve()
    await asyncio.Event().wait()


def _as(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
