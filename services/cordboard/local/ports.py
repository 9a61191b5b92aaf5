"""Free ports of 127.0.0.1, kept from other meshes on this machine for as long as this one lives."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable

from cordboard.local.failures import Unusable

# Below the kernel's ephemeral range (32768 and up): no outgoing connection takes a port while its service restarts.
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200


class Ports:
    """Hands out free ports; the kernel drops every claim with the process, however it dies."""

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def claim(self, preferred: Iterable[int] = ()) -> int:
        """Returns a port that is free and that no other mesh has claimed; one of `preferred` if possible."""
        for port in preferred:
            if self._take(port):
                return port
        for _ in range(ATTEMPTS):
            port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
            if self._take(port):
                return port
        raise Unusable(f"no free port between {LOWEST} and {HIGHEST} after {ATTEMPTS} attempts")

    def claim_exactly(self, port: int) -> int:
        """Returns `port`; raises Unusable when something listens on it or another mesh has claimed it."""
        if not self._take(port):
            raise Unusable(f"port {port} is taken")
        return port

    def release(self) -> None:
        """Gives every claim back."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()

    def _take(self, port: int) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract name: it lives in the same network namespace as the port, and leaves no file behind.
            claim.bind(f"\0cordboard-port-{port}")
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True
