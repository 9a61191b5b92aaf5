"""Credentials: what they consist of, how long they live, and how they lie in the vault."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cordboard.auth.store.connections import Lifetime

if TYPE_CHECKING:
    from cordboard.auth.oauth import Granted
    from cordboard.auth.vault import Drawer
    from cordboard.core.secrets import Secret

# A token is refreshed when four fifths of its life are over, so that one failed attempt costs nothing.
EARLY: Final = 0.8
# Tokens that were issued together are not refreshed together.
JITTER: Final = 0.1
ACCESS_TOKEN: Final = "access_token"  # noqa: S105 - the name of a field
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105 - the name of a field


@dataclass(frozen=True)
class Material:
    """The secrets of one generation of a credential, by field, and how long they live."""

    secrets: Mapping[str, Secret[str]]
    lifetime: Lifetime = field(default_factory=Lifetime)

    @property
    def refreshable(self) -> bool:
        """Tells whether it can be renewed without a person."""
        return REFRESH_TOKEN in self.secrets

    @classmethod
    def of(cls, granted: Granted) -> Material:
        """Takes what a token endpoint gave."""
        secrets = {ACCESS_TOKEN: granted.access_token}
        if granted.refresh_token is not None:
            secrets[REFRESH_TOKEN] = granted.refresh_token
        if granted.seconds is None:
            return cls(secrets)
        early = EARLY * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it spreads load and hides nothing
        return cls(secrets, Lifetime(granted.seconds, granted.seconds * early))

    def sealed(self, drawer: Drawer, connection_id: str, generation: int) -> dict[str, bytes]:
        """Returns the sealed records of one generation of a connection, by field."""
        owner = resource(connection_id)
        return {name: drawer.seal(owner, name, generation, secret) for name, secret in self.secrets.items()}


def resource(connection_id: str) -> str:
    """Returns the name under which the vault knows a connection's secrets."""
    return f"connections/{connection_id}"


def digests(sealed: Mapping[str, bytes]) -> dict[str, str]:
    """Returns what the audit journal keeps of sealed records: with it, an old one that was put back is found."""
    return {name: hashlib.sha256(record).hexdigest() for name, record in sealed.items()}
