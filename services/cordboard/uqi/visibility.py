"""Whose forms a caller sees: those of a private integration are its workspace's alone."""

from __future__ import annotations

from cordboard.core.caller import current_caller
from cordboard.core.ownership import ensure_usable


def ensure_seen(integration: str) -> None:
    """Returns when the caller sees an integration; raises NotFound, as for one that is not there.

    The slug of a private one is `{workspace}--{name}`. Operators and services see all.
    """
    caller = current_caller()
    if caller.token_id and not caller.is_operator:
        ensure_usable(integration, caller.workspace)
