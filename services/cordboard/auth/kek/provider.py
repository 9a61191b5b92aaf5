"""What a provider of key-encryption keys does, whoever it is."""

from __future__ import annotations

import os
from typing import Final, Protocol

from cordboard.auth.envelope import KEY_BYTES, Unreadable
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret

DEPENDENCY: Final = "key-provider"
_PROBE_AAD: Final = b"cordboard/self-test"


class KeysRefused(ValueError):
    """The key-encryption keys are missing, malformed, or open to others: the vault does not start."""


class KeyProvider(Protocol):
    """Wraps and unwraps keys under keys that it alone holds."""

    @property
    def name(self) -> str:
        """Returns what tells it from every other provider, the same after each start."""
        ...

    def key_id(self, blob: bytes) -> str:
        """Returns which key, in which version, a blob was wrapped under; raises Unreadable."""
        ...

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the key, wrapped under the current version and bound to `aad`; raises DependencyUnavailable."""
        ...

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns what `wrap` was given with the same `aad`; raises Unreadable and DependencyUnavailable."""
        ...

    async def refresh(self) -> None:
        """Looks whether there is a newer version; raises DependencyUnavailable."""
        ...

    async def health(self) -> None:
        """Wraps and unwraps a test key; raises DependencyUnavailable."""
        ...

    async def close(self) -> None:
        """Ends its connections."""
        ...


async def current_key(provider: KeyProvider) -> str:
    """Returns the id of the key that wraps now, as a probe shows it."""
    return provider.key_id(await provider.wrap(_PROBE_AAD, Secret(os.urandom(KEY_BYTES))))


async def self_test(provider: KeyProvider) -> None:
    """Wraps and unwraps a test key, and makes sure that another binding does not unwrap it.

    Raises DependencyUnavailable.
    """
    key = Secret(os.urandom(KEY_BYTES))
    blob = await provider.wrap(_PROBE_AAD, key)
    if await _opened(provider, _PROBE_AAD, blob) != key.reveal() or await _opened(provider, _PROBE_AAD + b"!", blob):
        raise DependencyUnavailable(DEPENDENCY)


async def _opened(provider: KeyProvider, aad: bytes, blob: bytes) -> bytes | None:
    try:
        return (await provider.unwrap(aad, blob)).reveal()
    except Unreadable:
        return None
