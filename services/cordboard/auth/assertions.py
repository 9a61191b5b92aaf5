"""JWTs that a customer's own key signs: assertions for token endpoints (RFC 7523), and tokens that need none."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cordboard.core.secrets import Secret

ASSERTION_SECONDS: Final = 300
# Shown at once, to one server: it need not live as long as what a definition asks for.
CLIENT_SECONDS: Final = 120
SHORTEST_KEY_BITS: Final = 2048
SHORTEST_SECRET_BYTES: Final = 16
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512")


class KeyInvalid(Exception):
    """A key cannot sign: it cannot be read, or is not of the algorithm."""


@dataclass(frozen=True)
class Claims:
    """What a JWT says."""

    issuer: str = ""
    subject: str = ""
    audience: str = ""
    seconds: int = ASSERTION_SECONDS
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further claims; they do not replace those above."""


def signed(
    claims: Claims,
    key: Secret[str],
    *,
    algorithm: str = "RS256",
    key_id: str = "",
    now: Callable[[], float] = time.time,
) -> Secret[str]:
    """Returns a JWT with `iat`, `exp` and a `jti` of its own; raises KeyInvalid."""
    moment = int(now())
    told = {"iss": claims.issuer, "sub": claims.subject, "aud": claims.audience}
    payload = {
        **claims.extra,
        **{name: value for name, value in told.items() if value},
        "iat": moment,
        "exp": moment + claims.seconds,
        "jti": secrets.token_urlsafe(16),
    }
    check_key(key, algorithm)
    headers = {"kid": key_id} if key_id else None
    try:
        return Secret(jwt.encode(payload, key.reveal(), algorithm=algorithm, headers=headers))
    except (jwt.PyJWTError, ValueError, TypeError):
        raise KeyInvalid from None


def client_assertion(client_id: str, key: Secret[str], audience: str) -> Secret[str]:
    """Returns what a client shows in place of a secret (RFC 7523 section 2.2); raises KeyInvalid.

    The key is PEM, or a JWK (RFC 7517), whose `kid` and `alg` are then used; without an `alg` the key's kind decides.
    """
    text, algorithm, key_id = key.reveal(), "", ""
    try:
        if text.lstrip().startswith("{"):
            jwk = json.loads(text)
            algorithm, key_id = jwk.get("alg", ""), jwk.get("kid", "")
            if algorithm and (algorithm not in ALGORITHMS or algorithm.startswith("HS")):
                raise KeyInvalid
            private = jwt.PyJWK(jwk).key
            raw = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            key = Secret(raw.decode())
        else:
            private = load_pem_private_key(text.encode(), None)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError):
        raise KeyInvalid from None
    if not isinstance(key_id, str):
        raise KeyInvalid
    claims = Claims(issuer=client_id, subject=client_id, audience=audience, seconds=CLIENT_SECONDS)
    return signed(claims, key, algorithm=algorithm or _usual(private), key_id=key_id)


def _usual(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return f"ES{key.curve.key_size}"
    return "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "RS256"


def check_key(key: Secret[str], algorithm: str) -> None:
    """Raises KeyInvalid unless the key, PEM or a shared secret, is one for the algorithm and long enough."""
    if algorithm not in ALGORITHMS:
        raise KeyInvalid
    if algorithm.startswith("HS"):
        if len(key.reveal().encode()) < SHORTEST_SECRET_BYTES:
            raise KeyInvalid
        return
    try:
        loaded = load_pem_private_key(key.reveal().encode(), None)
    except (ValueError, TypeError, UnicodeEncodeError):
        raise KeyInvalid from None
    fitting = (
        (
            isinstance(loaded, rsa.RSAPrivateKey)
            and loaded.key_size >= SHORTEST_KEY_BITS
            and algorithm.startswith(("RS", "PS"))
        )
        or (isinstance(loaded, ec.EllipticCurvePrivateKey) and algorithm == f"ES{loaded.curve.key_size}")
        or (isinstance(loaded, ed25519.Ed25519PrivateKey) and algorithm == "EdDSA")
    )
    if not fitting:
        raise KeyInvalid
