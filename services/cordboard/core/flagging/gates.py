"""Which integrations are on for whom: one decision, for what a workspace is shown and for what it may call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cordboard.core.flagging.decisions import Decision


def integration_key(slug: str) -> str:
    """Returns the key of the flag that switches an integration."""
    return f"integration.{slug}"


def is_on(decision: Decision) -> bool:
    """Tells whether an integration is on by its flag's decision: one without a flag is off."""
    return decision.value is True
