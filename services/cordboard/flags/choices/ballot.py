"""The flag that says what workspaces have chosen about an integration: its content, and how one choice changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.flags.compilation import CHOSEN_OFF, CHOSEN_ON
from cordboard.flags.content import MAX_CONDITION_VALUES, Content, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

NONE: Final = "none"


def changed(content: Content | None, workspace: str, environment: str, choice: str) -> Content:
    """Returns the content with a workspace's choice in an environment in the place of what it had there; an empty one
    is none. `content` None: nobody has chosen anything yet.
    """
    chosen: dict[tuple[str, str], set[str]] = {}
    for rule in content.rules if content else ():
        chosen.setdefault((rule.environments[0], rule.variant), set()).update(rule.workspaces)
    for known in (CHOSEN_ON, CHOSEN_OFF):
        chosen.get((environment, known), set()).discard(workspace)
    if choice:
        chosen.setdefault((environment, choice), set()).add(workspace)
    return Content(
        variants={each: each for each in (NONE, CHOSEN_ON, CHOSEN_OFF)},
        default_variant=NONE,
        off_variant=NONE,
        description="What workspaces have chosen themselves.",
        rules=tuple(_rules(chosen)),
    )


def fixed(choice: str) -> dict[str, Any]:
    """Returns the definition of a flag that gives everybody the same choice; an empty one is none."""
    return {"variants": {}, "defaultVariant": choice or NONE}


def _rules(chosen: dict[tuple[str, str], set[str]]) -> Iterator[Rule]:
    for (environment, choice), workspaces in sorted(chosen.items()):
        ordered = sorted(workspaces)
        for start in range(0, len(ordered), MAX_CONDITION_VALUES):
            part = tuple(ordered[start : start + MAX_CONDITION_VALUES])
            yield Rule(workspaces=part, environments=(environment,), variant=choice)
