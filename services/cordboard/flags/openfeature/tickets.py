"""Tickets: what opens the stream of changes for who can send no token, as browsers' `EventSource` cannot.

A ticket says until when it is good, and nothing of whom it was given to: the stream is the same for everybody. It stays
the same until the next one takes its place, so that an answer which holds it keeps its entity tag.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import TokenInvalid
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.core.times import Clock
    from cordboard.flags.store import FlagStore

# A ticket is given out for this long, and then lives as long again: no longer than a token may.
SLOT_SECONDS: Final = 6 * 3600


@dataclass(frozen=True)
class Ticket:
    """How long a ticket is good."""

    expires: int
    """When it ends, as Unix time."""

    @property
    def superseded(self) -> int:
        """Returns when another one takes its place, as Unix time."""
        return self.expires - SLOT_SECONDS


class Tickets:
    """Gives tickets out, and reads them."""

    def __init__(self, store: FlagStore, clock: Clock) -> None:
        """Takes what keeps the key, and the time."""
        self._store = store
        self._clock = clock
        self._key: Secret[bytes] | None = None

    async def check(self) -> None:
        """Has the key from now on; raises DependencyUnavailable while it was never read and cannot be."""
        await self._mark("")

    async def give(self) -> str:
        """Returns the ticket of this time; raises DependencyUnavailable."""
        expires = str((int(self._clock.now().timestamp()) // SLOT_SECONDS + 2) * SLOT_SECONDS)
        return f"{expires}.{await self._mark(expires)}"

    async def read(self, ticket: str) -> Ticket:
        """Returns what a ticket of ours says; raises TokenInvalid, and DependencyUnavailable."""
        expires, _, mark = ticket.partition(".")
        if not hmac.compare_digest(mark.encode(), (await self._mark(expires)).encode()):
            raise TokenInvalid("signature")
        if self._clock.now().timestamp() >= int(expires):
            raise TokenInvalid("expired")
        return Ticket(int(expires))

    async def _mark(self, text: str) -> str:
        if self._key is None:
            self._key = Secret(await self._store.stream_key())
        digest = hmac.digest(self._key.reveal(), text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
