"""What the webhooks of a subscription are signed with: one secret, and while it is replaced the one before it."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

KEY_PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of one subscription."""

    newest: str = field(repr=False)
    previous: str = field(default="", repr=False)
    expire_time: datetime | None = None
    """Of the previous one."""

    def good(self, now: datetime) -> tuple[str, ...]:
        """Returns what to sign with, the newest first."""
        if self.expire_time is None or now >= self.expire_time:
            return (self.newest,)
        return self.newest, self.previous

    def plain(self) -> bytes:
        """Returns them as they are sealed."""
        if self.expire_time is None:
            return self.newest.encode()
        return f"{self.newest}\n{self.previous}\n{self.expire_time.timestamp()}".encode()

    @classmethod
    def read(cls, plain: bytes) -> Secrets:
        """Returns what `plain` gave."""
        newest, *more = plain.decode().split("\n")
        return cls(newest, more[0], datetime.fromtimestamp(float(more[1]), UTC)) if more else cls(newest)


def new_secret() -> str:
    """Returns a new secret, as Standard Webhooks writes it."""
    return KEY_PREFIX + base64.b64encode(os.urandom(32)).decode()
