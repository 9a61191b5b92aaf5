"""What the Catalog is told by its environment."""

from __future__ import annotations

from pydantic import Field

from cordboard.core.settings import Settings


class CatalogSettings(Settings):
    """The settings of the Catalog."""

    # Documents of 16 MiB, and what a message has around them.
    max_message_bytes: int = Field(32 * 1024 * 1024, ge=65536, description="the largest message taken")
    definition_cache_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, description="definitions kept in memory, by their size on the wire"
    )
