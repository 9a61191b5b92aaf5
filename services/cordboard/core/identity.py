"""Who this process is: its certificate, key and trust bundle, read again when they are replaced.

SPIFFE ids are `spiffe://{trust domain}/{path}`. The directory is best swapped as a whole (Kubernetes' `..data` link),
so that the three files always belong together. Where they are replaced one by one, what was there stays until they do.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

logger = logging.getLogger(__name__)

FILES: Final = ("tls.crt", "tls.key", "ca.crt")
# How stale a look at the directory may be, in seconds: handshakes are frequent, certificates are not.
LOOK_EVERY: Final = 1.0


@dataclass(frozen=True)
class Material:
    """One certificate with its key and the certificates to trust, as PEM."""

    version: str
    certificate: bytes
    ca: bytes
    secret_key: Secret[bytes]

    @property
    def key(self) -> bytes:
        """Returns the private key as PEM, for the TLS library."""
        return self.secret_key.reveal()


class Identity:
    """The process's identity. Safe to use from any thread."""

    def __init__(self, directory: Path) -> None:
        """Takes the directory with tls.crt, tls.key and ca.crt."""
        self._directory = directory
        self._lock = threading.Lock()
        self._looked = 0.0
        self._material = self._read()

    def current(self) -> Material:
        """Returns what is valid now."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= LOOK_EVERY:
                self._looked = now
                try:
                    if _version_of(self._directory) != self._material.version:
                        self._material = self._read()
                except (OSError, ValueError) as error:
                    # Somebody is in the middle of replacing them: the old ones are good until they expire.
                    logger.warning("the new certificate cannot be used", extra={"problem": type(error).__name__})
            return self._material

    def expiry(self) -> datetime:
        """Returns when the certificate of the moment ends."""
        return x509.load_pem_x509_certificate(self.current().certificate).not_valid_after_utc

    def _read(self) -> Material:
        # Where the directory is swapped by a link, the link is followed once: three reads through it could meet two
        # directories, and a key that is not the certificate's.
        link = self._directory / "..data"
        source = link.resolve() if link.exists() else self._directory
        # Before the reads: what changes during them is looked at again.
        version = _version_of(source)
        certificate, key, ca = ((source / name).read_bytes() for name in FILES)
        own = x509.load_pem_x509_certificate(certificate).public_key()
        if own != load_pem_private_key(key, password=None).public_key():
            raise ValueError("the key is not the certificate's")
        return Material(version=version, certificate=certificate, ca=ca, secret_key=Secret(key))


def _version_of(directory: Path) -> str:
    states = [(directory / name).stat() for name in FILES]
    return ",".join(f"{state.st_ino}-{state.st_mtime_ns}" for state in states)


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """Returns credentials that demand a client certificate and follow the identity's rotation, by handshake."""

    def configuration(material: Material) -> Any:
        return grpc.ssl_server_certificate_configuration(
            [(material.key, material.certificate)], root_certificates=material.ca
        )

    first = identity.current()
    served = [first.version]

    def fetch() -> Any:
        material = identity.current()
        if material.version == served[0]:
            return None  # keep what is there
        served[0] = material.version
        return configuration(material)

    return grpc.dynamic_ssl_server_credentials(configuration(first), fetch, require_client_authentication=True)


def peer_path(identities: Any, trust_domain: str) -> str:
    """Returns the SPIFFE path of a peer's certificate below the trust domain; empty when it has none there."""
    prefix = f"spiffe://{trust_domain}/".encode()
    for name in identities or ():
        if name.startswith(prefix):
            return str(name[len(prefix) :].decode("ascii", "replace"))
    return ""
