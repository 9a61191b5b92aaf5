"""The client's side of OAuth 2 (RFC 6749, 7009, 7523, 7636, 8628, 9207): requests, and a strict reading of answers.

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
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus, urlencode

import aiohttp
from opentelemetry.trace import SpanKind

from cordboard.auth.assertions import KeyInvalid, client_assertion
from cordboard.auth.schemes import OAuth
from cordboard.core.egress import ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import EgressDenied, OAuthFailed
from cordboard.core.json_pointers import unescape
from cordboard.core.secrets import Secret
from cordboard.core.telemetry import mark_answered, mark_asked, span

MAX_ANSWER_BYTES: Final = 256 * 1024
EXCHANGE_SECONDS: Final = 10.0
# Below the lease of a refresh: whoever holds the lease has its answer, or has given up, before another may begin.
REFRESH_SECONDS: Final = 8.0
SHORTEST_LIFE: Final = 30
LONGEST_TOLD: Final = 2048
LONGEST_LIFE: Final = 90 * 24 * 3600
LONGEST_IDLE: Final = 3 * 365 * 24 * 3600
LONGEST_PAUSE: Final = 300.0
DEVICE_SECONDS: Final = 1800
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
POLL: Final = "oauth poll"
JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
JWT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# What the vendors call a grant that is over: RFC 6749's word, and what some send in its place.
_OVER: Final = frozenset({"invalid_grant", "bad_refresh_token", "invalid_refresh_token"})
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# RFC 6749 appendix A: VSCHAR. A token goes into a header as it is.
_TOKEN: Final = re.compile(r"[\x20-\x7e]{1,16384}")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}")
_USER_CODE: Final = re.compile(r"[A-Za-z0-9 _.-]{1,64}")
_WEB_PAGE: Final = re.compile(r"https?://[\x21-\x7e]+")
_ABSENT: Final = object()
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
    configuration: Mapping[str, str] = field(default_factory=dict)
    """What the answer says beside, by the names of the definition's variables."""
    refresh_seconds: int | None = None
    """How long the refresh token lives; None: the vendor did not say."""


@dataclass(frozen=True)
class Device:
    """What a device authorization endpoint gave (RFC 8628 section 3.2)."""

    code: Secret[str]
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    seconds: int
    interval: int


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
    verifier: Secret[str] | None,
    scopes: tuple[str, ...],
) -> str:
    """Returns the URL to send the person to: code flow, with PKCE S256 (RFC 7636) unless `verifier` is None."""
    query = {
        **oauth.authorization_parameters,
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": state.reveal(),
    }
    if verifier is not None:
        digest = hashlib.sha256(verifier.reveal().encode()).digest()
        query["code_challenge"] = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        query["code_challenge_method"] = "S256"
    if scopes:
        query["scope"] = oauth.scope_separator.join(scopes)
    separator = "&" if "?" in oauth.authorization_url else "?"
    return f"{oauth.authorization_url}{separator}{urlencode(query)}"


class TokenEndpoints:
    """Asks vendors for tokens, through the guarded way out."""

    def __init__(self, session: aiohttp.ClientSession, *, plain_http: bool) -> None:
        """Takes a session of `Egress`; `plain_http` allows http, for vendors inside a private network."""
        self._session = session
        self._schemes = ("https", "http") if plain_http else ("https",)

    async def exchange(
        self, oauth: OAuth, client: Client, *, code: str, verifier: Secret[str] | None, redirect_uri: str
    ) -> Granted:
        """Returns the tokens for an authorization code; raises OAuthFailed."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        if verifier is not None:
            form["code_verifier"] = verifier.reveal()
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

    async def client_credentials(self, oauth: OAuth, client: Client, scopes: tuple[str, ...]) -> Granted | Refused:
        """Returns what came of the client's own credentials (RFC 6749 section 4.4); it raises nothing."""
        form = {"grant_type": "client_credentials", **_scope(oauth, scopes)}
        outcome = await self._ask("oauth client credentials", oauth, client, form, REFRESH_SECONDS)
        # RFC 6749 section 4.4.3: the credentials themselves are what it is renewed with.
        return replace(outcome, refresh_token=None) if isinstance(outcome, Granted) else outcome

    async def assertion(
        self, oauth: OAuth, client: Client | None, assertion: Secret[str], scopes: tuple[str, ...]
    ) -> Granted | Refused:
        """Returns what came of a signed assertion (RFC 7523 section 2.1); it raises nothing."""
        form = {"grant_type": JWT_GRANT, "assertion": assertion.reveal(), **_scope(oauth, scopes)}
        outcome = await self._ask("oauth assertion", oauth, client, form, REFRESH_SECONDS)
        return replace(outcome, refresh_token=None) if isinstance(outcome, Granted) else outcome

    async def device(self, oauth: OAuth, client: Client, scopes: tuple[str, ...]) -> Device | Refused:
        """Returns the codes of a device that wants access (RFC 8628 section 3.1); it raises nothing."""
        # What the token is to be for (`resource`, RFC 8707, or `audience`) has to be said before a person allows it; a
        # server takes no notice of what it does not know (RFC 8628 section 3.1).
        form = {**oauth.token_parameters, **_scope(oauth, scopes)}
        answer = await self._post("oauth device", oauth.device_url, oauth, client, form, EXCHANGE_SECONDS)
        return answer if isinstance(answer, Refused) else _read_device(answer)

    async def poll(self, oauth: OAuth, client: Client, code: Secret[str]) -> Granted | Refused:
        """Returns the tokens of a device once a person has allowed it (RFC 8628 section 3.4); it raises nothing."""
        form = {"grant_type": DEVICE_GRANT, "device_code": code.reveal()}
        return await self._ask(POLL, oauth, client, form, REFRESH_SECONDS)

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
        self, name: str, oauth: OAuth, client: Client | None, form: Mapping[str, str], seconds: float
    ) -> Granted | Refused:
        refreshing = form["grant_type"] == "refresh_token"
        url = (oauth.refresh_url if refreshing else "") or oauth.token_url
        answer = await self._post(name, url, oauth, client, {**oauth.token_parameters, **form}, seconds)
        return answer if isinstance(answer, Refused) else _read(answer, oauth)

    async def _post(
        self, name: str, url: str, oauth: OAuth, client: Client | None, form: Mapping[str, str], seconds: float
    ) -> _Answer | Refused:
        headers = {"Accept": "application/json"}
        fields = dict(form)
        if client is not None:
            try:
                _authenticate(oauth, client, fields, headers)
            except KeyInvalid:
                return Refused("client_key")
        try:
            target = check_url(url)
            if target.scheme not in self._schemes:
                return Refused("insecure_endpoint")
            with span(name, SpanKind.CLIENT) as asked:
                mark_asked(asked, "POST", target.host, target.port)
                async with self._session.post(
                    target,
                    data=fields,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=3.0),
                ) as response:
                    # Until a person has decided, a device is refused again and again (RFC 8628 section 3.5).
                    if name != POLL or response.status != 400:
                        mark_answered(asked, response.status)
                    body = await read_limited(response, MAX_ANSWER_BYTES)
                    return _Answer(response.status, body, pause(response.headers.get("Retry-After", "")))
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


def _authenticate(oauth: OAuth, client: Client, fields: dict[str, str], headers: dict[str, str]) -> None:
    """Shows who we are (RFC 6749 section 2.3, RFC 7523 section 2.2); raises KeyInvalid."""
    if client.secret is None or oauth.authentication == "none":
        fields["client_id"] = client.id
    elif oauth.authentication == "post":
        fields |= {"client_id": client.id, "client_secret": client.secret.reveal()}
    elif oauth.authentication == "private_key_jwt":
        fields["client_id"] = client.id
        fields["client_assertion_type"] = JWT_ASSERTION
        # The issuer alone, where it is known: an assertion for one endpoint must not serve at another server.
        fields["client_assertion"] = client_assertion(
            client.id, client.secret, oauth.issuer or oauth.token_url
        ).reveal()
    else:
        headers["Authorization"] = _basic(client.id, client.secret)


def _scope(oauth: OAuth, scopes: tuple[str, ...]) -> dict[str, str]:
    return {"scope": oauth.scope_separator.join(scopes)} if scopes else {}


def parsed(body: bytes) -> Any:
    """Returns the JSON of an answer, or None where it is none, or says anything twice or beyond numbers."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _read_device(answer: _Answer) -> Device | Refused:
    found = parsed(answer.body)
    problem = _told(found)
    if problem or answer.status != 200:
        return Refused(problem or f"http_{answer.status}", False, answer.retry_after)
    if not isinstance(found, dict):
        return Refused("answer_unreadable")
    # An early draft, which some vendors still speak, had another word for it.
    page = found.get("verification_uri") or found.get("verification_url")
    complete = found.get("verification_uri_complete") or ""
    user_code, interval = found.get("user_code"), found.get("interval", 5)
    try:
        if not isinstance(user_code, str) or not _USER_CODE.fullmatch(user_code):
            raise ValueError("user_code")
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 0:
            raise ValueError("interval")
        return Device(
            _token(found.get("device_code")),
            user_code,
            _page(page),
            _page(complete) if complete else "",
            min(life(found.get("expires_in")) or DEVICE_SECONDS, DEVICE_SECONDS),
            min(max(interval, 1), 60),
        )
    except ValueError:
        return Refused("answer_invalid")


def _page(value: object) -> str:
    # A person is sent there: nothing but a web page.
    if not isinstance(value, str) or len(value) > 2048 or not _WEB_PAGE.fullmatch(value):
        raise ValueError("verification_uri")
    return value


def at(document: object, pointer: str, absent: Any = None) -> Any:
    """Returns what a JSON Pointer (RFC 6901) leads to, or `absent`."""
    for step in pointer.split("/")[1:] if pointer else ():
        key = unescape(step)
        if isinstance(document, list) and key.isdecimal() and len(key) < 7 and int(key) < len(document):
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document.get(key, _ABSENT)
        else:
            document = _ABSENT
        if document is _ABSENT:
            return absent
    return document


def _read(answer: _Answer, oauth: OAuth) -> Granted | Refused:
    found = parsed(answer.body)
    problem = _told(found)
    # Some vendors send errors with status 200. What a broken one says of the grant is not believed.
    if problem or answer.status != 200:
        over = problem in _OVER and answer.status < 500
        return Refused(problem or f"http_{answer.status}", over, answer.retry_after)
    if not isinstance(found, dict):
        return Refused("answer_unreadable")
    where = oauth.response
    kind = at(found, where.token_type, "bearer")
    # RFC 6749 section 7.1: a token of a type that is not understood is not used. Some vendors leave the type out, and
    # some have a word of their own, which the definition has to know.
    if not isinstance(kind, str) or kind.lower() not in {"bearer", *oauth.token_types}:
        return Refused("token_type")
    try:
        refresh, lives = at(found, where.refresh_token), at(found, where.refresh_expires_in)
        return Granted(
            _token(at(found, where.access_token)),
            _token(refresh) if refresh else None,
            life(at(found, where.expires_in)),
            _scopes(at(found, where.scope), oauth.scope_separator),
            _told_beside(found, where.configuration),
            life(lives, LONGEST_IDLE),
        )
    except ValueError:
        return Refused("answer_invalid")


def _told_beside(found: object, pointers: Mapping[str, str]) -> dict[str, str]:
    values = {name: at(found, pointer) for name, pointer in pointers.items()}
    # Many vendors tell an account's number as a number.
    texts = {name: str(value) if type(value) is int else value for name, value in values.items()}
    return {
        name: text
        for name, text in texts.items()
        if isinstance(text, str) and 0 < len(text) <= LONGEST_TOLD and text.isprintable()
    }


def _told(found: object) -> str:
    if not isinstance(found, dict) or not found.get("error"):
        return ""
    return error_code(found["error"])


def _token(value: object) -> Secret[str]:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("token")
    return Secret(value)


def is_token(text: str) -> bool:
    """Tells whether a text can be a token (RFC 6749 appendix A)."""
    return _TOKEN.fullmatch(text) is not None


def life(value: object, longest: int = LONGEST_LIFE) -> int | None:
    """Returns seconds within our bounds; None where the vendor did not say, or says 0 for a token without an end.

    Raises ValueError for anything else.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError("expires_in")
    return int(min(max(value, SHORTEST_LIFE), longest))


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    if not isinstance(value, str) or len(value) > MAX_ANSWER_BYTES:
        raise ValueError("scope")
    # RFC 6749 separates by spaces; some vendors by commas, or by what the definition says.
    if separator.strip() and separator in value:
        value = value.replace(separator, " ")
    found = tuple(dict.fromkeys(value.split() if " " in value else value.replace(",", " ").split()))
    if not all(is_scope(scope) for scope in found):
        raise ValueError("scope")
    return found


def pause(header: str) -> float | None:
    """Returns the seconds of a Retry-After header within our bounds, or None."""
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
