"""The client's side of OAuth 2 (RFC 6749, 7009, 7636, 9207): requests to vendors, and a strict reading of answers.

Nothing a token endpoint answers is trusted to have a shape, a size or an end.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus, urlencode

import aiohttp
from opentelemetry.trace import SpanKind

from cordboard.auth.definitions import OAuth
from cordboard.core.egress import ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import EgressDenied, OAuthFailed
from cordboard.core.secrets import Secret
from cordboard.core.telemetry import span

MAX_ANSWER_BYTES: Final = 256 * 1024
EXCHANGE_SECONDS: Final = 10.0
# Below the lease of a refresh: whoever holds the lease has its answer, or has given up, before another may begin.
REFRESH_SECONDS: Final = 8.0
SHORTEST_LIFE: Final = 30
LONGEST_LIFE: Final = 90 * 24 * 3600
LONGEST_PAUSE: Final = 300.0
# What the vendors call a grant that is over: RFC 6749's word, and what some send in its place.
_OVER: Final = frozenset({"invalid_grant", "bad_refresh_token", "invalid_refresh_token"})
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# RFC 6749 appendix A: VSCHAR. A token goes into a header as it is.
_TOKEN: Final = re.compile(r"[\x20-\x7e]{1,16384}")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Client:
    """Our registration at a vendor; without a secret it is a public one."""

    id: str
    secret: Secret[str] | None


@dataclass(frozen=True)
class Granted:
    """What a token endpoint gave."""

    access_token: Secret[str]
    refresh_token: Secret[str] | None
    seconds: int | None
    """How long the access token lives; None: the vendor did not say."""
    scopes: tuple[str, ...] | None
    """None: as they were asked for (RFC 6749 section 5.1)."""


@dataclass(frozen=True)
class Refused:
    """What a token endpoint gave instead."""

    problem: str
    """A fixed word of ours, or the vendor's `error` code."""
    over: bool = False
    """The vendor says that the grant is no more; otherwise nobody knows, and trying again may help."""
    retry_after: float | None = None


class Revocation(Enum):
    """What came of an attempt to revoke."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


def is_scope(text: str) -> bool:
    """Tells whether a text is one scope (RFC 6749 section 3.3)."""
    return _SCOPE.fullmatch(text) is not None


def error_code(text: object) -> str:
    """Returns a vendor's `error` code where it looks like one, and `error` otherwise: it comes from outside."""
    return text if isinstance(text, str) and _CODE.fullmatch(text) else "error"


def new_secret() -> Secret[str]:
    """Returns 256 random bits as URL-safe text: a state, or a PKCE verifier (RFC 7636 section 4.1)."""
    return Secret(secrets.token_urlsafe(32))


def state_hash(state: str) -> bytes:
    """Returns what is stored of a state; it is random enough for a plain hash."""
    return hashlib.sha256(state.encode()).digest()


def authorization_url(
    oauth: OAuth,
    client: Client,
    *,
    redirect_uri: str,
    state: Secret[str],
    verifier: Secret[str],
    scopes: tuple[str, ...],
) -> str:
    """Returns the URL to send the person to: authorization code with PKCE S256 (RFC 7636), always."""
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": state.reveal(),
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    if scopes:
        query["scope"] = " ".join(scopes)
    separator = "&" if "?" in oauth.authorization_url else "?"
    return f"{oauth.authorization_url}{separator}{urlencode(query)}"


class TokenEndpoints:
    """Asks vendors for tokens, through the guarded way out."""

    def __init__(self, session: aiohttp.ClientSession, *, plain_http: bool) -> None:
        """Takes a session of `Egress`; `plain_http` allows http, for vendors inside a private network."""
        self._session = session
        self._schemes = ("https", "http") if plain_http else ("https",)

    async def exchange(
        self, oauth: OAuth, client: Client, *, code: str, verifier: Secret[str], redirect_uri: str
    ) -> Granted:
        """Returns the tokens for an authorization code; raises OAuthFailed."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier.reveal(),
        }
        outcome = await self._ask("oauth exchange", oauth, client, form, EXCHANGE_SECONDS)
        if isinstance(outcome, Refused):
            raise OAuthFailed(outcome.problem)
        return outcome

    async def refresh(self, oauth: OAuth, client: Client, refresh_token: Secret[str]) -> Granted | Refused:
        """Returns what came of a refresh token; it raises nothing."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        outcome = await self._ask("oauth refresh", oauth, client, form, REFRESH_SECONDS)
        if isinstance(outcome, Granted) and outcome.refresh_token is None:
            # RFC 6749 section 6: without a new one, the old one stays.
            return replace(outcome, refresh_token=refresh_token)
        return outcome

    async def revoke(self, oauth: OAuth, client: Client, token: Secret[str], hint: str) -> Revocation:
        """Revokes a token (RFC 7009); it raises nothing."""
        form = {"token": token.reveal(), "token_type_hint": hint}
        answer = await self._post("oauth revoke", oauth.revocation_url, oauth, client, form, EXCHANGE_SECONDS)
        if isinstance(answer, Refused):
            return Revocation.UNKNOWN
        if answer.status == 200:
            return Revocation.DONE
        busy = answer.status >= 500 or answer.status in {408, 429}
        return Revocation.UNKNOWN if busy else Revocation.REFUSED

    async def _ask(
        self, name: str, oauth: OAuth, client: Client, form: Mapping[str, str], seconds: float
    ) -> Granted | Refused:
        answer = await self._post(name, oauth.token_url, oauth, client, form, seconds)
        return answer if isinstance(answer, Refused) else _read(answer)

    async def _post(
        self, name: str, url: str, oauth: OAuth, client: Client, form: Mapping[str, str], seconds: float
    ) -> _Answer | Refused:
        headers = {"Accept": "application/json"}
        fields = dict(form)
        if client.secret is None or oauth.authentication == "none":
            fields["client_id"] = client.id
        elif oauth.authentication == "post":
            fields |= {"client_id": client.id, "client_secret": client.secret.reveal()}
        else:
            headers["Authorization"] = _basic(client.id, client.secret)
        try:
            target = check_url(url)
            if target.scheme not in self._schemes:
                return Refused("insecure_endpoint")
            with span(name, SpanKind.CLIENT, server_address=target.host or ""):
                async with self._session.post(
                    target,
                    data=fields,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=3.0),
                ) as response:
                    body = await read_limited(response, MAX_ANSWER_BYTES)
                    return _Answer(response.status, body, _pause(response.headers.get("Retry-After", "")))
        except EgressDenied:
            return Refused("egress_denied")
        except ResponseTooLarge:
            return Refused("answer_too_large")
        except TimeoutError:
            return Refused("timeout")
        except (aiohttp.ClientError, OSError, ValueError):
            return Refused("unreachable")


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after: float | None


def _read(answer: _Answer) -> Granted | Refused:
    try:
        found = json.loads(answer.body.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    problem = _told(found)
    # Some vendors send errors with status 200. What a broken one says of the grant is not believed.
    if problem or answer.status != 200:
        over = problem in _OVER and answer.status < 500
        return Refused(problem or f"http_{answer.status}", over, answer.retry_after)
    if not isinstance(found, dict):
        return Refused("answer_unreadable")
    kind = found.get("token_type", "bearer")
    # RFC 6749 section 7.1: a token of a type that is not understood is not used. Some vendors leave the type out.
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return Refused("token_type")
    try:
        return Granted(
            _token(found.get("access_token")),
            _token(found["refresh_token"]) if found.get("refresh_token") else None,
            _life(found.get("expires_in")),
            _scopes(found.get("scope")),
        )
    except ValueError:
        return Refused("answer_invalid")


def _told(found: object) -> str:
    if not isinstance(found, dict) or not found.get("error"):
        return ""
    return error_code(found["error"])


def _token(value: object) -> Secret[str]:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("token")
    return Secret(value)


def _life(value: object) -> int | None:
    """Returns seconds within our bounds; None where the vendor did not say, or says 0 for a token without an end."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError("expires_in")
    return int(min(max(value, SHORTEST_LIFE), LONGEST_LIFE))


def _scopes(value: object) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_ANSWER_BYTES:
        raise ValueError("scope")
    # RFC 6749 separates by spaces; some vendors by commas.
    found = tuple(dict.fromkeys(value.split() if " " in value else value.replace(",", " ").split()))
    if not all(is_scope(scope) for scope in found):
        raise ValueError("scope")
    return found


def _pause(header: str) -> float | None:
    return min(float(header), LONGEST_PAUSE) if _DIGITS.fullmatch(header) else None


def _basic(client_id: str, secret: Secret[str]) -> str:
    # RFC 6749 section 2.3.1: each part is form-encoded first.
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member comes twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
