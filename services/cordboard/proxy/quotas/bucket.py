"""The buckets that a call draws on: the declared limits of a definition and an action, each of somebody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.times import to_seconds

APP: Final = "app"
WORKSPACE: Final = "workspace"
CONNECTION: Final = "connection"
ENDPOINT: Final = "endpoint"
_SCOPES: Final = {
    pb.RATE_LIMIT_SCOPE_UNSPECIFIED: CONNECTION,
    pb.RATE_LIMIT_SCOPE_APP: APP,
    pb.RATE_LIMIT_SCOPE_WORKSPACE: WORKSPACE,
    pb.RATE_LIMIT_SCOPE_CONNECTION: CONNECTION,
    pb.RATE_LIMIT_SCOPE_ENDPOINT: ENDPOINT,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A declared limit."""

    calls: int
    window: float
    """Seconds."""
    scope: str
    action: str = ""
    """The action that it counts alone; empty: all of the definition's."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit of somebody."""

    key: str
    """Names it among all buckets of the mesh."""
    limit: Limit
    owner: str
    """Whose it is, as a resource name."""
    workspace: str
    """Who draws on it."""

    @property
    def shared(self) -> bool:
        """Tells whether several workspaces draw on it."""
        return self.limit.scope == APP


@dataclass(frozen=True, slots=True)
class Draw:
    """What one call takes, and out of which buckets."""

    buckets: tuple[Bucket, ...]
    weight: int = 1


NOTHING: Final = Draw(())


def limits_of(declared: Iterable[pb.RateLimit], action: str = "") -> tuple[Limit, ...]:
    """Returns declared limits; `action` names the one action that they are about."""
    return tuple(
        Limit(one.calls, to_seconds(one.window), _SCOPES[one.scope], action)
        for one in declared
        if one.calls > 0 and to_seconds(one.window) > 0
    )


def draw(limits: Iterable[Limit], *, slug: str, connection: str, action: str, weight: int = 1) -> Draw:
    """Returns what a call of an action of this integration takes."""
    workspace = connection.split("/")[1]
    buckets = []
    for limit in limits:
        owner = {APP: f"integrations/{slug}", WORKSPACE: f"workspaces/{workspace}"}.get(limit.scope, connection)
        one = action if limit.scope == ENDPOINT else limit.action
        key = " ".join((slug, limit.scope, owner, one or "*", str(limit.calls), f"{limit.window:g}"))
        buckets.append(Bucket(key, limit, owner, workspace))
    return Draw(tuple(buckets), max(1, weight))
