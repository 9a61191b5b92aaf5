"""What a breaker is about, and how it stands: the values that replicas share."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class State(enum.Enum):
    """What a breaker lets through: everything, nothing, or a few calls to try."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Cause(enum.Enum):
    """Whose fault it is that a breaker opens, and whom it holds back."""

    VENDOR = "vendor"
    """The vendor's host is down, whatever is asked of it: everybody's calls to it are held back."""
    ENDPOINT = "endpoint"
    """One action fails and others do not: everybody's calls of it are held back."""
    CREDENTIAL = "credential"
    """The vendor refuses the credential of one connection: its calls are held back."""
    QUOTA = "quota"
    """The vendor lets one connection call one action no more: these calls are held back until it said."""


class Override(enum.Enum):
    """What an operator wants of a breaker."""

    AUTO = "auto"
    OPEN = "open"
    CLOSED = "closed"


class Key(NamedTuple):
    """Names a breaker; what its cause has nothing to do with is empty."""

    integration: str
    """The integration's slug."""
    host: str
    cause: Cause
    action: str = ""
    connection: str = ""
    """The connection's resource name."""

    @property
    def workspace(self) -> str:
        """Returns whose it is; empty: everybody's."""
        return self.connection.split("/")[1] if self.connection else ""

    @property
    def order(self) -> tuple[str, str, str, str, str]:
        """Returns what lists are sorted by."""
        return (self.integration, self.host, self.cause.value, self.action, self.connection)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When breakers open, and for how long. Times are seconds."""

    window: float = 10.0
    min_calls: int = 20
    failure_ratio: float = 0.5
    open_time: float = 5.0
    longest_open_time: float = 60.0
    successes: int = 3
    """How many calls have to go well, one after the other, before everything goes again."""
    rejections: int = 3
    """How often in a row a vendor refuses a credential before it is not shown any more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a breaker stands, as replicas tell each other."""

    key: Key
    state: State
    left: float
    """Seconds until it tries again, while it is open; 0 or less: it may try now."""
    open_time: float
    """How long it opened last."""
    override: Override = Override.AUTO
    generation: int = 0
    """The credential that was refused."""
    calls: int = 0
    failures: int = 0
    """What was seen when it opened."""
    revision: int = 0
    """Larger after each change; 0: nobody was told."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A breaker as it stands in this process."""

    key: Key
    state: State
    retry_after: float
    """Seconds until it tries again; 0 unless it is open."""
    calls: int
    failures: int
    override: Override
