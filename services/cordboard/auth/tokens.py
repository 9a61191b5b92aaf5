"""Issues workspace tokens: who may have which, and what stands in them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.fields import an_id, visible_ascii
from cordboard.auth.store import workspaces as rows
from cordboard.auth.store.token_revocations import generation
from cordboard.core.audit import Entry
from cordboard.core.caller import OPERATOR, Caller
from cordboard.core.errors import AccessDenied, InvalidFields, NotFound, TokenInvalid, Violation
from cordboard.core.names import new_id
from cordboard.core.revocations import family
from cordboard.core.tokens import ROLES, THUMBPRINT

if TYPE_CHECKING:
    from cordboard.auth.signing_keys import SigningKeys
    from cordboard.auth.store.api_keys import ApiKeyRow
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.secrets import Secret

DEFAULT_SECONDS: Final = 15 * 60
LONGEST_SECONDS: Final = 12 * 3600
# From the first of its line on, a token can be refreshed for this long, in seconds.
REFRESH_SECONDS: Final = 24 * 3600
ISSUE: Final = "cordboard.auth.v1.TokenService/IssueToken"
# The peer that may issue anything: how the first operator gets a token.
OPERATOR_PEER: Final = "client/operator"
EDGES: Final = "edges/"
# Each role with the ones that are no more than it.
COVERS: Final = {
    "reader": frozenset({"reader"}),
    "member": frozenset({"reader", "member"}),
    "workspace-admin": frozenset({"reader", "member", "workspace-admin"}),
    "publisher": frozenset({"publisher"}),
    OPERATOR: ROLES,
}
# The roles that reach beyond workspaces, so that a token of none may carry them.
BEYOND: Final = frozenset({OPERATOR, "publisher"})


@dataclass(frozen=True)
class Wish:
    """The token that somebody asks for. Empty text stands for what was not said."""

    workspace: str
    environment: str
    roles: tuple[str, ...]
    subject: str
    seconds: float | None
    certificate: str = ""


@dataclass(frozen=True)
class Issued:
    """A token that was issued."""

    token: Secret[str]
    id: str
    expire_time: datetime


@dataclass(frozen=True)
class _Grant:
    """What a token is to say."""

    workspace: str
    environment: str
    roles: frozenset[str]
    subject: str
    client: str
    seconds: int
    relatives: str = ""
    """What its id has in common with the token that it goes on from."""
    auth_time: int = 0
    certificate: str = ""
    api_key: str = ""


class TokenIssuer:
    """Issues tokens after RFC 9068."""

    def __init__(
        self,
        database: Database,
        keys: SigningKeys,
        journal: Journal,
        *,
        issuer: str,
        audience: str,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """Takes what goes into `iss` and `aud`, and for how long after it was issued a token can be refreshed."""
        self._database = database
        self._keys = keys
        self._journal = journal
        self._issuer = issuer
        self._audience = audience
        self._refresh_seconds = int(refresh_seconds)

    async def issue(self, wish: Wish, caller: Caller) -> Issued:
        """Returns the token; raises InvalidFields, AccessDenied and NotFound."""
        _check(wish)
        _authorise(wish, caller)
        return await self._issued(
            _Grant(
                workspace=wish.workspace,
                environment=wish.environment,
                roles=frozenset(wish.roles),
                subject=wish.subject or _named(wish.workspace) or caller.actor,
                client=caller.actor,
                seconds=_seconds(wish.seconds),
                certificate=wish.certificate,
            )
        )

    async def refresh(self, caller: Caller, seconds: float | None, certificate: str) -> Issued:
        """Returns a token with the caller's rights, bound to a certificate where one is given.

        Raises InvalidFields, NotFound, and TokenInvalid where what the caller came with cannot go on.
        """
        if wrong := _wrong_ttl(seconds):
            raise InvalidFields(wrong)
        if caller.subject.startswith(EDGES):
            # What an edge may is asked anew each time: one that was revoked does not go on from what it had.
            raise TokenInvalid("expired")
        granted = _seconds(seconds)
        if not caller.api_key:
            # However often it is refreshed, somebody has to issue a new one some day.
            granted = min(granted, caller.auth_time + self._refresh_seconds - int(time.time()))
        if granted < 1:
            raise TokenInvalid("expired")
        return await self._issued(
            _Grant(
                workspace=caller.workspace,
                environment=caller.environment,
                roles=caller.roles,
                subject=caller.subject,
                client=caller.actor,
                seconds=granted,
                relatives=family(caller.token_id),
                auth_time=caller.auth_time,
                certificate=caller.certificate or certificate,
                api_key=caller.api_key,
            ),
            action="auth.token.refresh",
        )

    async def for_api_key(self, key: ApiKeyRow, seconds: int) -> Issued:
        """Returns a token with an API key's rights, for the service that the key came to."""
        name = f"{_named(key.workspace)}/apiKeys/{key.id}"
        return await self._issued(
            _Grant(
                workspace=key.workspace,
                environment=key.environment,
                roles=frozenset(key.roles),
                subject=name,
                client=name,
                seconds=seconds,
                api_key=key.id,
            ),
            # The key's use is noted with the key: services ask every minute, for as long as calls come.
            action="",
        )

    async def for_edge(self, edge: str, workspace: str, environment: str, seconds: int) -> Issued:
        """Returns a token of a member of a workspace, for an edge that proved who it is; raises NotFound."""
        name = f"{EDGES}{edge}"
        return await self._issued(_Grant(workspace, environment, frozenset({"member"}), name, name, seconds))

    async def for_person(self, subject: str, roles: frozenset[str], seconds: int) -> Issued:
        """Returns a token that belongs to no workspace, for somebody who signed in."""
        return await self._issued(_Grant("", "", roles, subject, subject, seconds))

    async def _issued(self, grant: _Grant, *, action: str = "auth.token.issue") -> Issued:
        token_id = f"{grant.relatives}.{new_id()}" if grant.relatives else new_id()
        named, roles = _named(grant.workspace), sorted(grant.roles)
        scope = self._database.workspace(grant.workspace) if grant.workspace else self._database.shared()
        async with scope as connection:
            workspace = await rows.workspace(connection, grant.workspace) if grant.workspace else None
            if grant.workspace and workspace is None:
                raise NotFound(named)
            turn = await self._keys.turn(connection)
            current = await generation(connection, grant.workspace)
            details = {
                "token_id": token_id,
                "subject": grant.subject,
                "environment": grant.environment,
                "roles": roles,
                "seconds": grant.seconds,
                "kid": turn.row.kid,
            }
            if action:
                entry = Entry(action=action, resource=named or "tokens", workspace=grant.workspace, details=details)
                await self._journal.append(connection, entry)
        began = int(turn.now.timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": grant.subject,
            "client_id": grant.client,
            "jti": token_id,
            "iat": began,
            "nbf": began,
            "exp": began + grant.seconds,
            "auth_time": grant.auth_time or began,
            "workspace": grant.workspace,
            "environment": grant.environment,
            "customer": workspace.customer if workspace else "",
            "tier": workspace.tier if workspace else "",
            "region": workspace.region if workspace else "",
            "roles": roles,
            "generation": current,
        }
        if grant.certificate:
            claims["cnf"] = {"x5t#S256": grant.certificate}
        if grant.api_key:
            claims["api_key"] = grant.api_key
        token = await self._keys.sign(turn, claims)
        return Issued(token, token_id, datetime.fromtimestamp(began, UTC) + timedelta(seconds=grant.seconds))


def _named(workspace: str) -> str:
    return f"workspaces/{workspace}" if workspace else ""


def _seconds(wished: float | None) -> int:
    return int(DEFAULT_SECONDS if wished is None else wished)


def _wrong_ttl(seconds: float | None) -> list[Violation]:
    if seconds is None or 1 <= seconds <= LONGEST_SECONDS:
        return []
    return [Violation("ttl", f"must be from 1 to {LONGEST_SECONDS} seconds")]


def _check(wish: Wish) -> None:
    wrong = [
        Violation(f"roles[{index}]", "is not a role that a token can carry")
        for index, role in enumerate(wish.roles)
        if role not in ROLES
    ]
    if not wish.roles:
        wrong.append(Violation("roles", "is required", "REQUIRED"))
    if not wish.workspace and not set(wish.roles) <= BEYOND:
        wrong.append(Violation("workspace", "is required: these roles belong to a workspace", "REQUIRED"))
    if wish.workspace and not wish.environment:
        wrong.append(Violation("environment", "is required with a workspace", "REQUIRED"))
    if wish.environment:
        wrong += an_id(wish.environment, "environment")
    if wish.subject:
        wrong += visible_ascii(wish.subject, "subject")
    wrong += _wrong_ttl(wish.seconds)
    if wish.certificate and not THUMBPRINT.fullmatch(wish.certificate):
        wrong.append(Violation("certificate_thumbprint", "must be a SHA-256 as unpadded base64url"))
    if wrong:
        raise InvalidFields(wrong)


def _authorise(wish: Wish, caller: Caller) -> None:
    if caller.is_operator or caller.peer == OPERATOR_PEER:
        return
    if not wish.workspace:
        raise AccessDenied(ISSUE, "only an operator issues tokens that belong to no workspace")
    # The access layer has seen to this too; whoever signs does not lean on it.
    if wish.workspace != caller.workspace:
        raise NotFound(f"workspaces/{wish.workspace}")
    own = frozenset[str]().union(*(COVERS[role] for role in caller.roles))
    if not set(wish.roles) <= own:
        raise AccessDenied(ISSUE, "a token cannot carry a role above the one of who issues it")
    if wish.environment != caller.environment:
        raise AccessDenied(ISSUE, "a token cannot be for another environment than the one of who issues it")
