"""API keys as they travel: their form, and what each service does with one that comes with a call.

A key is `cbk_ENVIRONMENT_ID_SECRETCHECK`: the id 16, the secret 43 and the check 6 of 0-9, A-Z, a-z. The check is the
CRC-32 of everything before it, in base 62, so that a scanner of leaked secrets knows a key from what only looks like
one, and a service refuses a mistyped key without asking anybody.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from cordboard.core.errors import LimitExceeded, TokenInvalid

PREFIX: Final = "cbk_"
PATTERN: Final = re.compile(r"cbk_([a-z][a-z0-9-]{1,62})_([0-9A-Za-z]{16})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 16, 43, 6
# How long a service goes on with the token that it got for a key, in seconds. A revocation does not wait for it.
TOKEN_SECONDS: Final = 60.0
# A key that was refused never becomes good: so long nobody is asked again, in seconds.
REFUSED_SECONDS: Final = 5.0
_CACHE_SIZE: Final = 4096
K = TypeVar("K")
V = TypeVar("V")
# Bad keys of one address: so many at once, then so many a second.
BAD_BURST: Final = 20.0
BAD_RATE: Final = 1.0


@dataclass(frozen=True)
class KeyParts:
    """A key that has the form of one."""

    environment: str
    id: str


def new_key(environment: str) -> tuple[str, str]:
    """Makes a key of 256 random bits; returns its id and the key."""
    key_id = "".join(secrets.choice(_DIGITS) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_DIGITS) for _ in range(_SECRET_LENGTH))
    text = f"{PREFIX}{environment}_{key_id}_{secret}"
    return key_id, text + check_of(text)


def check_of(text: str) -> str:
    """Returns the check of what stands before it."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


def parts(key: str) -> KeyParts:
    """Returns what a key says of itself; raises TokenInvalid where it cannot be one."""
    found = PATTERN.fullmatch(key)
    if found is None or check_of(key[:-_CHECK_LENGTH]) != found[4]:
        raise TokenInvalid("malformed")
    return KeyParts(found[1], found[2])


class ApiKeys:
    """Exchanges the keys that come with calls for tokens, and slows down who sends bad ones."""

    def __init__(self, exchange: Callable[[str], Awaitable[str]]) -> None:
        """Takes what gives a token for a key, or raises TokenInvalid."""
        self._exchange = exchange
        # By the key's digest: what lies in memory for a minute need not be the key.
        self._tokens: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[str]] = {}
        self._bad: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def token(self, key: str, address: str) -> str:
        """Returns a token for a key that came from `address`; raises TokenInvalid, LimitExceeded or what Auth said."""
        digest, now = hashlib.sha256(key.encode()).digest(), time.monotonic()
        known = self._tokens.get(digest)
        if known is not None and now < known[0]:
            return known[1]
        self._check_limit(address, now)
        try:
            parts(key)
            refused = self._refused.get(digest)
            if refused is not None and now < refused[0]:
                raise TokenInvalid(refused[1])
            return await self._asked(key, digest)
        except TokenInvalid as error:
            self._tokens.pop(digest, None)
            _keep(self._refused, digest, (now + REFUSED_SECONDS, error.metadata["problem"]))
            self._count(address, now)
            raise

    async def _asked(self, key: str, digest: bytes) -> str:
        # Whoever comes with the same key meanwhile waits for the same answer, and does not lose it when another goes.
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._take(key, digest))
            asking.add_done_callback(lambda task: self._asked_for(digest, task))
        return await asyncio.shield(asking)

    async def _take(self, key: str, digest: bytes) -> str:
        token = await self._exchange(key)
        _keep(self._tokens, digest, (time.monotonic() + TOKEN_SECONDS, token))
        return token

    def _asked_for(self, digest: bytes, task: asyncio.Task[str]) -> None:
        del self._asking[digest]
        if not task.cancelled():
            task.exception()  # looked at, for it may be that nobody waits any more

    def _left(self, address: str, now: float) -> float:
        left, then = self._bad.get(address, (BAD_BURST, now))
        return min(BAD_BURST, left + (now - then) * BAD_RATE)

    def _check_limit(self, address: str, now: float) -> None:
        left = self._left(address, now)
        if left < 1:
            raise LimitExceeded("bad-api-keys", address or "callers", (1 - left) / BAD_RATE)

    def _count(self, address: str, now: float) -> None:
        _keep(self._bad, address, (max(0.0, self._left(address, now) - 1), now))


def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _CACHE_SIZE:
        table.popitem(last=False)
