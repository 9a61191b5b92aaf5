"""What Flags is told by its environment."""

from __future__ import annotations

from pydantic import Field

from cordboard.core.settings import Settings


class FlagsSettings(Settings):
    """The settings of Flags: what every service has, and the order of tiers."""

    tiers: tuple[str, ...] = Field(
        ("free", "starter", "business", "enterprise"),
        min_length=1,
        description="the tiers in order, the lowest first: what a rollout's minimum tier is measured by",
    )
