"""By which backend the calls of a workspace reach an integration: plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """Which way it is."""

    DIRECT = "direct"
    GATEWAY = "gateway"
    HUB = "hub"
    """The hub that this mesh follows: it runs the whole action."""
    DATABASE = "database"
    """A database's own protocol: no route has it, the definition does."""


@dataclass(frozen=True, slots=True)
class RemoteConnection:
    """What a connection is called elsewhere."""

    connection: str
    """Its id here."""
    remote: str
    environment: str = ""
    """Set where it is a connection there alone."""
    configuration: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to a vendor."""

    kind: Kind = Kind.DIRECT
    connection: str = ""
    """The workspace's connection at what stands between, by its resource name."""
    integration: str = ""
    """What the integration is called there; empty: its slug."""
    connections: tuple[RemoteConnection, ...] = ()

    def remote(self, connection: str) -> str:
        """Returns what a connection, by its resource name, is called there."""
        own = connection.rpartition("/")[2]
        return next((one.remote for one in self.connections if one.connection == own), own)

    def plain(self) -> dict[str, Any]:
        """Returns it as JSON can carry it."""
        return asdict(self)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Backend:
        """Returns what `plain` gave."""
        connections = tuple(RemoteConnection(**one) for one in plain["connections"])
        return cls(Kind(plain["kind"]), plain["connection"], plain["integration"], connections)


DIRECT = Backend()


@dataclass(frozen=True, slots=True)
class Route:
    """The backend that answers a workspace's calls to an integration, and the one that may do so next."""

    workspace: str
    integration: str
    primary: Backend = DIRECT
    candidate: Backend | None = None
    shadow_rate: float = 0.0
    revision: int = 0
    era: int = 0
    """Counts the reports of comparisons: what was compared before belongs to none."""
    update_time: datetime | None = None
    cut_over_time: datetime | None = None

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace}/backendRoutes/{self.integration}"

    @property
    def etag(self) -> str:
        """Returns what changes with each change."""
        return f"r{self.revision}"
