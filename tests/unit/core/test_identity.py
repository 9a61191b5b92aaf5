"""Identities: a certificate that is replaced is picked up without a restart, and never half of it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.core import identity as identity_module
from cordboard.core.channel import Channels
from cordboard.core.identity import Identity, peer_path
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from cordboard.local.certificates import CertificateAuthority, Identities, service_identity
from tests.fixtures.serving import Served, Serving

NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    """Identities of this test alone, for it replaces them."""
    made = Identities(CertificateAuthority.open(tmp_path / "ca"), tmp_path / "identities")
    made.issue(service_identity("catalog"), service_identity("proxy"), service_identity("envoy"))
    return made


@pytest.fixture
def plain(identities: Identities, tmp_path: Path) -> Path:
    """A directory of three plain files, without a link to swap."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for name in identity_module.FILES:
        shutil.copyfile(identities.directory("catalog") / name, folder / name)
    return folder


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_module, "LOOK_EVERY", 0.0)


def serial(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


async def start(process: Process[Settings]) -> None:
    """Serves health alone."""


async def served_serial(served: Served) -> int:
    """Returns the serial number of the certificate that a new handshake meets."""
    folder = served.identities.directory("proxy")
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", served.process.port, ssl=context, server_hostname="catalog.cordboard.internal"
    )
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(found).serial_number


async def healthy(channel: grpc.aio.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_a_replaced_certificate_is_read(identities: Identities) -> None:
    known = Identity(identities.directory("catalog"))
    before = known.current()
    assert known.current() is before, "nothing is read again while nothing changed"
    identities.rotate()
    after = known.current()
    assert serial(after.certificate) != serial(before.certificate)
    assert after.key != before.key
    assert after.certificate == (identities.directory("catalog") / "tls.crt").read_bytes()


def test_the_directory_is_looked_at_at_most_so_often(identities: Identities, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_module, "LOOK_EVERY", 3600.0)
    known = Identity(identities.directory("catalog"))
    before = known.current()
    identities.rotate()
    assert known.current() is before


def test_the_key_is_in_no_text(identities: Identities) -> None:
    material = Identity(identities.directory("catalog")).current()
    assert material.key.startswith(b"-----BEGIN")
    assert "PRIVATE" not in f"{material} {material!r}"


def test_the_link_is_followed_once(identities: Identities, monkeypatch: pytest.MonkeyPatch) -> None:
    # A rotation between two reads: whoever went through the link each time would mix two moments.
    known = Identity(identities.directory("catalog"))
    identities.rotate()
    first_reads = (identities.directory("catalog") / "tls.crt").read_bytes()
    read, turns = Path.read_bytes, iter([True])

    def rotating(path: Path) -> bytes:
        content = read(path)
        if next(turns, False):
            identities.rotate()
        return content

    with monkeypatch.context() as during:
        during.setattr(Path, "read_bytes", rotating)
        material = known.current()
    assert material.certificate == first_reads, "the three files are of the moment that was begun with"
    assert serial(known.current().certificate) != serial(first_reads), "and the next look takes the newer ones"


@pytest.mark.parametrize("order", [("tls.crt", "tls.key"), ("tls.key", "tls.crt")])
def test_files_replaced_one_by_one_are_taken_when_they_belong_together(
    identities: Identities, plain: Path, order: tuple[str, str]
) -> None:
    known = Identity(plain)
    before = known.current()
    identities.rotate()
    shutil.copyfile(identities.directory("catalog") / order[0], plain / order[0])
    assert known.current() is before
    shutil.copyfile(identities.directory("catalog") / order[1], plain / order[1])
    assert serial(known.current().certificate) == serial((plain / "tls.crt").read_bytes())
    assert serial(known.current().certificate) != serial(before.certificate)


def test_a_directory_that_is_away_for_a_moment_changes_nothing(plain: Path) -> None:
    known = Identity(plain)
    before = known.current()
    for name in identity_module.FILES:
        moved = (plain / name).rename(plain / "elsewhere")
        assert known.current() is before
        moved.rename(plain / name)
    (plain / "tls.crt").write_text("half of a certi")
    assert known.current() is before


def test_new_authorities_alone_are_taken_too(plain: Path) -> None:
    known = Identity(plain)
    (plain / "ca.crt").write_bytes(known.current().ca * 2)
    assert known.current().ca.count(b"BEGIN CERTIFICATE") == 2


def test_a_process_does_not_start_with_a_key_of_another_certificate(identities: Identities, plain: Path) -> None:
    shutil.copyfile(identities.directory("proxy") / "tls.key", plain / "tls.key")
    with pytest.raises(ValueError, match="the key is not the certificate's"):
        Identity(plain)


async def test_a_server_shows_its_new_certificate_in_new_handshakes(serving: Serving, identities: Identities) -> None:
    async with serving("catalog", Settings, start, database_url=NOWHERE) as served:
        channel = served.channel("proxy")
        assert await healthy(channel)
        before = await served_serial(served)
        identities.rotate()
        after = await served_serial(served)
        assert after != before
        assert after == serial((identities.directory("catalog") / "tls.crt").read_bytes())
        assert await healthy(channel), "what stood before stands"
        assert await healthy(served.channel("proxy"))


async def test_a_channel_is_made_anew_with_the_new_certificate(serving: Serving, identities: Identities) -> None:
    async with serving("catalog", Settings, start, database_url=NOWHERE) as served:
        channels = Channels(Identity(identities.directory("proxy")), {"catalog": served.address})
        before = channels.to("catalog")
        assert channels.to("catalog") is before
        assert await healthy(before)
        identities.rotate()
        after = channels.to("catalog")
        assert after is not before
        assert await healthy(after)
        assert await healthy(before), "its streams end by themselves"
        await channels.close()


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (None, ""),
        ([], ""),
        ([b"spiffe://cordboard/proxy"], "proxy"),
        ([b"proxy.cordboard.internal", b"spiffe://cordboard/client/operator"], "client/operator"),
        ([b"spiffe://cordboard.evil/proxy"], ""),
        ([b"spiffe://other/cordboard/proxy"], ""),
        ([b"http://cordboard/proxy", b"proxy"], ""),
        ([b"spiffe://cordboard/"], ""),
        ([b"SPIFFE://cordboard/proxy"], ""),
        ([b"spiffe://cordboard/pr\xff"], "pr\ufffd"),
    ],
)
def test_a_peer_is_its_path_below_the_trust_domain(names: list[bytes] | None, path: str) -> None:
    assert peer_path(names, "cordboard") == path
