"""Who calls: the peer's certificate and the verified token of the RPC that runs now."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

OPERATOR = "operator"


@dataclass(frozen=True)
class Caller:
    """The caller of an RPC, as far as it was proven. Empty text means that nothing proves it."""

    peer: str
    """The certificate's SPIFFE path below the trust domain: `envoy`, `proxy`, `client/operator`."""
    subject: str = ""
    workspace: str = ""
    environment: str = ""
    customer: str = ""
    tier: str = ""
    region: str = ""
    roles: frozenset[str] = frozenset()
    token_id: str = ""
    auth_time: int = 0
    """When the token that this one goes on from was issued, as Unix time (OpenID Connect, RFC 9068)."""
    certificate: str = ""
    """The client certificate that the token is bound to, as `x5t#S256` (RFC 8705)."""
    api_key: str = ""
    """The id of the API key that the token was exchanged for."""

    @property
    def actor(self) -> str:
        """Returns who is to be named in the audit journal."""
        return self.subject or f"peer:{self.peer}"

    @property
    def is_operator(self) -> bool:
        """Tells whether the token carries the operator's role."""
        return OPERATOR in self.roles


_caller: ContextVar[Caller] = ContextVar("caller")
NOBODY = Caller(peer="")


def current_caller() -> Caller:
    """Returns the caller of the RPC that runs now; outside an RPC, a caller of whom nothing is known."""
    return _caller.get(NOBODY)


def set_caller(caller: Caller) -> None:
    """Sets the caller for the task that runs now and for the tasks it starts."""
    _caller.set(caller)
