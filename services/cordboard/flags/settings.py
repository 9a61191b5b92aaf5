"""What Flags is told by its environment."""

from __future__ import annotations

from pydantic import Field, field_validator

from cordboard.core.settings import MAX_STALENESS, MaxStaleness, Settings
from cordboard.flags.approvals import ApprovalRule


class FlagsSettings(Settings):
    """The settings of Flags: what every service has, the order of tiers, and what needs a second person."""

    tiers: tuple[str, ...] = Field(
        ("free", "starter", "business", "enterprise"),
        min_length=1,
        description="the tiers in order, the lowest first: what a rollout's minimum tier is measured by",
    )
    flag_max_staleness_seconds: MaxStaleness = MAX_STALENESS
    approvals: tuple[str, ...] = Field(
        (),
        description="the flags whose changes need a second person, each as ENVIRONMENT/KEY: `production/version.*`, "
        "`*/integration.github`; none: everybody changes flags alone",
    )

    @field_validator("approvals")
    @classmethod
    def _approvals_are_rules(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for each in given:
            ApprovalRule.parse(each)
        return given
