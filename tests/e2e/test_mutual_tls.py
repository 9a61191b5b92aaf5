"""Mutual TLS on every hop: who has no certificate of the mesh, or the wrong one, gets nowhere."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.auth.v1 import credential_service_pb2 as credentials_pb
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.local import envoy, probes
from cordboard.local.certificates import SERVICES, Identities
from cordboard.local.commands import launched
from cordboard.local.envoy import EnvoyLayout, RateLimit
from cordboard.local.ports import Ports
from cordboard.uqi.v1 import form_service_pb2 as uqi
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub
from tests.fixtures.desk import Tenant
from tests.fixtures.mesh import RunningMesh, channel_options, until


async def health(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """Returns how a service answers the one method that every peer may call."""
    async with channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_refuses_a_peer_without_a_certificate_or_with_a_foreign_one(
    running_mesh: RunningMesh, foreign_identities: Identities, service: str
) -> None:
    address, options = running_mesh.mesh.address(service), channel_options(service)
    ca = running_mesh.mesh.ca_file.read_bytes()
    nobody = grpc.ssl_channel_credentials(ca)
    directory = foreign_identities.directory("envoy")
    foreigner = grpc.ssl_channel_credentials(
        ca, (directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes()
    )
    for refused in (nobody, foreigner):
        channel = grpc.aio.secure_channel(address, refused, options=options)
        assert await health(channel) is grpc.StatusCode.UNAVAILABLE
    plain = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    assert await health(plain) is grpc.StatusCode.UNAVAILABLE
    # The same call with a certificate of the mesh: it was the certificate that counted.
    assert await health(running_mesh.channel(service, "envoy")) is grpc.StatusCode.OK


@pytest.mark.parametrize("peer", [name for name in (*SERVICES, "envoy", "operator") if name != "proxy"])
async def test_only_the_proxy_leases_credentials(running_mesh: RunningMesh, northwind: Tenant, peer: str) -> None:
    request = credentials_pb.LeaseCredentialRequest(connection=northwind.connection)
    async with running_mesh.channel("auth", peer) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await CredentialServiceStub(channel).LeaseCredential(request, timeout=10)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    async with running_mesh.channel("auth", "proxy") as channel:
        leased = await CredentialServiceStub(channel).LeaseCredential(request, timeout=10)
    assert leased.WhichOneof("credential") == "access_token"


async def test_a_caller_takes_nobody_else_for_the_service_it_means(running_mesh: RunningMesh) -> None:
    # Every certificate here is of the mesh; the name in it is what a client of a service looks at.
    directory = running_mesh.mesh.identity_dir("proxy")
    ca = running_mesh.mesh.ca_file.read_bytes()
    credentials = grpc.ssl_channel_credentials(
        ca, (directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes()
    )
    for meant, code in (("auth", grpc.StatusCode.UNAVAILABLE), ("flags", grpc.StatusCode.OK)):
        channel = grpc.aio.secure_channel(
            running_mesh.mesh.address("flags"), credentials, options=channel_options(meant)
        )
        assert await health(channel) is code


@pytest.fixture
def crossed(running_mesh: RunningMesh, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A second Envoy that was told a wrong address: where it looks for UQI, Flags answers, with its own certificate."""
    mesh, ports = running_mesh.mesh, Ports()
    services = {service: int(mesh.address(service).rpartition(":")[2]) for service in SERVICES}
    sockets, temporary = envoy.socket_folder(tmp_path)
    layout = EnvoyLayout(
        public_port=ports.claim(),
        services=services | {"uqi": services["flags"]},
        identities=mesh.identity_dir("envoy").parent,
        sockets=sockets,
        directory=tmp_path / "envoy",
        descriptors=envoy.descriptors(),
        rate_limit=RateLimit(),
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            launched(envoy.command(envoy.fit(layout)), death_signal=signal.SIGKILL, account=None),
            stdout=log,
            stderr=log,
        )
    try:
        yield f"localhost:{layout.public_port}", layout.admin_socket
    finally:
        process.terminate()
        process.wait()
        envoy.remove_sockets(sockets, temporary=temporary)
        ports.release()


@contextlib.asynccontextmanager
async def through(address: str, mesh: RunningMesh) -> AsyncIterator[grpc.aio.Channel]:
    """Opens a channel to an Envoy."""
    credentials = grpc.ssl_channel_credentials(mesh.mesh.ca_file.read_bytes())
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        yield channel


async def test_envoy_refuses_a_service_that_shows_another_ones_spiffe_id(
    running_mesh: RunningMesh, crossed: tuple[str, Path], northwind: Tenant
) -> None:
    address, admin = crossed
    metadata = (("authorization", f"Bearer {await running_mesh.token('operator')}"),)

    async def ready() -> bool:
        found = await probes.answer_of_socket(admin, "/stats?filter=edge.jwt_authn.jwks_fetch_success$")
        healthy = await probes.answer_of_socket(admin, "/stats?filter=cluster.(flags|catalog).membership_healthy$")
        return bool(found and found.strip().endswith(": 1")) and (healthy or "").count(": 1") == 2

    await until(ready, "the second Envoy")
    async with through(address, running_mesh) as channel:
        listed = await FlagServiceStub(channel).ListFlags(flags.ListFlagsRequest(), metadata=metadata, timeout=10)
        assert listed.flags
        request: Any = catalog.ListIntegrationsRequest()
        await CatalogServiceStub(channel).ListIntegrations(request, metadata=metadata, timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            form = uqi.GetFormRequest(name="integrations/acme-desk/forms/action.get_me")
            await FormServiceStub(channel).GetForm(form, metadata=metadata, timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    stats = await probes.answer_of_socket(admin, "/stats?filter=cluster.(uqi|flags).ssl.fail_verify_san$")
    counts = {line.split(": ")[0].split(".")[1]: int(line.split(": ")[1]) for line in (stats or "").splitlines()}
    assert counts["uqi"] > 0
    assert counts.get("flags", 0) == 0
