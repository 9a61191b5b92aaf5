"""Verifies workspace tokens: RS256 JWTs after RFC 9068, read as strictly as RFC 8725 asks.

Envoy verifies them first; every service does it again, for Envoy is a door and not the lock.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import jwt
from jwt.algorithms import RSAAlgorithm

from cordboard.core.caller import Caller
from cordboard.core.errors import CordboardError, TokenInvalid
from cordboard.core.revocations import Proof, RevocationList

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ALGORITHM: Final = "RS256"
TYPE: Final = "at+jwt"
MIN_RSA_BITS: Final = 2048
LEEWAY: Final = 5
MAX_TOKEN_BYTES: Final = 6144
MAX_LIFETIME: Final = 12 * 3600 + 60
ROLES: Final = frozenset({"reader", "member", "workspace-admin", "publisher", "operator"})
# With unknown key ids anybody can ask for fetches; this bounds how often one is made, in seconds.
REFETCH_AFTER: Final = 5.0
# Keys that left the set stop verifying after this long at most, in seconds.
KEYS_LIVE: Final = 60.0
_CACHE_SIZE: Final = 4096
_TEXT: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_TEXT_CLAIMS: Final = ("sub", "jti")
_OPTIONAL_TEXT_CLAIMS: Final = ("workspace", "environment", "customer", "tier", "region", "api_key")
_OPTIONAL_TIME_CLAIMS: Final = ("nbf", "auth_time", "generation")
THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True)
class _Known:
    """A token that was checked."""

    expires: float
    caller: Caller
    proof: Proof


def _no_certificate() -> str:
    return ""


class TokenVerifier:
    """Turns a token into a Caller, or raises TokenInvalid."""

    def __init__(
        self,
        keys: Callable[[], Awaitable[str]],
        issuer: str,
        audience: str,
        revocations: RevocationList | None = None,
    ) -> None:
        """Takes where the JSON Web Key Set comes from, as text, which issuer and audience to accept, and what was
        revoked.
        """
        self._fetch = keys
        self._revocations = RevocationList() if revocations is None else revocations
        self._keys_revoked = 0
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, Any] = {}
        self._key_text = ""
        self._fetched = -KEYS_LIVE
        self._asked = -REFETCH_AFTER
        self._fetching: asyncio.Task[None] | None = None
        # A token is checked once and then known by its text until it expires or the keys change.
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def verify(self, token: str, peer: str, certificate: Callable[[], str] = _no_certificate) -> Caller:
        """Returns the token's caller, who came by `peer`; raises TokenInvalid, or DependencyUnavailable.

        `certificate` gives the thumbprint of the certificate that the caller has shown, for tokens bound to one.
        """
        await self._refresh_if_old()
        known = self._known.get(token)
        if known is None or known.caller.peer != peer:
            known = await self._checked(token, peer)
            self._known[token] = known
            if len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)
        if time.time() > known.expires + LEEWAY:
            self._known.pop(token, None)
            raise TokenInvalid("expired")
        await self._revocations.ready()
        if self._revocations.holds(known.proof):
            raise TokenInvalid("revoked")
        if known.caller.certificate and not hmac.compare_digest(known.caller.certificate, certificate()):
            raise TokenInvalid("binding")
        return known.caller

    async def ready(self) -> None:
        """Returns once there are keys; raises what keeps them away."""
        if not self._keys:
            await self._refresh()

    async def _checked(self, token: str, peer: str) -> _Known:
        if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
            raise TokenInvalid("malformed")
        header_part, claims_part, _ = token.split(".")
        header = _json_object(header_part)
        if header.get("alg") != ALGORITHM or header.get("typ") != TYPE or set(header) - {"alg", "typ", "kid"}:
            raise TokenInvalid("malformed")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise TokenInvalid("malformed")
        _json_object(claims_part)  # duplicates and wrong shapes, which the library lets pass
        try:
            claims = jwt.decode(
                token,
                await self._key(kid),
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError:
            raise TokenInvalid("expired") from None
        except jwt.InvalidIssuerError:
            raise TokenInvalid("issuer") from None
        except jwt.InvalidAudienceError:
            raise TokenInvalid("audience") from None
        except jwt.InvalidSignatureError:
            raise TokenInvalid("signature") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenInvalid("malformed") from None
        caller = _caller(claims, peer)
        proof = Proof(caller.token_id, kid, caller.workspace, claims.get("generation", 0), caller.api_key)
        return _Known(float(claims["exp"]), caller, proof)

    async def _key(self, kid: str) -> Any:
        # Where a key was revoked, another one signs from then on.
        if self._keys_revoked != self._revocations.keys_revoked:
            self._keys_revoked, self._asked = self._revocations.keys_revoked, time.monotonic() - REFETCH_AFTER
        # Whoever comes while the keys are being fetched waits for them: a new key's first tokens come together.
        if kid not in self._keys and (self._fetching or time.monotonic() - self._asked >= REFETCH_AFTER):
            await self._refresh()
        found = self._keys.get(kid)
        if found is None:
            raise TokenInvalid("signature")
        return found

    async def _refresh_if_old(self) -> None:
        if time.monotonic() - self._fetched < KEYS_LIVE:
            return
        if not self._keys:
            await self._refresh()
        elif time.monotonic() - self._asked >= REFETCH_AFTER:
            # Auth may be away: what is known goes on verifying.
            with contextlib.suppress(CordboardError, OSError, ValueError, KeyError):
                await self._refresh()

    async def _refresh(self) -> None:
        if self._fetching is None:
            self._asked = time.monotonic()
            self._fetching = asyncio.create_task(self._take_keys())
            self._fetching.add_done_callback(self._taken)
        # A caller who goes away must not take the fetch from the others.
        await asyncio.shield(self._fetching)

    def _taken(self, fetching: asyncio.Task[None]) -> None:
        self._fetching = None
        if not fetching.cancelled():
            fetching.exception()  # looked at, for it may be that nobody waits any more

    async def _take_keys(self) -> None:
        text = await self._fetch()
        keys = {}
        for entry in json.loads(text)["keys"]:
            if entry.get("kty") == "RSA" and entry.get("alg") == ALGORITHM and entry.get("use") == "sig":
                key = RSAAlgorithm.from_jwk(entry)
                if key.key_size >= MIN_RSA_BITS:
                    keys[entry["kid"]] = key
        if text != self._key_text:
            self._known.clear()
        self._keys, self._key_text = keys, text
        self._fetched = time.monotonic()


def _caller(claims: dict[str, Any], peer: str) -> Caller:
    for name in ("exp", "iat", *_OPTIONAL_TIME_CLAIMS):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
            raise TokenInvalid("claims")
    if claims["exp"] - claims["iat"] > MAX_LIFETIME or claims["iat"] > time.time() + LEEWAY:
        raise TokenInvalid("claims")
    for name in _TEXT_CLAIMS:
        if not isinstance(claims[name], str) or not _TEXT.fullmatch(claims[name]):
            raise TokenInvalid("claims")
    texts = {name: claims.get(name, "") for name in _OPTIONAL_TEXT_CLAIMS}
    for value in texts.values():
        if not isinstance(value, str) or (value and not _TEXT.fullmatch(value)):
            raise TokenInvalid("claims")
    roles = claims.get("roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) and role in ROLES for role in roles):
        raise TokenInvalid("claims")
    if not texts["workspace"] and not set(roles) <= {"operator", "publisher"}:
        raise TokenInvalid("claims")
    return Caller(
        peer=peer,
        subject=claims["sub"],
        token_id=claims["jti"],
        roles=frozenset(roles),
        auth_time=claims.get("auth_time", claims["iat"]),
        certificate=_bound_to(claims),
        **texts,
    )


def _bound_to(claims: dict[str, Any]) -> str:
    if "cnf" not in claims:
        return ""
    # Any other way to confirm is one that we cannot check, and so no reason to let somebody in.
    confirmed = claims["cnf"]
    if not isinstance(confirmed, dict) or set(confirmed) != {"x5t#S256"}:
        raise TokenInvalid("claims")
    thumbprint = confirmed["x5t#S256"]
    if not isinstance(thumbprint, str) or not THUMBPRINT.fullmatch(thumbprint):
        raise TokenInvalid("claims")
    return thumbprint


def _json_object(part: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
            raise TokenInvalid("malformed")
        # As text: of bytes the library guesses the encoding, and takes UTF-16 or a byte order mark.
        found = json.loads(raw.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, binascii.Error, RecursionError):
        raise TokenInvalid("malformed") from None
    if not isinstance(found, dict):
        raise TokenInvalid("malformed")
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
