"""TLS client certificates: one context for each connection and generation, kept while it is used."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from cordboard.core.errors import ReconnectRequired
from cordboard.core.secrets import Secret

KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its key, as a connection has it in one generation."""

    connection: str
    """The connection's resource name."""
    generation: int
    auth_scheme: str
    chain: Secret[str]
    private_key: Secret[str]


class Certificates:
    """Makes TLS contexts; whoever uses the same context shares the sockets opened with it, and nobody else does."""

    def __init__(self, kept: int = KEPT) -> None:
        """Takes how many contexts are kept; the one that was not used for longest goes first."""
        self._kept = kept
        self._contexts: OrderedDict[tuple[str, int, str], ssl.SSLContext] = OrderedDict()

    async def context(self, certificate: ClientCertificate) -> ssl.SSLContext:
        """Returns the context that shows a certificate; raises ReconnectRequired where it cannot be shown."""
        key = (certificate.connection, certificate.generation, certificate.auth_scheme)
        found = self._contexts.get(key)
        if found is None:
            # Reading the trusted authorities takes tens of milliseconds.
            made = await asyncio.to_thread(_context, certificate)
            # Whoever was faster gave it to the pool of sockets.
            found = self._contexts.setdefault(key, made)
            self._forget(certificate)
        self._contexts.move_to_end(key)
        return found

    def _forget(self, certificate: ClientCertificate) -> None:
        older = [key for key in self._contexts if key[0] == certificate.connection and key[1] < certificate.generation]
        for key in older:
            del self._contexts[key]
        while len(self._contexts) > self._kept:
            self._contexts.popitem(last=False)


def _context(certificate: ClientCertificate) -> ssl.SSLContext:
    context = ssl.create_default_context()
    text = f"{certificate.private_key.reveal().strip()}\n{certificate.chain.reveal().strip()}\n"
    try:
        with _readable(text.encode()) as path:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(path, password="")
    except (ssl.SSLError, ValueError):
        raise ReconnectRequired(certificate.connection, "malformed") from None
    return context


@contextmanager
def _readable(text: bytes) -> Iterator[str]:
    """Makes a text readable as a file inside the block, for a library that takes nothing else."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(handle, text)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    # Mode 0600, and gone at the end of the block.
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        yield file.name
