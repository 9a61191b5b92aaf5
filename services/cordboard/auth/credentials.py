"""Credentials: what they consist of, how long they live, and how they lie in the vault."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cordboard.auth.schemes import ACCESS_TOKEN, REFRESH_TOKEN
from cordboard.auth.store.connections import Lifetime

if TYPE_CHECKING:
    from cordboard.auth.oauth import Granted
    from cordboard.auth.schemes import Scheme
    from cordboard.auth.vault import Drawer
    from cordboard.core.secrets import Secret

# A token is refreshed when four fifths of its life are over, so that one failed attempt costs nothing.
EARLY: Final = 0.8
# Tokens that were issued together are not refreshed together.
JITTER: Final = 0.1
# How long a refresh token may stay unused where neither the vendor nor the definition says how long it lives: the
# shortest of the well-known vendors' is two weeks.
IDLE_SECONDS: Final = 10 * 24 * 3600


@dataclass(frozen=True)
class Material:
    """The secrets of one generation of a credential, by field, and how long they live."""

    secrets: Mapping[str, Secret[str]]
    lifetime: Lifetime = field(default_factory=Lifetime)
    refreshable: bool = False
    """It can be renewed without a person."""

    @classmethod
    def of(cls, scheme: Scheme, granted: Granted, kept: Mapping[str, Secret[str]]) -> Material:
        """Takes what a vendor gave, and what a person typed in, by the names of the scheme."""
        part = scheme.active
        secrets = {**kept, part.key(ACCESS_TOKEN): granted.access_token}
        idle = None
        if granted.refresh_token is not None:
            secrets[part.key(REFRESH_TOKEN)] = granted.refresh_token
            known = part.oauth.idle_seconds if part.oauth is not None else None
            idle = _early(granted.refresh_seconds or known or IDLE_SECONDS)
        refreshable = granted.refresh_token is not None or part.renewable
        seconds = granted.seconds or (part.oauth.default_seconds if part.oauth is not None else None)
        if seconds is None:
            return cls(secrets, Lifetime(idle_after=idle), refreshable)
        return cls(secrets, Lifetime(seconds, _early(seconds), idle), refreshable)

    def sealed(self, drawer: Drawer, connection_id: str, generation: int) -> dict[str, bytes]:
        """Returns the sealed records of one generation of a connection, by field."""
        owner = resource(connection_id)
        return {name: drawer.seal(owner, name, generation, secret) for name, secret in self.secrets.items()}


def granted_by_vendor(name: str) -> bool:
    """Tells whether a field holds what a vendor gave, and not what a person typed in."""
    return name.rpartition(".")[2] in (ACCESS_TOKEN, REFRESH_TOKEN)


def resource(connection_id: str) -> str:
    """Returns the name under which the vault knows a connection's secrets."""
    return f"connections/{connection_id}"


def digests(sealed: Mapping[str, bytes]) -> dict[str, str]:
    """Returns what the audit journal keeps of sealed records: with it, an old one that was put back is found."""
    return {name: hashlib.sha256(record).hexdigest() for name, record in sealed.items()}


def _early(seconds: float) -> float:
    return seconds * EARLY * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it spreads load and hides nothing
