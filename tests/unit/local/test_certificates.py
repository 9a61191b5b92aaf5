"""Identities: what they say, how long they last, and how they are replaced."""

from __future__ import annotations

import datetime
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from cordboard.local import certificates
from cordboard.local.certificates import CertificateAuthority, Identities, Identity, mesh_identities


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path / "ca")


def leaf(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_a_service_is_named_by_spiffe_id_by_dns_and_by_address(identities: Identities) -> None:
    found = names(leaf(identities.directory("catalog")))
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cordboard/catalog"]
    assert {"catalog.cordboard.internal", "localhost"} <= set(found.get_values_for_type(x509.DNSName))
    assert [str(address) for address in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_the_public_certificate_is_no_identity_of_the_mesh(identities: Identities) -> None:
    public = leaf(identities.directory("envoy-public"))
    assert names(public).get_values_for_type(x509.UniformResourceIdentifier) == []
    usages = public.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH not in usages
    client = leaf(identities.directory("operator")).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in client


def test_every_process_of_the_mesh_has_an_identity() -> None:
    paths = {identity.spiffe_path for identity in mesh_identities()}
    assert paths == {"catalog", "auth", "uqi", "flags", "proxy", "telemetry", "envoy", "client/operator", ""}


def test_a_leaf_lasts_a_day_and_belongs_to_its_key(authority: CertificateAuthority, tmp_path: Path) -> None:
    authority.issue(Identity("one", "one"), tmp_path / "one")
    certificate = leaf(tmp_path / "one")
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23, minutes=59) < left <= datetime.timedelta(hours=24)
    ssl.create_default_context().load_cert_chain(tmp_path / "one" / "tls.crt", tmp_path / "one" / "tls.key")
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_file.read_bytes()))


def test_keys_are_readable_by_their_owner_alone(authority: CertificateAuthority, tmp_path: Path) -> None:
    authority.issue(Identity("one", "one"), tmp_path / "one")
    assert (tmp_path / "one" / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_an_authority_is_kept_until_its_end_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = CertificateAuthority.open(tmp_path).certificate_file.read_bytes()
    assert CertificateAuthority.open(tmp_path).certificate_file.read_bytes() == first
    monkeypatch.setattr(certificates, "AUTHORITY_MARGIN", certificates.AUTHORITY_LIFETIME)
    assert CertificateAuthority.open(tmp_path).certificate_file.read_bytes() != first


def test_a_rotation_replaces_key_and_certificate_together(authority: CertificateAuthority, tmp_path: Path) -> None:
    identities = Identities(authority, tmp_path)
    identities.issue(Identity("one", "one"))
    directory = identities.directory("one")
    stop, mismatches, readings = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            moment = (directory / "..data").resolve()
            certificate = x509.load_pem_x509_certificate((moment / "tls.crt").read_bytes())
            key = serialization.load_pem_private_key((moment / "tls.key").read_bytes(), None)
            readings.append(certificate.serial_number)
            if certificate.public_key() != key.public_key():
                mismatches.append(moment)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        identities.rotate()
        # Whoever reads has until the next rotation but one: a reader slower than that starts anew.
        behind = len(readings)
        while reader.is_alive() and len(readings) == behind:
            time.sleep(0.001)
    stop.set()
    reader.join()
    assert len(set(readings)) > 1
    assert mismatches == []
    # This moment's directory and the one before it, for who reads there still.
    assert len(list(directory.glob("..[0-9]*"))) == 2


def test_a_rotation_is_due_before_half_of_the_lifetime(authority: CertificateAuthority, tmp_path: Path) -> None:
    fresh = Identities(authority, tmp_path / "fresh")
    assert fresh.renewal_interval < certificates.LEAF_LIFETIME / 2
    assert not fresh.due()
    assert Identities(authority, tmp_path / "spent", lifetime=datetime.timedelta(0)).due()


def test_nobody_gets_the_directory_of_an_identity_that_was_not_issued(identities: Identities) -> None:
    with pytest.raises(KeyError, match="nobody"):
        identities.directory("nobody")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Path]:
    arguments = ["--directory", str(tmp_path / "identities"), "--authority", str(tmp_path / "ca"), "--public-name"]
    certificates.main([*arguments, "api.example.com", "--key-encryption-keys", str(tmp_path / "keys")])
    yield tmp_path


def test_the_program_makes_all_that_containers_need(made: Path) -> None:
    assert {path.name for path in (made / "identities").iterdir()} == {each.name for each in mesh_identities()}
    public = names(leaf(made / "identities" / "envoy-public"))
    assert "api.example.com" in public.get_values_for_type(x509.DNSName)
    assert (made / "keys" / "1.key").stat().st_mode & 0o777 == 0o400
    assert len((made / "keys" / "1.key").read_bytes()) == 32
