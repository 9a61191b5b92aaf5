"""Issues workspace tokens: who may have which, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.fields import an_id, visible_ascii
from cordboard.auth.store import workspaces as rows
from cordboard.core.audit import Entry
from cordboard.core.caller import OPERATOR, Caller
from cordboard.core.errors import AccessDenied, InvalidFields, NotFound, Violation
from cordboard.core.names import new_id
from cordboard.core.tokens import ROLES

if TYPE_CHECKING:
    from cordboard.auth.signing_keys import SigningKeys
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.secrets import Secret

DEFAULT_SECONDS: Final = 15 * 60
LONGEST_SECONDS: Final = 12 * 3600
ISSUE: Final = "cordboard.auth.v1.TokenService/IssueToken"
# The peer that may issue anything: how the first operator gets a token.
OPERATOR_PEER: Final = "client/operator"
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


@dataclass(frozen=True)
class Issued:
    """A token that was issued."""

    token: Secret[str]
    id: str
    expire_time: datetime


class TokenIssuer:
    """Issues tokens after RFC 9068."""

    def __init__(self, database: Database, keys: SigningKeys, journal: Journal, *, issuer: str, audience: str) -> None:
        """Takes what goes into `iss` and `aud`."""
        self._database = database
        self._keys = keys
        self._journal = journal
        self._issuer = issuer
        self._audience = audience

    async def issue(self, wish: Wish, caller: Caller) -> Issued:
        """Returns the token; raises InvalidFields, AccessDenied and NotFound."""
        _check(wish)
        _authorise(wish, caller)
        token_id = new_id()
        seconds = int(DEFAULT_SECONDS if wish.seconds is None else wish.seconds)
        named = f"workspaces/{wish.workspace}" if wish.workspace else ""
        subject = wish.subject or named or caller.actor
        scope = self._database.workspace(wish.workspace) if wish.workspace else self._database.shared()
        async with scope as connection:
            workspace = await rows.workspace(connection, wish.workspace) if wish.workspace else None
            if wish.workspace and workspace is None:
                raise NotFound(named)
            turn = await self._keys.turn(connection)
            details = {
                "token_id": token_id,
                "subject": subject,
                "environment": wish.environment,
                "roles": sorted(set(wish.roles)),
                "seconds": seconds,
                "kid": turn.row.kid,
            }
            entry = Entry(
                action="auth.token.issue", resource=named or "tokens", workspace=wish.workspace, details=details
            )
            await self._journal.append(connection, entry)
        began = int(turn.now.timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "client_id": caller.actor,
            "jti": token_id,
            "iat": began,
            "nbf": began,
            "exp": began + seconds,
            "workspace": wish.workspace,
            "environment": wish.environment,
            "customer": workspace.customer if workspace else "",
            "tier": workspace.tier if workspace else "",
            "region": workspace.region if workspace else "",
            "roles": sorted(set(wish.roles)),
        }
        token = await self._keys.sign(turn, claims)
        return Issued(token, token_id, datetime.fromtimestamp(began, UTC) + timedelta(seconds=seconds))


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
    if wish.seconds is not None and not 1 <= wish.seconds <= LONGEST_SECONDS:
        wrong.append(Violation("ttl", f"must be from 1 to {LONGEST_SECONDS} seconds"))
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
