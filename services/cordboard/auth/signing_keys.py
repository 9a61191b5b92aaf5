"""The keys that sign tokens: published, then signing, then only verifying, then gone.

What a key does follows from its times and from the database's clock, so all replicas agree without talking to each
other: a new key is published at once, signs after an overlap in which every verifier fetches it, and stays until the
last token of its time has expired.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from cordboard.auth.envelope import Unreadable
from cordboard.auth.fields import a_title
from cordboard.auth.store import keys as rows
from cordboard.auth.store.token_revocations import CHANNEL, add_revocation
from cordboard.auth.vault import SYSTEM
from cordboard.core.audit import Entry
from cordboard.core.database import notify
from cordboard.core.errors import CordboardError, DependencyUnavailable, InvalidFields, NotFound
from cordboard.core.secrets import Secret
from cordboard.core.tokens import ALGORITHM, LEEWAY, MAX_LIFETIME, TYPE

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

# Every call of every service verifies, and 3072 bits nearly double the cost of that; a key that is replaced within
# months needs no more than 2048 (NIST SP 800-57: acceptable through 2030).
RSA_BITS: Final = 2048
# Verifiers take the longest life plus a minute, and their clocks may be off by the leeway.
RETIRE_AFTER: Final = timedelta(seconds=MAX_LIFETIME + LEEWAY)
SNAPSHOT_SECONDS: Final = 1.0
READ_SECONDS: Final = 1.0
# How often it is looked whether a key is due to be replaced, in seconds.
LOOK_SECONDS: Final = 60.0


class State(Enum):
    """What a key does."""

    PUBLISHED = "published"
    SIGNING = "signing"
    VERIFYING = "verifying"


@dataclass(frozen=True)
class SigningKey:
    """What may be known of a signing key."""

    kid: str
    state: State
    create_time: datetime
    expire_time: datetime | None


@dataclass(frozen=True)
class Turn:
    """The key whose turn it is to sign, and the database's time at which it is."""

    row: rows.SigningKeyRow
    now: datetime


class SigningKeys:
    """Keeps the signing keys, in the vault."""

    def __init__(self, database: Database, vault: Vault, journal: Journal, clock: Clock, *, overlap: float) -> None:
        """Takes how many seconds a new key is published before it signs."""
        self._database = database
        self._vault = vault
        self._journal = journal
        self._clock = clock
        self._overlap = timedelta(seconds=overlap)
        self._opened: dict[str, rsa.RSAPrivateKey] = {}
        self._jwks = ""
        self._jwks_until = 0.0
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Makes the first key where there is none, and opens the one that signs.

        Raises Unreadable or DependencyUnavailable when the vault cannot open it, for then it could open nothing else
        either.
        """
        async with self._database.shared() as connection:
            _, known = await rows.signing_keys(connection)
        if not known:
            made = await self._made()
            async with self._database.shared() as connection:
                await rows.lock_signing_keys(connection)
                now, known = await rows.signing_keys(connection)
                if not known:
                    # Nobody verifies yet, so it signs at once.
                    await self._add(connection, made, now, now)
        async with self._database.shared() as connection:
            turn = await self.turn(connection)
        await self._private_key(turn.row)

    async def turn(self, connection: AsyncConnection) -> Turn:
        """Returns whose turn it is to sign."""
        now, known = await rows.signing_keys(connection)
        states = _states(now, known)
        return Turn(next(row for row in known if states[row.kid] is State.SIGNING), now)

    async def sign(self, turn: Turn, claims: dict[str, Any]) -> Secret[str]:
        """Returns the claims as a JWT of RFC 9068, signed by the key whose turn it is."""
        key = await self._private_key(turn.row)
        return Secret(jwt.encode(claims, key, ALGORITHM, headers={"typ": TYPE, "kid": turn.row.kid}))

    async def jwks(self) -> str:
        """Returns the public keys as a JSON Web Key Set (RFC 7517); when the database is away, as last seen."""
        if self._clock.monotonic() < self._jwks_until:
            return self._jwks
        async with self._reading:
            if self._clock.monotonic() >= self._jwks_until:
                try:
                    # A database that hangs would hold up every verifier of the mesh.
                    async with asyncio.timeout(READ_SECONDS), self._database.shared() as connection:
                        _, known = await rows.signing_keys(connection)
                except (DependencyUnavailable, TimeoutError):
                    if not self._jwks:
                        raise DependencyUnavailable("database") from None
                else:
                    self._jwks = json.dumps({"keys": [row.jwk for row in known]}, separators=(",", ":"))
                self._jwks_until = self._clock.monotonic() + SNAPSHOT_SECONDS
        return self._jwks

    async def keys(self) -> list[SigningKey]:
        """Returns the keys that are not gone, newest first."""
        async with self._database.shared() as connection:
            now, known = await rows.signing_keys(connection)
        states = _states(now, known)
        return [_shown(row, states[row.kid]) for row in reversed(known)]

    async def rotate(self) -> SigningKey:
        """Publishes a new key, which signs after the overlap; returns it."""
        made = await self._made()
        async with self._database.shared() as connection:
            await rows.lock_signing_keys(connection)
            now, known = await rows.signing_keys(connection)
            row = await self._publish(connection, made, now, known)
        self._jwks_until = 0.0
        return _shown(row, State.PUBLISHED)

    async def rotate_when_old(self, seconds: float) -> None:
        """Rotates, for ever, when the newest key is older than so many seconds: once, however many processes do it."""
        while True:
            try:
                await self._rotate_if_older(timedelta(seconds=seconds))
            except (CordboardError, Unreadable) as error:
                logger.warning("signing keys are not rotated now", extra={"problem": type(error).__name__})
            await asyncio.sleep(min(LOOK_SECONDS, seconds / 4))

    async def _rotate_if_older(self, age: timedelta) -> None:
        async with self._database.shared() as connection:
            now, known = await rows.signing_keys(connection)
        if now - known[-1].create_time < age:
            return
        made = await self._made()
        async with self._database.shared() as connection:
            await rows.lock_signing_keys(connection)
            now, known = await rows.signing_keys(connection)
            # Another process may have been first.
            if now - known[-1].create_time >= age:
                await self._publish(connection, made, now, known)
        self._jwks_until = 0.0

    async def revoke(self, kid: str, reason: str, actor: str) -> SigningKey:
        """Takes a key out of the set at once, and returns the one that signs from now on; raises NotFound."""
        if wrong := a_title(reason, "reason"):
            raise InvalidFields(wrong)
        made = await self._made()
        async with self._database.shared() as connection:
            await rows.lock_signing_keys(connection)
            now, known = await rows.signing_keys(connection)
            states = _states(now, known)
            if kid not in states:
                raise NotFound(_resource(kid))
            left = [row for row in known if row.kid != kid]
            signing = next((row for row in left if states[row.kid] is State.SIGNING), None)
            await rows.delete_signing_key(connection, kid)
            if signing is None:
                # Whoever waits for its turn was published; without one, verifiers learn a new one with the news.
                waiting = next((row for row in left if states[row.kid] is State.PUBLISHED), None)
                if waiting is None:
                    signing = await self._add(connection, made, now, now)
                else:
                    await rows.sign_from(connection, waiting.kid, now)
                    signing = waiting
            await rows.expire_signing_key(connection, (left or [signing])[-1].kid, None)
            entry = Entry(
                action="auth.signing-key.revoke",
                resource=_resource(kid),
                details={"reason": reason, "signing": signing.kid},
            )
            await self._journal.append(connection, entry)
            until = now + RETIRE_AFTER
            await add_revocation(connection, "signing-key", subject=kid, reason=reason, actor=actor, expire_time=until)
            await notify(connection, CHANNEL)
        self._opened.pop(kid, None)
        self._jwks_until = 0.0
        return SigningKey(signing.kid, State.SIGNING, signing.create_time, None)

    async def _publish(
        self,
        connection: AsyncConnection,
        made: tuple[dict[str, Any], bytes],
        now: datetime,
        known: list[rows.SigningKeyRow],
    ) -> rows.SigningKeyRow:
        last = known[-1]
        # After every other key, also one that is still waiting for its turn.
        sign_time = max(now + self._overlap, last.sign_time + timedelta(milliseconds=1))
        await rows.expire_signing_key(connection, last.kid, sign_time + RETIRE_AFTER)
        row = await self._add(connection, made, now, sign_time)
        await rows.drop_gone_signing_keys(connection)
        return row

    async def _made(self) -> tuple[dict[str, Any], bytes]:
        private = await asyncio.to_thread(rsa.generate_private_key, 65537, RSA_BITS)
        jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        kid = _thumbprint(jwk)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        drawer = await self._vault.drawer(SYSTEM)
        sealed = drawer.seal(_resource(kid), "private_key", 1, Secret(pem.decode()))
        public = {"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": kid, "n": jwk["n"], "e": jwk["e"]}
        return public, sealed

    async def _add(
        self, connection: AsyncConnection, made: tuple[dict[str, Any], bytes], now: datetime, sign_time: datetime
    ) -> rows.SigningKeyRow:
        public, sealed = made
        row = rows.SigningKeyRow(public["kid"], public, sealed, now, sign_time, None)
        await rows.add_signing_key(connection, row)
        entry = Entry(
            action="auth.signing-key.create",
            resource=_resource(row.kid),
            details={"sign_time": sign_time.isoformat()},
        )
        await self._journal.append(connection, entry)
        return row

    async def _private_key(self, row: rows.SigningKeyRow) -> rsa.RSAPrivateKey:
        found = self._opened.get(row.kid)
        if found is None:
            drawer = await self._vault.drawer(SYSTEM)
            pem = drawer.open(_resource(row.kid), "private_key", 1, row.sealed)
            # What the vault opens is what was sealed here, or it would not open: to check that its primes are primes
            # takes a twentieth of a second, for which the event loop would stand still.
            loaded = serialization.load_pem_private_key(
                pem.reveal().encode(), None, unsafe_skip_rsa_key_validation=True
            )
            if not isinstance(loaded, rsa.RSAPrivateKey):
                raise Unreadable
            # One key signs at a time: the one before is not needed again.
            self._opened = {row.kid: loaded}
            found = loaded
        return found


def _states(now: datetime, known: list[rows.SigningKeyRow]) -> dict[str, State]:
    # In the order of their turns. Where the clock went back before the first turn, the first key signs.
    turn = max((index for index, row in enumerate(known) if row.sign_time <= now), default=0)
    by_place = {-1: State.VERIFYING, 0: State.SIGNING, 1: State.PUBLISHED}
    return {row.kid: by_place[(index > turn) - (index < turn)] for index, row in enumerate(known)}


def _shown(row: rows.SigningKeyRow, state: State) -> SigningKey:
    return SigningKey(row.kid, state, row.create_time, row.expire_time if state is State.VERIFYING else None)


def _resource(kid: str) -> str:
    return f"signingKeys/{kid}"


def _thumbprint(jwk: dict[str, Any]) -> str:
    # RFC 7638: the SHA-256 of the required members in the order of their names.
    canonical = json.dumps({"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
