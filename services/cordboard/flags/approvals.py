"""Which changes of flags need a second person, by what they change and where."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import StateConflict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cordboard.flags.flags import Cause
    from cordboard.flags.store import FlagRecord

ANY: Final = "*"
RULE: Final = re.compile(r"([a-z0-9*][a-z0-9-]*)/([A-Za-z0-9][A-Za-z0-9._-]*\*?|\*)")


class Proposed(Exception):
    """A change would do; it is proposed, and not made."""

    def __init__(self, before: FlagRecord | None, after: FlagRecord) -> None:
        """Takes the flag as it is, and as it would be."""
        super().__init__(after.name)
        self.before = before
        self.after = after


@dataclass(frozen=True)
class ApprovalRule:
    """Flags that need a second person where a change is felt in an environment."""

    environment: str
    """`*` is any."""
    key: str
    """A flag's key, or the beginning of one with a `*` at its end."""

    @classmethod
    def parse(cls, text: str) -> ApprovalRule:
        """Returns the rule that `ENVIRONMENT/KEY` says; raises ValueError."""
        found = RULE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not ENVIRONMENT/KEY, where * is any environment, and the end of any key")
        return cls(found[1], found[2])

    def is_for(self, key: str) -> bool:
        """Tells whether a flag is meant."""
        return key.startswith(self.key[:-1]) if self.key.endswith(ANY) else key == self.key


class Approvals:
    """Holds changes up that need a second person."""

    def __init__(self, rules: Iterable[ApprovalRule]) -> None:
        """Takes the rules; without any, everybody changes flags alone."""
        self._rules = tuple(rules)

    def __bool__(self) -> bool:
        """Tells whether any change can need a second person."""
        return bool(self._rules)

    def check(
        self,
        before: FlagRecord | None,
        after: FlagRecord,
        cause: Cause,
        *,
        planned: bool = False,
        dependents: Collection[str] = (),
    ) -> None:
        """Returns where a change may be made now; raises StateConflict, and Proposed where it is to be proposed alone.

        `planned` says that more will follow by itself than the flag shows, as the stages of a plan do. `dependents` are
        the keys of the flags that need this one: whoever changes it changes what they give.
        """
        if cause.automatic:
            return
        if cause.proposing:
            raise Proposed(before, after)
        if cause.approver:
            if (before.revision if before else 0) != cause.base:
                raise StateConflict(after.name, "changed", f"{after.name!r} has changed since this was proposed")
            return
        for rule in self._rules:
            meant = next(filter(rule.is_for, (after.key, *sorted(dependents))), None)
            if meant is not None and (planned or _felt(before, rule) != _felt(after, rule)):
                which = "" if meant == after.key else f", as {f'flags/{meant}'!r} needs it"
                text = f"{after.name!r} needs a second person's agreement{which}: propose the change"
                raise StateConflict(after.name, "needs-approval", text)


def _felt(record: FlagRecord | None, rule: ApprovalRule) -> Any:
    """Returns what an environment feels of a flag: all but words, and the rules for elsewhere."""
    if record is None:
        return None
    rules = [
        replace(each, description="", environments=() if rule.environment != ANY else each.environments)
        for each in record.content.rules
        if rule.environment == ANY or not each.environments or rule.environment in each.environments
    ]
    return record.killed, replace(record.content, description="", rules=tuple(rules))
