"""Sign-in of operators: for a program on their machine, which gets a token, and for a browser, which gets a cookie."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from cordboard.auth.oidc import OpenIdProvider, Person, challenge
from cordboard.auth.store import logins as rows
from cordboard.auth.store.token_revocations import generation
from cordboard.auth.vault import SYSTEM
from cordboard.core.audit import Entry
from cordboard.core.errors import (
    DependencyUnavailable,
    InvalidFields,
    OAuthFailed,
    StateConflict,
    TokenInvalid,
    Violation,
)
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cordboard.auth.tokens import Issued, TokenIssuer
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Database

ATTEMPT_SECONDS: Final = 600
CODE_SECONDS: Final = 60
# An address that a person may have to copy to another machine.
INVITATION_SECONDS: Final = 300
TOKEN_SECONDS: Final = 3600
SESSION_TOKEN_SECONDS: Final = 300
# What a rule can give: the roles that belong to no workspace.
GIVEN: Final = frozenset({"operator", "publisher"})
RULE: Final = re.compile(r"(group|domain|email|subject):([\x21-\x7e][\x20-\x7e]{0,253})=(operator|publisher)")
_LOOPBACK: Final = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):[0-9]{1,5}/[A-Za-z0-9/_-]{0,64}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{0,128}")
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~-][A-Za-z0-9._~/#-]{0,200})?")


@dataclass(frozen=True)
class Wish:
    """How somebody wants to sign in. Without a redirect URI it is a browser."""

    redirect_uri: str
    challenge: str
    state: str
    return_path: str


@dataclass(frozen=True)
class Begun:
    """A sign-in that was begun."""

    url: str
    binding: Secret[str] | None
    """What ties it to the browser that began it."""


@dataclass(frozen=True)
class Finished:
    """A sign-in that ended, with where to go."""

    location: str
    session: Secret[str] | None
    problem: str = ""
    """Why it ended without a sign-in, where a program waits to be told."""


@dataclass(frozen=True)
class SignedIn:
    """A token, and whose it is."""

    issued: Issued
    subject: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Invitation:
    """A code for one browser."""

    code: Secret[str]
    expire_time: datetime


class SignIn:
    """Signs operators in at one provider."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        journal: Journal,
        issuer: TokenIssuer,
        provider: OpenIdProvider | None,
        *,
        rules: Sequence[str],
        session_seconds: float,
    ) -> None:
        """Takes the rules that give roles (`group:NAME=ROLE`); without a provider nobody signs in."""
        self._database = database
        self._vault = vault
        self._journal = journal
        self._issuer = issuer
        self._provider_ = provider
        self._rules = [match for match in map(RULE.fullmatch, rules) if match is not None]
        self._session_seconds = session_seconds

    async def begin(self, wish: Wish) -> Begun:
        """Begins; raises InvalidFields, StateConflict and DependencyUnavailable."""
        _check(wish)
        provider = self._provider()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url = await provider.authorization_url(state, nonce, verifier)
        binding = None if wish.redirect_uri else Secret(secrets.token_urlsafe(32))
        drawer = await self._vault.drawer(SYSTEM)
        key = _hash(state)
        attempt = rows.Attempt(
            state_hash=key,
            nonce=nonce,
            sealed=drawer.seal(f"logins/{key}", "code_verifier", 1, Secret(verifier)),
            redirect_uri=wish.redirect_uri,
            challenge=wish.challenge,
            client_state=wish.state,
            return_path=wish.return_path or "/",
            binding_hash="" if binding is None else _hash(binding.reveal()),
        )
        async with self._database.shared() as connection:
            await rows.add_attempt(connection, attempt, seconds=ATTEMPT_SECONDS)
        return Begun(url, binding)

    async def finish(self, state: str, code: str, iss: str, error: str, binding: str) -> Finished:
        """Takes what the provider sent back.

        A program is told how it ended; for a browser, raises OAuthFailed, DependencyUnavailable and StateConflict.
        """
        provider = self._provider()
        async with self._database.shared() as connection:
            attempt = await rows.take_attempt(connection, _hash(state))
        if attempt is None:
            raise OAuthFailed("this sign-in is over, or was never begun")
        subject = ""
        try:
            person = await self._person(provider, attempt, Secret(code), iss, error=error, binding=binding)
            subject = person.email or person.subject
            return await self._let_in(attempt, subject, self._roles(person))
        except (OAuthFailed, DependencyUnavailable) as failure:
            told = isinstance(failure, OAuthFailed)
            problem = failure.metadata["problem"] if told else failure.text
            outcome = "OAUTH_FAILED" if told else "DEPENDENCY_UNAVAILABLE"
            async with self._database.shared() as connection:
                await self._journal.append(connection, _entry("refuse", subject, outcome, problem=problem))
            if not attempt.redirect_uri:
                raise
            return Finished(_back(attempt, error="access_denied", error_description=problem), None, problem)

    async def _person(
        self, provider: OpenIdProvider, attempt: rows.Attempt, code: Secret[str], iss: str, *, error: str, binding: str
    ) -> Person:
        if attempt.binding_hash and not hmac.compare_digest(attempt.binding_hash, _hash(binding)):
            raise OAuthFailed("this sign-in was begun in another browser")
        if error or not code.reveal():
            raise OAuthFailed("the provider did not let this person in")
        drawer = await self._vault.drawer(SYSTEM)
        verifier = drawer.open(f"logins/{attempt.state_hash}", "code_verifier", 1, attempt.sealed)
        return await provider.person(code.reveal(), attempt.nonce, verifier.reveal(), iss)

    async def _let_in(self, attempt: rows.Attempt, subject: str, roles: list[str]) -> Finished:
        if not roles:
            raise OAuthFailed("this person has no role here")
        secret = Secret(secrets.token_urlsafe(32))
        kept = rows.SignedIn(_hash(secret.reveal()), attempt.challenge, subject, tuple(roles), 0)
        async with self._database.shared() as connection:
            await self._journal.append(connection, _entry("succeed", subject, roles=roles))
            if attempt.redirect_uri:
                await rows.add_code(connection, kept, seconds=CODE_SECONDS)
                return Finished(_back(attempt, code=secret.reveal()), None)
            current = await generation(connection, "")
            await rows.add_session(connection, kept, current, seconds=self._session_seconds)
        return Finished(attempt.return_path, secret)

    async def complete(self, code: str, verifier: str) -> SignedIn:
        """Gives a program its token, once; raises OAuthFailed."""
        async with self._database.shared() as connection:
            kept = await rows.take_code(connection, _hash(code))
        if kept is None or not hmac.compare_digest(kept.challenge, challenge(verifier)):
            raise OAuthFailed("the code is not valid")
        return await self._signed_in(kept, TOKEN_SECONDS)

    async def session_token(self, session: str) -> SignedIn:
        """Gives a browser a token for its cookie; raises TokenInvalid."""
        async with self._database.shared() as connection:
            kept = await rows.session(connection, _hash(session))
            current = await generation(connection, "")
        # Whoever ends all operators' tokens ends the sessions that would make new ones.
        if kept is None or kept.generation < current:
            raise TokenInvalid("missing" if not session else "expired")
        return await self._signed_in(kept, SESSION_TOKEN_SECONDS)

    async def invite(self, caller: Caller) -> Invitation:
        """Makes a code with which a browser gets a session for this caller; raises StateConflict."""
        if caller.certificate:
            raise StateConflict("login", "bound", "the token is bound to a certificate; a session would not be")
        code = Secret(secrets.token_urlsafe(32))
        # Without a challenge it is no program's code, and `complete` takes none of these.
        kept = rows.SignedIn(_hash(code.reveal()), "", caller.subject, tuple(sorted(caller.roles & GIVEN)), 0)
        async with self._database.shared() as connection:
            await self._journal.append(connection, _entry("invite", caller.subject))
            await rows.add_code(connection, kept, seconds=INVITATION_SECONDS)
        return Invitation(code, datetime.now(UTC) + timedelta(seconds=INVITATION_SECONDS))

    async def open_session(self, code: str) -> tuple[Secret[str], SignedIn]:
        """Gives the browser that brings an invitation's code its session, once; raises OAuthFailed."""
        secret = Secret(secrets.token_urlsafe(32))
        async with self._database.shared() as connection:
            kept = await rows.take_code(connection, _hash(code))
            if kept is None or kept.challenge:
                raise OAuthFailed("the code is not valid")
            await self._journal.append(connection, _entry("succeed", kept.subject, roles=list(kept.roles)))
            current = await generation(connection, "")
            session = replace(kept, key_hash=_hash(secret.reveal()))
            await rows.add_session(connection, session, current, seconds=self._session_seconds)
        return secret, await self._signed_in(session, SESSION_TOKEN_SECONDS)

    async def end_session(self, session: str) -> None:
        """Ends a browser's session; there need not be one."""
        async with self._database.shared() as connection:
            subject = await rows.drop_session(connection, _hash(session))
            if subject:
                await self._journal.append(connection, _entry("end", subject))

    async def _signed_in(self, kept: rows.SignedIn, seconds: int) -> SignedIn:
        issued = await self._issuer.for_person(kept.subject, frozenset(kept.roles), seconds)
        return SignedIn(issued, kept.subject, kept.roles)

    def _roles(self, person: Person) -> list[str]:
        domain = person.email.rpartition("@")[2]
        holds: dict[str, Callable[[str], bool]] = {
            "group": lambda value: value in person.groups,
            "domain": lambda value: bool(domain) and value.lower() == domain,
            "email": lambda value: bool(person.email) and value.lower() == person.email,
            "subject": lambda value: value == person.subject,
        }
        return sorted({rule[3] for rule in self._rules if holds[rule[1]](rule[2])})

    def _provider(self) -> OpenIdProvider:
        if self._provider_ is None:
            raise StateConflict("login", "off", "no sign-in provider is configured")
        return self._provider_


def _check(wish: Wish) -> None:
    wrong = []
    if wish.redirect_uri and not _LOOPBACK.fullmatch(wish.redirect_uri):
        wrong.append(Violation("redirect_uri", "must be `http://127.0.0.1:{port}/...` or `http://[::1]:{port}/...`"))
    if wish.redirect_uri and not _CHALLENGE.fullmatch(wish.challenge):
        wrong.append(Violation("code_challenge", "must be a SHA-256 as unpadded base64url"))
    if not _STATE.fullmatch(wish.state):
        wrong.append(Violation("state", "must be at most 128 of 0-9, A-Z, a-z, hyphen and underscore"))
    if wish.return_path and not _PATH.fullmatch(wish.return_path):
        wrong.append(Violation("return_path", "must be a path of this installation"))
    if wrong:
        raise InvalidFields(wrong)


def _back(attempt: rows.Attempt, **told: str) -> str:
    return f"{attempt.redirect_uri}?{urlencode({**told, 'state': attempt.client_state})}"


def _entry(verb: str, subject: str, outcome: str = "ok", **details: Any) -> Entry:
    # Who signs in has no token yet: the entry would name Envoy.
    return Entry(
        f"auth.login.{verb}", "logins", outcome=outcome, details={"subject": subject, **details}, actor=subject
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
