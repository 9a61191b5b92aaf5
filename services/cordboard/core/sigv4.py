"""AWS Signature Version 4: the headers that sign a request. Pure."""

from __future__ import annotations

import hashlib
import hmac
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from yarl import URL

from cordboard.core.secrets import Secret

AUTHORIZATION: Final = "Authorization"
DATE: Final = "X-Amz-Date"
TOKEN: Final = "X-Amz-Security-Token"  # noqa: S105 - the name of a header
CONTENT: Final = "X-Amz-Content-Sha256"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
# S3 takes the path as it is sent; every other service encodes each segment once more.
_PLAIN_PATHS: Final = frozenset({"s3", "s3-outposts", "s3-object-lambda", "s3express"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """An access key."""

    access_key_id: str
    secret_access_key: Secret[str]
    session_token: Secret[str]
    """Empty: the key is no temporary one."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for."""

    service: str
    region: str


def signed(
    keys: AwsKeys, scope: Scope, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, now: datetime
) -> dict[str, str]:
    """Returns the headers with those that sign the request.

    Signed are the host, `Content-Type`, and every `X-Amz-` header; what a proxy may change on the way is not.
    """
    own = {AUTHORIZATION.lower(), DATE.lower(), TOKEN.lower(), CONTENT.lower()}
    sent = {name: value for name, value in headers.items() if name.lower() not in own}
    moment = now.astimezone(UTC)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    content = hashlib.sha256(body or b"").hexdigest()
    sent[DATE] = stamp
    if keys.session_token.reveal():
        sent[TOKEN] = keys.session_token.reveal()
    plain = scope.service in _PLAIN_PATHS
    if plain:
        sent[CONTENT] = content
    covered = {
        name.lower(): " ".join(value.split())
        for name, value in sent.items()
        if name.lower() == "content-type" or name.lower().startswith("x-amz-")
    }
    covered["host"] = _host(url)
    names = ";".join(sorted(covered))
    canonical = "\n".join(
        (
            method,
            url.raw_path if plain else _path(url.raw_path),
            _query(url.raw_query_string),
            *(f"{name}:{covered[name]}" for name in sorted(covered)),
            "",
            names,
            content,
        )
    )
    day = stamp[:8]
    credential_scope = f"{day}/{scope.region}/{scope.service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, credential_scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{keys.secret_access_key.reveal()}".encode()
    for part in (day, scope.region, scope.service, "aws4_request"):
        key = _mac(key, part)
    signature = _mac(key, text).hex()
    sent[AUTHORIZATION] = (
        f"{_ALGORITHM} Credential={keys.access_key_id}/{credential_scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _host(url: URL) -> str:
    host = (url.raw_host or "").lower()
    if ":" in host:
        host = f"[{host}]"
    return host if url.port == _DEFAULT_PORTS.get(url.scheme) else f"{host}:{url.port}"


def _path(path: str) -> str:
    normal = posixpath.normpath(path) if path else "/"
    # POSIX keeps two slashes at the beginning, and drops the one at the end.
    normal = "/" + normal.strip("/") + ("/" if path.endswith("/") and normal.strip("/") else "")
    return quote(normal, safe="/-_.~")


def _query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    # A plus sign is a plus sign to AWS, where a form would have a space.
    return "&".join(
        f"{name}={value}" for name, value in sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    )


def _encoded(text: str) -> str:
    return quote(unquote(text, errors="surrogateescape"), safe="-_.~", errors="surrogateescape")
