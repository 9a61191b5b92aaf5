"""HTTP Digest (RFC 7616): the answer to a vendor's challenge. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cordboard.core.secrets import Secret

# What stands between parameters; then the name of a parameter with its value, or of a scheme. Both are matched where
# the one before ended and never searched for, so a header is read once from left to right, whatever a vendor sends.
_BETWEEN: Final = re.compile(r"[\s,]*")
_PIECE: Final = re.compile(r"([!#$%&'*+\-.^_`|~\w]+)(?:\s*(=)\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*)))?", re.ASCII)
# A challenge is a few hundred bytes; nobody needs more to ask for a password.
_MAX_HEADER: Final = 4096
_ESCAPED: Final = re.compile(r"\\(.)")
_QUOTED: Final = re.compile(r'(["\\])')
_SESSION: Final = "-SESS"
_COUNT: Final = "00000001"


def _md5(text: bytes) -> str:
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _sha512_256(text: bytes) -> str:
    return hashlib.new("sha512_256", text).hexdigest()


# The strongest first: section 3.7 has the client take the strongest one that it knows.
_HASHES: Final[Mapping[str, Callable[[bytes], str]]] = {"SHA-512-256": _sha512_256, "SHA-256": _sha256, "MD5": _md5}


@dataclass(frozen=True, slots=True)
class DigestUser:
    """A user name and a password, which never goes over the wire."""

    name: str
    password: Secret[str]


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a vendor asks, as far as it can be answered."""

    realm: str
    nonce: str
    algorithm: str
    """As the vendor wrote it; empty: it named none, which means MD5."""
    opaque: str | None
    protected: bool
    """Whether the answer has `qop=auth`; without it is the older form of RFC 2069."""
    hides_user: bool
    """The vendor wants the user name hashed."""

    @property
    def hashed(self) -> str:
        """Returns the name of the hash."""
        return self.algorithm.upper().removesuffix(_SESSION) or "MD5"


def strongest(headers: Iterable[str]) -> Challenge | None:
    """Returns the strongest answerable challenge of a vendor's `WWW-Authenticate` headers, if there is one."""
    found = [one for one in map(_challenge, _digests(headers)) if one is not None]
    order = list(_HASHES)
    return min(found, key=lambda one: order.index(one.hashed), default=None)


def authorization(challenge: Challenge, user: DigestUser, method: str, target: str, client_nonce: str) -> str:
    """Returns the value of the `Authorization` header.

    `target` is the path and query as they are sent; `client_nonce` must never have been used before.
    """
    digest = _HASHES[challenge.hashed]

    def hashed(*texts: str) -> str:
        return digest(":".join(texts).encode())

    secret = hashed(user.name, challenge.realm, user.password.reveal())
    if challenge.algorithm.upper().endswith(_SESSION):
        secret = hashed(secret, challenge.nonce, client_nonce)
    request = hashed(method, target)
    if challenge.protected:
        response = hashed(secret, challenge.nonce, _COUNT, client_nonce, "auth", request)
    else:
        response = hashed(secret, challenge.nonce, request)
    parts = [
        _user(challenge, user, hashed),
        f"realm={_quoted(challenge.realm)}",
        f"nonce={_quoted(challenge.nonce)}",
        f"uri={_quoted(target)}",
        f'response="{response}"',
    ]
    if challenge.algorithm:
        parts.append(f"algorithm={challenge.algorithm}")
    if challenge.opaque is not None:
        parts.append(f"opaque={_quoted(challenge.opaque)}")
    if challenge.protected:
        parts += ["qop=auth", f"nc={_COUNT}", f"cnonce={_quoted(client_nonce)}"]
    if challenge.hides_user:
        parts.append("userhash=true")
    return "Digest " + ", ".join(parts)


def _user(challenge: Challenge, user: DigestUser, hashed: Callable[..., str]) -> str:
    if challenge.hides_user:
        return f'username="{hashed(user.name, challenge.realm)}"'
    if user.name.isascii():
        return f"username={_quoted(user.name)}"
    # Section 3.4: a name that does not fit into a quoted string goes as RFC 8187 writes it.
    return f"username*=UTF-8''{quote(user.name, safe='')}"


def _digests(headers: Iterable[str]) -> list[dict[str, str]]:
    """Returns the parameters of each Digest challenge; a header can hold several, of several schemes."""
    found: list[dict[str, str]] = []
    for header in headers:
        here: dict[str, str] = {}
        for name, value in _pieces(header[:_MAX_HEADER]):
            if value is not None:
                here.setdefault(name.lower(), value)
                continue
            here = {}
            if name.lower() == "digest":
                found.append(here)
    return found


def _pieces(header: str) -> Iterator[tuple[str, str | None]]:
    """Yields each name with its value, or with None where it names a scheme, up to what cannot be read."""
    at = 0
    while (piece := _PIECE.match(header, _between(header, at))) is not None:
        name, equals, quoted, plain = piece.groups()
        yield name, (_ESCAPED.sub(r"\1", quoted) if quoted else plain or "") if equals else None
        at = piece.end()


def _between(header: str, at: int) -> int:
    found = _BETWEEN.match(header, at)
    return at if found is None else found.end()


def _challenge(told: Mapping[str, str]) -> Challenge | None:
    algorithm = told.get("algorithm", "")
    qops = {each.strip().lower() for each in told.get("qop", "").split(",")} - {""}
    challenge = Challenge(
        realm=told.get("realm", ""),
        nonce=told.get("nonce", ""),
        algorithm=algorithm,
        opaque=told.get("opaque"),
        protected="auth" in qops,
        hides_user=told.get("userhash", "").lower() == "true",
    )
    answerable = challenge.nonce and challenge.hashed in _HASHES and (challenge.protected or not qops)
    return challenge if answerable else None


def _quoted(text: str) -> str:
    escaped = _QUOTED.sub(r"\\\1", text)
    return f'"{escaped}"'
