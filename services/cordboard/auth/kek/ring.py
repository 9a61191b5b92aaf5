"""The providers together: the first one wraps, every one unwraps what it has wrapped."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

from cordboard.auth.envelope import Unreadable
from cordboard.auth.kek.awskms import KmsKeys
from cordboard.auth.kek.environment import EnvironmentKeys
from cordboard.auth.kek.files import FileKeys
from cordboard.auth.kek.pkcs11 import TokenKeys
from cordboard.auth.kek.provider import KeyProvider, KeysRefused
from cordboard.auth.kek.transit import TransitKeys

if TYPE_CHECKING:
    from cordboard.core.secrets import Secret

MAGIC: Final = b"KW1"
# A blob of the file provider begins with its version, which is below 10^9 and so never reads as the magic.
_BARE: Final = "file"


class KeyRing:
    """Wraps under the first provider; what it returns names the provider, so that a second one can take its place."""

    def __init__(self, providers: Sequence[KeyProvider]) -> None:
        """Takes the providers, at least one, of different names."""
        self._first = providers[0]
        self._providers = {provider.name: provider for provider in providers}

    @property
    def name(self) -> str:
        """Returns the name of the one that wraps."""
        return self._first.name

    def key_id(self, blob: bytes) -> str:
        """Returns which key a blob was wrapped under, also where its provider is gone; raises Unreadable."""
        name, inner = _parts(blob)
        provider = self._providers.get(name)
        return provider.key_id(inner) if provider is not None else name

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the name of the first provider and what it made; raises DependencyUnavailable."""
        wrapped, name = await self._first.wrap(aad, key), self._first.name.encode()
        return wrapped if self._first.name == _BARE else MAGIC + struct.pack(">H", len(name)) + name + wrapped

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; raises Unreadable, also where its provider is not configured, and DependencyUnavailable."""
        name, inner = _parts(blob)
        provider = self._providers.get(name)
        if provider is None:
            raise Unreadable
        return await provider.unwrap(aad, inner)

    async def refresh(self) -> None:
        """Has every provider look for newer keys; raises DependencyUnavailable."""
        for provider in self._providers.values():
            await provider.refresh()

    async def health(self) -> None:
        """Tests the provider that wraps; raises DependencyUnavailable."""
        await self._first.health()

    async def close(self) -> None:
        """Ends the providers' connections."""
        for provider in self._providers.values():
            await provider.close()


def open_ring(uris: str, *, networks: Iterable[str], keep: bool = False) -> KeyRing:
    """Makes the providers that the URIs name, the one that wraps first; raises KeysRefused.

    `keep` leaves a variable where it is: whoever only looks whether the vault could start takes nothing away.
    """
    allowed = tuple(networks)
    providers = [_opened(uri, allowed, keep=keep) for uri in uris.split()]
    if not providers:
        raise KeysRefused("must name a key provider, such as file:/run/cordboard/keys")
    if len({provider.name for provider in providers}) < len(providers):
        raise KeysRefused("names the same key provider twice")
    return KeyRing(providers)


def _opened(uri: str, networks: tuple[str, ...], *, keep: bool) -> KeyProvider:
    scheme, _, rest = uri.partition(":")
    body, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    if scheme == "file":
        return FileKeys.load(Path(rest))
    if scheme == "env":
        return EnvironmentKeys.load(rest, keep=keep)
    if scheme == "transit":
        return TransitKeys.open(body, options, networks)
    if scheme == "awskms":
        return KmsKeys.open(body, options, networks)
    if scheme == "pkcs11":
        attributes = {name: unquote(value) for name, _, value in (part.partition("=") for part in body.split(";"))}
        return TokenKeys.open(attributes, options)
    raise KeysRefused("must begin with file:, env:, transit:, awskms: or pkcs11:")


def _parts(blob: bytes) -> tuple[str, bytes]:
    if not blob.startswith(MAGIC):
        return _BARE, blob
    try:
        (length,) = struct.unpack_from(">H", blob, len(MAGIC))
        at = len(MAGIC) + 2
        return blob[at : at + length].decode("ascii"), blob[at + length :]
    except (struct.error, UnicodeDecodeError):
        raise Unreadable from None
