"""What the Catalog is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from cordboard.catalog.reach import ALL_BELOW
from cordboard.core.egress import is_host_key
from cordboard.core.settings import MAX_STALENESS, MaxStaleness, OptionalAddress, Settings


def _reachable(value: str) -> str:
    named = value.removeprefix(ALL_BELOW)
    if not is_host_key(named):
        raise ValueError("must be a host in small letters, with its port unless that is 443, or *. and a host")
    return value


ReachableHost = Annotated[str, AfterValidator(_reachable)]


class CatalogSettings(Settings):
    """The settings of the Catalog."""

    # Documents of 16 MiB, and what a message has around them.
    max_message_bytes: int = Field(32 * 1024 * 1024, ge=65536, description="the largest message taken")
    definition_cache_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, description="definitions kept in memory, by their size on the wire"
    )
    flag_max_staleness_seconds: MaxStaleness = MAX_STALENESS
    private_integrations: int = Field(
        50, ge=0, le=10_000, description="how many integrations of its own a workspace can publish"
    )
    hub_key_file: Path | None = Field(
        None, description="32 random bytes that seal the keys deltas are signed with; without it this mesh is no hub"
    )
    hub_heartbeat_seconds: float = Field(
        10.0, gt=0, le=30, description="after how long without a change an edge is told that there is none"
    )
    edge_bootstrap_file: Path | None = Field(
        None, description="what `cordboard edges register` wrote; with it this mesh follows that hub"
    )
    edge_bundle_file: Path | None = Field(
        None, description="what `cordboard edges bundle` wrote, to begin with before the hub is reached"
    )
    hub_address: OptionalAddress = Field("", description="HOST:PORT of the hub's Envoy, if not where it said it is")
    reachable_hosts: tuple[ReachableHost, ...] = Field(
        (),
        description="the vendors' hosts that this mesh can reach, as a JSON array, `*.example.com` for all below one; "
        "none: every host. An integration that needs another one is not shown as available",
    )
    source_folders: tuple[Path, ...] = Field(
        (), description="folders that sources may be in, as a JSON array; none: no source on disk is read"
    )

    @field_validator("edge_bundle_file", mode="before")
    @classmethod
    def _no_bundle(cls, value: object) -> object:
        # A compose file cannot leave a variable out, only empty.
        return None if value == "" else value
