"""What was revoked before its time: every service follows Auth's list and refuses what stands in it.

While Auth is away the last known list goes on holding, and the log says how old it is: tokens are short.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cordboard.core.errors import CordboardError, DependencyUnavailable

logger = logging.getLogger(__name__)

# So many seconds longer than needed what was revoked is kept: a clock that was ahead, and is set right, has forgotten
# nothing.
CLOCK_MAY_BE_WRONG: Final = 86_400.0
# A sign of life comes every second; who hears none for this long asks anew, in seconds.
SILENCE: Final = 3.0
AGAIN_AFTER: Final = 0.5
# A service that has just started waits this long for the list, and lets nobody in without one.
FIRST_LIST: Final = 3.0
# How often the log says that the list is old, in seconds.
COMPLAIN_EVERY: Final = 30.0


class Kind(Enum):
    """What was revoked."""

    TOKEN = "token"  # noqa: S105 - a kind and no secret
    WORKSPACE = "workspace"
    SIGNING_KEY = "signing-key"
    API_KEY = "api-key"


@dataclass(frozen=True)
class Revoked:
    """One revocation."""

    kind: Kind
    subject: str
    workspace: str = ""
    """Whose tokens; for a single token, empty: whosesoever."""
    generation: int = 0
    """Tokens of the workspace with a lower generation are refused."""
    expires: float | None = None
    """Unix time at which nothing is left that it could concern."""


@dataclass(frozen=True)
class Proof:
    """What of a token decides whether it was revoked."""

    token_id: str
    kid: str
    workspace: str = ""
    generation: int = 0
    api_key: str = ""


@dataclass(frozen=True)
class Signal:
    """What a source of revocations sends: one, or a sign of life."""

    sequence: int
    revoked: Revoked | None = None


# Gives what came after a sequence, for as long as it can.
Source = Callable[[int], AsyncIterator[Signal]]


def family(token_id: str) -> str:
    """Returns what a token's id has in common with those that were refreshed from it."""
    return token_id.partition(".")[0]


class RevocationList:
    """What was revoked, as far as this process knows."""

    def __init__(self) -> None:
        """Makes an empty list that is taken for complete until somebody expects one."""
        self._tokens: dict[tuple[str, str], float | None] = {}
        self._workspaces: dict[str, int] = {}
        self._keys: dict[str, float | None] = {}
        self._api_keys: dict[str, float | None] = {}
        self._complete = asyncio.Event()
        self._complete.set()
        self._heard = time.monotonic()
        self.sequence = 0
        self.keys_revoked = 0
        """How many signing keys were revoked: who keeps keys looks for new ones when it grows."""

    def expect(self) -> None:
        """Lets nobody ask before the first whole list is there."""
        self._complete.clear()

    @property
    def age(self) -> float:
        """Returns the seconds since the list was known to be current."""
        return time.monotonic() - self._heard

    async def ready(self) -> None:
        """Returns when there is a list; raises DependencyUnavailable when none comes."""
        if not self._complete.is_set():
            try:
                async with asyncio.timeout(FIRST_LIST):
                    await self._complete.wait()
            except TimeoutError:
                raise DependencyUnavailable("auth") from None

    def take(self, signal: Signal) -> None:
        """Takes what a source sent; the first sign of life completes the list."""
        self.sequence = max(self.sequence, signal.sequence)
        entry = signal.revoked
        if entry is None:
            self._heard = time.monotonic()
            self._complete.set()
            self._drop_old()
        elif entry.kind is Kind.TOKEN:
            self._tokens[family(entry.subject), entry.workspace] = entry.expires
        elif entry.kind is Kind.WORKSPACE:
            self._workspaces[entry.workspace] = max(entry.generation, self._workspaces.get(entry.workspace, 0))
        elif entry.kind is Kind.SIGNING_KEY:
            self._keys[entry.subject] = entry.expires
            self.keys_revoked += 1
        else:
            self._api_keys[entry.subject] = entry.expires

    def holds(self, proof: Proof) -> bool:
        """Tells whether a token was revoked."""
        related = family(proof.token_id)
        return (
            (related, "") in self._tokens
            or (related, proof.workspace) in self._tokens
            or proof.generation < self._workspaces.get(proof.workspace, 0)
            or proof.kid in self._keys
            or proof.api_key in self._api_keys
        )

    def _drop_old(self) -> None:
        before = time.time() - CLOCK_MAY_BE_WRONG
        tables: tuple[dict[tuple[str, str], float | None] | dict[str, float | None], ...]
        tables = (self._tokens, self._keys, self._api_keys)
        for table in tables:
            for old in [key for key, expires in table.items() if expires is not None and expires < before]:
                table.pop(old)  # type: ignore[arg-type]


async def follow(source: Source, into: RevocationList) -> None:
    """Keeps a list current, for ever; what is known holds while the source is away."""
    complained = 0.0
    while True:
        stream = source(into.sequence)
        try:
            while True:
                async with asyncio.timeout(SILENCE):
                    into.take(await anext(stream))
        except (CordboardError, OSError, TimeoutError, StopAsyncIteration) as error:
            if into.age > SILENCE and time.monotonic() - complained > COMPLAIN_EVERY:
                complained = time.monotonic()
                logger.warning(
                    "the list of revocations is old",
                    extra={"age_seconds": round(into.age, 1), "problem": type(error).__name__},
                )
        finally:
            with contextlib.suppress(Exception):
                await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(AGAIN_AFTER)
