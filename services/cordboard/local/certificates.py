"""The mesh's own certificate authority and the identities it signs, laid out so that a rotation is one rename.

An identity is a directory with `tls.crt`, `tls.key` and `ca.crt`. Each is a link through `..data` to a directory of one
moment, as Kubernetes mounts secrets: whoever watches sees key and certificate change together or not at all.

Run as a program it makes the identities of a mesh in containers, once or for as long as it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import ipaddress
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cordboard.local.state import write_atomically

TRUST_DOMAIN = "cordboard"
SERVICES = ("catalog", "auth", "uqi", "flags", "proxy", "telemetry")
LEAF_LIFETIME = datetime.timedelta(hours=24)
AUTHORITY_LIFETIME = datetime.timedelta(days=365)
# An authority with less than this left is replaced at the next start, when every leaf is signed anew anyway.
AUTHORITY_MARGIN = datetime.timedelta(days=30)
# A machine whose clock is a little behind still takes a fresh certificate.
BACKDATED = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Identity:
    """What one certificate says: a SPIFFE path below the trust domain (empty for none) and the names it serves."""

    name: str
    spiffe_path: str = ""
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def spiffe_id(self) -> str:
        """The URI of its SPIFFE id, or an empty string."""
        return f"spiffe://{TRUST_DOMAIN}/{self.spiffe_path}" if self.spiffe_path else ""


def service_identity(service: str, extra_names: Iterable[str] = ()) -> Identity:
    """Returns the identity of a service: `spiffe://cordboard/<service>`, and DNS names because Python checks those."""
    names = (f"{service}.cordboard.internal", service, "localhost", *extra_names)
    return Identity(service, service, names, ("127.0.0.1",))


def mesh_identities(public_names: Iterable[str] = ()) -> tuple[Identity, ...]:
    """Returns all a mesh starts with: its services, Envoy inward and outward, and the operator of the command line."""
    return (
        *(service_identity(service) for service in SERVICES),
        Identity("envoy", "envoy", ("envoy.cordboard.internal",)),
        Identity("envoy-public", "", ("localhost", *public_names), ("127.0.0.1", "::1")),
        Identity("operator", "client/operator", ("operator.client.cordboard.internal",)),
    )


class CertificateAuthority:
    """Signs identities with one key on the P-256 curve, kept in a directory that only its owner reads."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, directory: Path) -> None:
        self._key = key
        self._certificate = certificate
        self.certificate_file = directory / "ca.crt"

    @classmethod
    def open(cls, directory: Path) -> CertificateAuthority:
        """Returns the authority kept in `directory`; makes one when there is none or its end is near."""
        key_file, certificate_file = directory / "ca.key", directory / "ca.crt"
        if key_file.exists() and certificate_file.exists():
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_file} holds no elliptic-curve key")
            if certificate.not_valid_after_utc - _now() > AUTHORITY_MARGIN:
                return cls(key, certificate, directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key)
        write_atomically(key_file, _pem(key))
        write_atomically(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return cls(key, certificate, directory)

    def issue(self, identity: Identity, directory: Path, lifetime: datetime.timedelta = LEAF_LIFETIME) -> None:
        """Signs a fresh key for `identity` and swaps it into `directory` in one rename."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(identity, key, lifetime)
        _swap(
            directory,
            {
                "tls.crt": certificate.public_bytes(serialization.Encoding.PEM),
                "tls.key": _pem(key),
                "ca.crt": self._certificate.public_bytes(serialization.Encoding.PEM),
            },
        )

    def _sign(
        self, identity: Identity, key: ec.EllipticCurvePrivateKey, lifetime: datetime.timedelta
    ) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]
        if identity.spiffe_id:
            names.append(x509.UniformResourceIdentifier(identity.spiffe_id))
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        now = _now()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


class Identities:
    """The identities of one mesh: a directory for each, all of one authority, renewed before half life."""

    def __init__(
        self, authority: CertificateAuthority, root: Path, lifetime: datetime.timedelta = LEAF_LIFETIME
    ) -> None:
        self._authority = authority
        self._root = root
        self._lifetime = lifetime
        self._known: dict[str, Identity] = {}
        self._issued = _now()

    @property
    def ca_file(self) -> Path:
        """The certificate that clients trust."""
        return self._authority.certificate_file

    @property
    def renewal_interval(self) -> datetime.timedelta:
        """How long after an issue to issue again: two fifths of the lifetime, so that half life is never passed."""
        return self._lifetime * 0.4

    def due(self) -> bool:
        """Says whether it is time to issue again, by the wall clock."""
        return _now() - self._issued >= self.renewal_interval

    def directory(self, name: str) -> Path:
        """Returns where the identity lies; raises KeyError for one that was never issued."""
        if name not in self._known:
            raise KeyError(f"no identity {name!r} was issued")
        return self._root / name

    def issue(self, *identities: Identity) -> None:
        """Signs these identities now and keeps them fresh from now on."""
        for identity in identities:
            self._authority.issue(identity, self._root / identity.name, self._lifetime)
            self._known[identity.name] = identity

    def rotate(self) -> None:
        """Signs every identity anew, with new keys."""
        self._issued = _now()
        self.issue(*self._known.values())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    # A name of its own for each authority: a foreign one is then refused by name as well as by key.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cordboard authority {secrets.token_hex(4)}")])
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _swap(directory: Path, files: dict[str, bytes]) -> None:
    """Puts `files` into a new directory and turns `..data` to it with one rename.

    The directory before stays until the next swap: whoever has followed the link just now reads to the end.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = directory / "..data"
    before = data.readlink().name if data.is_symlink() else ""
    moment = directory / f"..{_now():%Y_%m_%d_%H_%M_%S}.{secrets.token_hex(4)}"
    moment.mkdir(mode=0o700)
    for name, content in files.items():
        descriptor = os.open(moment / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    turned = directory / "..data_tmp"
    turned.unlink(missing_ok=True)
    turned.symlink_to(moment.name)
    turned.replace(data)
    for name in files:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    for old in directory.glob("..[0-9]*"):
        if old.name not in (moment.name, before):
            shutil.rmtree(old, ignore_errors=True)


def _read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cordboard.local.certificates", description="Makes the identities of a mesh in containers."
    )
    parser.add_argument("--directory", type=Path, required=True, help="identities go to DIRECTORY/<name>")
    parser.add_argument("--authority", type=Path, required=True, help="where the signing key is kept")
    parser.add_argument("--public-name", action="append", default=[], help="a DNS name of Envoy's public certificate")
    parser.add_argument("--lifetime-hours", type=float, default=24, help="how long a certificate lasts (default 24)")
    parser.add_argument("--key-encryption-keys", type=Path, help="also make the first key of Auth's vault here")
    parser.add_argument("--hub-key", type=Path, help="also make the key that seals a hub's signing keys, in this file")
    parser.add_argument("--keep-fresh", action="store_true", help="stay, and renew before half life")
    return parser.parse_args(arguments)


def _make_key(file: Path) -> None:
    """Writes 32 random bytes, once: what is sealed with them could not be opened with others."""
    if not file.exists():
        write_atomically(file, secrets.token_bytes(32), 0o400)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes every identity of a mesh; with `--keep-fresh`, goes on until it is told to stop."""
    options = _read_arguments(arguments)
    lifetime = datetime.timedelta(hours=options.lifetime_hours)
    identities = Identities(CertificateAuthority.open(options.authority), options.directory, lifetime)
    identities.issue(*mesh_identities(options.public_name))
    if options.key_encryption_keys is not None:
        options.key_encryption_keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_key(options.key_encryption_keys / "1.key")
    if options.hub_key is not None:
        options.hub_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_key(options.hub_key)
    pause = threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        while options.keep_fresh:
            pause.wait(identities.renewal_interval.total_seconds())
            identities.rotate()


if __name__ == "__main__":
    main()
