"""A subscription: who is told of which events, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cordboard.proxy.events.event import Event

WAITING: Final = 1
LEASED: Final = 2
DEAD: Final = 3

PULL: Final = "pull"
WEBHOOK: Final = "webhook"
NATS: Final = "nats"
SECRET: Final = "subscription-secret"  # noqa: S105 - the kind of what is sealed


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as it stands."""

    workspace_id: str
    id: str
    environment: str
    """Whose events alone it gets; empty: of all environments."""
    types: str
    """One on each line; empty: all."""
    connections: str
    """One on each line; empty: all."""
    kind: str
    url: str
    secret: bytes = field(repr=False)
    """Sealed; empty where there is none."""
    max_attempts: int
    cursor: int
    """The events up to here have been looked at: those that are for it have a place in the table of deliveries."""
    resume_time: datetime | None
    create_time: datetime

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace_id}/subscriptions/{self.id}"

    def wants(self, event_type: str, connection: str, environment: str) -> bool:
        """Tells whether an event is for it."""
        if self.environment and environment != self.environment:
            return False
        if self.connections and connection not in self.connections.split("\n"):
            return False
        return not self.types or any(_fits(event_type, one) for one in self.types.split("\n"))


def _fits(event_type: str, wanted: str) -> bool:
    return event_type.startswith(wanted[:-1]) if wanted.endswith(".*") else event_type == wanted


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a subscription is."""

    acknowledged: int
    last: int
    dead: int


@dataclass(frozen=True, slots=True)
class Handed:
    """An event that is told now."""

    event: Event
    attempt: int


@dataclass(frozen=True, slots=True)
class Lost:
    """An event that could not be told."""

    event: Event
    attempts: int
    reason: str
