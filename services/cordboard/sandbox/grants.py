"""The authorization server's rules (OAuth 2.1): clients, codes, grants and their tokens. No HTTP here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

CODE_SECONDS = 60
CONSENT_SECONDS = 600
DEVICE_SECONDS = 600
# Without vowels, so that no word comes of it (RFC 8628 section 6.1).
_USER_CODE = "BCDFGHJKLMNPQRSTVWXZ"

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")

Reason = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "access_denied",
    "authorization_pending",
    "slow_down",
    "expired_token",
]


class OAuthRefusal(Exception):
    """An OAuth request is refused, with the error code of RFC 6749."""

    def __init__(self, reason: Reason, description: str) -> None:
        super().__init__(f"{reason}: {description}")
        self.reason = reason
        self.description = description


class UntrustedRedirect(Exception):
    """The client or its redirect URI is not registered, so the browser must not be sent there (RFC 9700 §4.11)."""


@dataclass(frozen=True, slots=True)
class Client:
    """An application that may ask for access; without a secret it is a public one."""

    client_id: str
    secret: str | None = field(repr=False)
    redirect_uris: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Agent:
    """A person at the desk who can give access."""

    id: str
    name: str
    email: str


AGENTS = (
    Agent("agt_ada", "Ada Lopez", "ada@acmedesk.example"),
    Agent("agt_grace", "Grace Tanaka", "grace@acmedesk.example"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client asks a person for, checked and waiting for the answer."""

    client: Client
    redirect_uri: str
    state: str | None
    challenge: str | None
    scopes: tuple[str, ...]
    expires_at: float


@dataclass(slots=True)
class Grant:
    """What one person has allowed one client; every token of it dies with it."""

    client_id: str
    agent: Agent
    scopes: tuple[str, ...]
    alive: bool = True


@dataclass(slots=True)
class Code:
    """An authorization code, which works once."""

    grant: Grant
    redirect_uri: str
    challenge: str | None
    expires_at: float
    used: bool = False


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an access token stands for."""

    grant: Grant
    scopes: tuple[str, ...]
    expires_at: float


@dataclass(slots=True)
class RefreshToken:
    """What a refresh token stands for; it works once."""

    grant: Grant
    expires_at: float
    used: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """The tokens of a successful token request."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scopes: tuple[str, ...]
    expires_in: int


@dataclass(slots=True)
class Device:
    """A device that waits for a person to allow it (RFC 8628)."""

    code: str = field(repr=False)
    user_code: str
    client: Client
    scopes: tuple[str, ...]
    interval: float
    expires_at: float
    polled_at: float = 0.0
    agent: Agent | None = None
    denied: bool = False


@dataclass(slots=True)
class Tally:
    """How often what happened."""

    grants: int = 0
    refreshes: int = 0
    revocations: int = 0
    reuses: int = 0


class Grants:
    """Registers clients, and issues, renews and revokes what people allow them."""

    def __init__(
        self, clock: Callable[[], float], *, scopes: Collection[str], access_seconds: int, refresh_seconds: int
    ) -> None:
        self._clock = clock
        self._scopes = scopes
        self.access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds
        self._clients: dict[str, Client] = {}
        self._wishes: dict[str, Wish] = {}
        self._codes: dict[str, Code] = {}
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._devices: dict[str, Device] = {}
        self.pkce_required = True
        self.device_interval = 1.0
        self.tally = Tally()

    def register(self, client: Client) -> None:
        """Registers the client, or replaces the one with its id; what it was granted stays."""
        self._clients[client.client_id] = client

    def client(self, client_id: str) -> Client | None:
        """Returns the client, or None when there is none."""
        return self._clients.get(client_id)

    def authenticate(self, client_id: str, secret: str | None) -> Client:
        """Returns the client that the id and secret prove; raises OAuthRefusal `invalid_client`."""
        client = self._clients.get(client_id)
        if client is None or (client.secret is None) != (secret is None):
            raise OAuthRefusal("invalid_client", "the client could not be authenticated")
        if client.secret is not None and not hmac.compare_digest(client.secret.encode(), (secret or "").encode()):
            raise OAuthRefusal("invalid_client", "the client could not be authenticated")
        return client

    def trusted(self, client_id: str | None, redirect_uri: str | None) -> Client:
        """Returns the client when the redirect URI is, letter by letter, one of its own; raises UntrustedRedirect."""
        client = self._clients.get(client_id or "")
        if client is None:
            raise UntrustedRedirect("this client is not registered")
        if redirect_uri not in client.redirect_uris:
            raise UntrustedRedirect("this redirect URI is not registered for the client")
        return client

    def ask(
        self,
        client: Client,
        redirect_uri: str,
        *,
        state: str | None,
        scope: str | None,
        challenge: str | None,
        method: str | None,
    ) -> tuple[str, Wish]:
        """Notes what the client asks for, and returns it with the one-time id to answer it by; raises OAuthRefusal."""
        if challenge is None and self.pkce_required:
            raise OAuthRefusal("invalid_request", "code_challenge is required (PKCE, RFC 7636)")
        if challenge is not None and method != "S256":
            raise OAuthRefusal("invalid_request", "code_challenge_method must be S256")
        if challenge is not None and not _CHALLENGE.fullmatch(challenge):
            raise OAuthRefusal("invalid_request", "code_challenge must be the base64url of a SHA-256")
        wish = Wish(
            client=client,
            redirect_uri=redirect_uri,
            state=state,
            challenge=challenge,
            scopes=self._known(scope, among=self._scopes),
            expires_at=self._clock() + CONSENT_SECONDS,
        )
        wish_id = secrets.token_urlsafe(24)
        self._wishes[wish_id] = wish
        return wish_id, wish

    def answered(self, wish_id: str) -> Wish:
        """Returns the wish, which can be answered once; raises UntrustedRedirect when it is not there (any more)."""
        wish = self._wishes.pop(wish_id, None)
        if wish is None or wish.expires_at <= self._clock():
            raise UntrustedRedirect("this request was answered already, or is too old")
        return wish

    def allow(self, wish: Wish, agent: Agent) -> str:
        """Gives the client what it asked for, in the name of the agent, and returns the code."""
        code = f"acme_ac_{secrets.token_urlsafe(24)}"
        grant = Grant(wish.client.client_id, agent, wish.scopes)
        self._codes[code] = Code(grant, wish.redirect_uri, wish.challenge, self._clock() + CODE_SECONDS)
        return code

    def exchange(self, client: Client, code: str, *, redirect_uri: str | None, verifier: str | None) -> Issued:
        """Returns the first tokens of a grant; raises OAuthRefusal. A code that comes twice ends its grant."""
        if verifier is None and self.pkce_required:
            raise OAuthRefusal("invalid_request", "code_verifier is required (PKCE, RFC 7636)")
        found = self._codes.get(code)
        if found is None or found.grant.client_id != client.client_id:
            raise OAuthRefusal("invalid_grant", "the code is not valid")
        if found.used:
            self.tally.reuses += 1
            found.grant.alive = False
            raise OAuthRefusal("invalid_grant", "the code was used before")
        # One attempt only: whoever has a code and not its verifier has stolen it.
        found.used = True
        if found.expires_at <= self._clock():
            raise OAuthRefusal("invalid_grant", "the code has expired")
        # OAuth 2.1 lets the client leave it out, as PKCE binds the code; RFC 6749 clients send it.
        if redirect_uri is not None and redirect_uri != found.redirect_uri:
            raise OAuthRefusal("invalid_grant", "redirect_uri is not the one of the authorization request")
        # A verifier without a challenge, or the other way round, is a downgrade (RFC 9700 section 4.8.2).
        if (verifier is None) != (found.challenge is None):
            raise OAuthRefusal("invalid_grant", "code_verifier and code_challenge belong together")
        if verifier is not None and not _proves(verifier, found.challenge or ""):
            raise OAuthRefusal("invalid_grant", "code_verifier does not match the code_challenge")
        self.tally.grants += 1
        return self._issue(found.grant, found.grant.scopes)

    def refresh(self, client: Client, token: str, *, scope: str | None) -> Issued:
        """Returns new tokens for a refresh token, which works once; raises OAuthRefusal. Reuse ends the grant."""
        found = self._refresh.get(token)
        if found is None or found.grant.client_id != client.client_id:
            raise OAuthRefusal("invalid_grant", "the refresh token is not valid")
        if found.used:
            self.tally.reuses += 1
            found.grant.alive = False
            raise OAuthRefusal("invalid_grant", "the refresh token was used before; the grant is revoked")
        if not found.grant.alive or found.expires_at <= self._clock():
            raise OAuthRefusal("invalid_grant", "the refresh token was revoked or has expired")
        scopes = self._known(scope, among=found.grant.scopes)
        found.used = True
        self.tally.refreshes += 1
        return self._issue(found.grant, scopes)

    def give(self, client: Client, *, scope: str | None) -> Issued:
        """Returns a token in the client's own name (RFC 6749 section 4.4), without a refresh token."""
        scopes = self._known(scope, among=self._scopes)
        self.tally.grants += 1
        return self._issue(Grant(client.client_id, AGENTS[0], scopes), scopes, refreshable=False)

    def wait(self, client: Client, *, scope: str | None) -> Device:
        """Notes a device that wants access, and returns its codes (RFC 8628 section 3.2)."""
        letters = "".join(secrets.choice(_USER_CODE) for _ in range(8))
        device = Device(
            code=f"acme_dc_{secrets.token_urlsafe(24)}",
            user_code=f"{letters[:4]}-{letters[4:]}",
            client=client,
            scopes=self._known(scope, among=self._scopes),
            interval=self.device_interval,
            expires_at=self._clock() + DEVICE_SECONDS,
        )
        self._devices[device.code] = device
        return device

    def decide(self, user_code: str, agent: Agent | None) -> None:
        """Takes a person's answer for a device, None for a refusal; raises UntrustedRedirect for an unknown code."""
        wanted = user_code.strip().upper()
        device = next((each for each in self._devices.values() if each.user_code == wanted), None)
        if device is None or device.expires_at <= self._clock() or device.agent is not None:
            raise UntrustedRedirect("this code is not known, or is too old")
        device.agent, device.denied = agent, agent is None

    def poll(self, client: Client, code: str) -> Issued:
        """Returns the tokens of a device that a person has allowed (RFC 8628 section 3.5); raises OAuthRefusal."""
        device, now = self._devices.get(code), self._clock()
        if device is None or device.client.client_id != client.client_id:
            raise OAuthRefusal("invalid_grant", "the device code is not valid")
        early = now - device.polled_at < device.interval
        device.polled_at = now
        if device.expires_at <= now:
            raise OAuthRefusal("expired_token", "the device code has expired")
        if device.denied:
            raise OAuthRefusal("access_denied", "the person did not allow it")
        if device.agent is None and early:
            device.interval += 5
            raise OAuthRefusal("slow_down", "the device asks too often")
        if device.agent is None:
            raise OAuthRefusal("authorization_pending", "the person has not decided yet")
        del self._devices[code]
        self.tally.grants += 1
        return self._issue(Grant(client.client_id, device.agent, device.scopes), device.scopes)

    def revoke(self, client: Client, token: str) -> None:
        """Revokes the token (RFC 7009): a refresh token with its whole grant, an access token alone.

        A token that is not known is no error; one of another client raises OAuthRefusal.
        """
        found = self._refresh.get(token) or self._access.get(token)
        if found is None:
            return
        if found.grant.client_id != client.client_id:
            raise OAuthRefusal("invalid_request", "the token belongs to another client")
        self.tally.revocations += 1
        if isinstance(found, RefreshToken):
            found.grant.alive = False
        else:
            del self._access[token]

    def access(self, token: str) -> AccessToken | None:
        """Returns what the access token stands for, or None when it is not valid (any more)."""
        found = self._access.get(token)
        if found is None or not found.grant.alive or found.expires_at <= self._clock():
            return None
        return found

    def expire_access(self) -> None:
        """Ends every access token; refresh tokens live on."""
        self._access.clear()

    def revoke_all(self) -> None:
        """Ends every grant, as if every person had removed every application."""
        for token in self._refresh.values():
            token.grant.alive = False

    def _known(self, scope: str | None, *, among: Iterable[str]) -> tuple[str, ...]:
        allowed = tuple(among)
        asked = tuple(dict.fromkeys((scope or "").split()))
        if any(each not in allowed for each in asked):
            raise OAuthRefusal("invalid_scope", f"scope must be among {' '.join(allowed)}")
        return asked or allowed

    def _issue(self, grant: Grant, scopes: tuple[str, ...], *, refreshable: bool = True) -> Issued:
        now = self._clock()
        issued = Issued(
            f"acme_at_{secrets.token_urlsafe(24)}",
            f"acme_rt_{secrets.token_urlsafe(24)}" if refreshable else None,
            scopes,
            self.access_seconds,
        )
        self._access[issued.access_token] = AccessToken(grant, scopes, now + self.access_seconds)
        if issued.refresh_token is not None:
            self._refresh[issued.refresh_token] = RefreshToken(grant, now + self._refresh_seconds)
        return issued


def _proves(verifier: str, challenge: str) -> bool:
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).decode().rstrip("=")
    return hmac.compare_digest(digest, challenge)
