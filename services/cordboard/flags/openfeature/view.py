"""The rules as one caller may see them: worked out for what is known of it, with no name of another customer in them.

Where the workspace decides, every client then gives the same answer, whichever bucketing it has.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cordboard.core.flagging import BUCKETING, RuleBroken, specialised
from cordboard.flags.compilation import configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.flags.evaluation import Snapshot


class View:
    """A caller's view of one snapshot after the other; what is as before is not worked out again."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        """Takes what is known of the caller."""
        self._known = known
        self._definitions: Mapping[str, str] = {}
        self._seen: dict[str, str] = {}

    def configuration(self, snapshot: Snapshot) -> str:
        """Returns the set as flagd JSON."""
        before, seen = self._definitions, self._seen
        self._definitions = snapshot.definitions
        self._seen = {
            key: seen[key] if before.get(key) == definition else definition_for(definition, self._known)
            for key, definition in snapshot.definitions.items()
        }
        return configuration(self._seen.items())


def definition_for(definition: str, known: Mapping[str, Any]) -> str:
    """Returns a flag's flagd definition for callers of whom this much is known."""
    if '"targeting"' not in definition:
        return definition
    flag = json.loads(definition)
    rule = flag.get("targeting")
    if not rule:
        return definition
    try:
        rule = specialised(rule, known, **_bucketing(flag))
    except (RuleBroken, ArithmeticError, TypeError, ValueError):
        # It breaks at the client as it breaks here; what it says stays here.
        rule = {"broken": []}
    flag["targeting"] = rule if isinstance(rule, dict) else {"if": [True, rule]}
    return json.dumps(flag, separators=(",", ":"))


def _bucketing(flag: Mapping[str, Any]) -> dict[str, str]:
    named = flag.get("metadata", {}).get(BUCKETING)
    return {"bucketing": named} if named else {}
