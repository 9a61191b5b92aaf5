"""What the Catalog is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from cordboard.core.settings import MAX_STALENESS, MaxStaleness, OptionalAddress, Settings


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
    source_folders: tuple[Path, ...] = Field(
        (), description="folders that sources may be in, as a JSON array; none: no source on disk is read"
    )
