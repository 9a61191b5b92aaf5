"""Who this process is: its certificate, key and trust bundle, read again when they are replaced.

SPIFFE ids are `spiffe://{trust domain}/{path}`. The directory is swapped as a whole (Kubernetes' `..data` link), so
the three files always belong together.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from pathlib import Path

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
                if self._version() != self._material.version:
                    self._material = self._read()
            return self._material

    def _version(self) -> str:
        return _version_of(self._directory / "tls.crt")

    def _read(self) -> Material:
        # Where the directory is swapped by a link, the link is followed once: three reads through it could meet two
        # directories, and a key that is not the certificate's.
        link = self._directory / "..data"
        source = link.resolve() if link.exists() else self._directory
        return Material(
            version=_version_of(source / "tls.crt"),
            certificate=(source / "tls.crt").read_bytes(),
            ca=(source / "ca.crt").read_bytes(),
            secret_key=Secret((source / "tls.key").read_bytes()),
        )


def _version_of(certificate: Path) -> str:
    state = certificate.stat()
    return f"{state.st_ino}-{state.st_mtime_ns}"


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
