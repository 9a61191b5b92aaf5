"""Signed requests: HTTP Digest (RFC 7616) and AWS Signature Version 4, as a vendor checks them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

REALM: Final = "Acme Desk"
NONCE_SECONDS: Final = 300
# At this many, the ones that ended are dropped.
MOST_NONCES: Final = 10_000
CLOCK_SKEW_SECONDS: Final = 300
SERVICE: Final = "desk"
REGION: Final = "eu-west-1"
_FIELD: Final = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_DIGESTS: Final = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a request proves who sent it with."""

    method: str
    target: str
    """The path and query, as they came."""
    url: str
    """The whole URL, as the client wrote it."""
    headers: Mapping[str, str]
    query: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes
    certificate: str = ""
    """The common name of the client's certificate; empty without one."""


def fields(header: str) -> dict[str, str]:
    """Returns the parameters of an Authorization header."""
    return {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(header)}


class Digest:
    """Checks digests, and challenges those who bring none."""

    def __init__(self, clock: Callable[[], float], user: str, password: str) -> None:
        self._clock = clock
        self._user, self._password = user, password
        self._counts: dict[str, tuple[float, int]] = {}

    def challenge(self, *, stale: bool = False) -> str:
        """Returns a challenge with a new nonce; the strongest algorithm alone, as most clients take the first."""
        if len(self._counts) >= MOST_NONCES:
            self._counts = {known: told for known, told in self._counts.items() if told[0] > self._clock()}
        nonce = secrets.token_urlsafe(18)
        self._counts[nonce] = (self._clock() + NONCE_SECONDS, 0)
        told = f'Digest realm="{REALM}", qop="auth", algorithm=SHA-256, nonce="{nonce}", opaque="desk"'
        return f"{told}, stale=true" if stale else told

    def proves(self, evidence: Evidence, given: Mapping[str, str]) -> bool:
        """Tells whether the digest is the user's, for this very request, and not a repetition."""
        digest = _DIGESTS.get(given.get("algorithm", "MD5"))
        known = self._counts.get(given.get("nonce", ""))
        if digest is None or known is None or known[0] <= self._clock() or given.get("uri") != evidence.target:
            return False
        try:
            count = int(given.get("nc", ""), 16)
        except ValueError:
            return False
        if count <= known[1] or given.get("qop") != "auth" or given.get("username") != self._user:
            return False
        one = digest(f"{self._user}:{REALM}:{self._password}".encode()).hexdigest()
        two = digest(f"{evidence.method}:{evidence.target}".encode()).hexdigest()
        text = ":".join((one, given["nonce"], given["nc"], given.get("cnonce", ""), "auth", two))
        if not hmac.compare_digest(digest(text.encode()).hexdigest(), given.get("response", "")):
            return False
        self._counts[given["nonce"]] = (known[0], count)
        return True


class SigV4:
    """Checks AWS signatures of version 4."""

    def __init__(self, clock: Callable[[], float], access_key: str, secret_key: str) -> None:
        self._clock = clock
        self._access_key, self._secret_key = access_key, secret_key

    def proves(self, evidence: Evidence, given: Mapping[str, str]) -> bool:
        """Tells whether the signature is of our key, of now, and of this very request with its body."""
        scope = given.get("credential", "").split("/")
        moment = evidence.headers.get("X-Amz-Date", "")
        try:
            sent = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return False
        wanted = [self._access_key, moment[:8], REGION, SERVICE, "aws4_request"]
        if scope != wanted or abs(sent - self._clock()) > CLOCK_SKEW_SECONDS:
            return False
        names = given.get("signedheaders", "").split(";")
        if "host" not in names or "x-amz-date" not in names or any(name not in evidence.headers for name in names):
            return False
        path, _, query = evidence.target.partition("?")
        canonical = "\n".join(
            (
                evidence.method,
                quote(path, safe="/-_.~"),
                _canonical_query(query),
                "".join(f"{name}:{' '.join(evidence.headers[name].split())}\n" for name in names),
                ";".join(names),
                hashlib.sha256(evidence.body).hexdigest(),
            )
        )
        text = "\n".join(
            ("AWS4-HMAC-SHA256", moment, "/".join(scope[1:]), hashlib.sha256(canonical.encode()).hexdigest())
        )
        key = f"AWS4{self._secret_key}".encode()
        for part in scope[1:]:
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return hmac.compare_digest(signature, given.get("signature", ""))


def _canonical_query(query: str) -> str:
    pairs = [each.partition("=") for each in query.split("&") if each]
    encoded = sorted(
        (quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")) for name, _, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in encoded)
