"""Connect sessions as callers see them: how far one is, what comes back from a vendor, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from cordboard.auth.connections import connection_name
from cordboard.core.errors import NotFound, StateConflict
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.store.sessions import SessionRow

SESSION_SECONDS: Final = 600
# The person did not come in time: what we say of it, and what vendors say.
_EXPIRED: Final = frozenset({"expired", "expired_token"})


class State(Enum):
    """How far a session is."""

    PENDING = "pending"
    CONNECTED = "connected"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Session:
    """One attempt to connect."""

    workspace: str
    id: str
    integration: str
    auth_scheme: str
    environment: str
    state: State
    connection: str
    error: str
    expire_time: datetime
    user_code: str = ""
    """What the person types in at `verification_uri`, for a device."""
    verification_uri: str = ""
    verification_uri_complete: str = ""
    return_url: str = ""
    origin: str = ""
    authorization_url: Secret[str] | None = None
    """Known when the session is made and never again: of the state in it only a hash is kept."""


@dataclass(frozen=True)
class Return:
    """What the vendor sent the person back with (RFC 6749 section 4.1.2, RFC 9207, RFC 5849 section 2.2)."""

    state: Secret[str]
    code: Secret[str]
    issuer: str
    error: str
    token: str = ""
    """OAuth 1: the request token."""
    verifier: Secret[str] = field(default_factory=lambda: Secret(""))
    """OAuth 1: the proof that the person allowed it."""
    browser: Secret[str] = field(default_factory=lambda: Secret(""))
    """What the browser brought."""


@dataclass(frozen=True)
class Ended:
    """What came of a return: the integration's title, and the problem where there was one."""

    title: str
    problem: str
    session: str = ""
    """The session's name."""
    return_url: str = ""
    origin: str = ""
    link: str = ""
    """The link whose page goes on."""


def check_waiting(row: SessionRow | None, name: str) -> None:
    """Raises NotFound for no session, and StateConflict for one that has ended."""
    if row is None:
        raise NotFound(name)
    state = shown(row).state
    if state is not State.PENDING:
        raise StateConflict(name, state.name, "this connect session has ended: begin another one")


def shown(row: SessionRow, url: Secret[str] | None = None) -> Session:
    """Returns a session as its row has it."""
    state = State.PENDING if row.state == "exchanging" else State(row.state)
    if state is State.PENDING and row.expired:
        state = State.EXPIRED
    if state is State.FAILED and row.error in _EXPIRED:
        state = State.EXPIRED
    connected = connection_name(row.workspace, row.connection_id) if state is State.CONNECTED else ""
    return Session(
        row.workspace,
        row.id,
        row.integration,
        row.auth_scheme,
        row.environment,
        state,
        connected,
        row.error,
        row.expire_time,
        row.user_code,
        row.verification_uri,
        row.verification_uri_complete,
        row.return_url,
        row.origin,
        url,
    )


def session_name(workspace: str, session_id: str) -> str:
    """Returns the resource name of a session."""
    return f"workspaces/{workspace}/connectSessions/{session_id}"


def session_resource(session_id: str) -> str:
    """Returns what the vault knows the secrets of a session by."""
    return f"connectSessions/{session_id}"
