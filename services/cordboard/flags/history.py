"""What flags gave at an earlier revision or time, and what they would give after a change; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import InvalidFields, NotFound, StateConflict
from cordboard.core.flagging import ERROR, Decision, FlagSet
from cordboard.flags.compilation import compiled
from cordboard.flags.explanation import explained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cordboard.flags.content import Content
    from cordboard.flags.explanation import Explanation
    from cordboard.flags.store import FlagStore

MAX_CONTEXTS: Final = 10_000


@dataclass(frozen=True)
class VariantChange:
    """A context that would get another variant; before there was a flag, it got none."""

    index: int
    before: str
    after: str


class History:
    """Evaluates flags as they were, and as they would be."""

    def __init__(self, store: FlagStore) -> None:
        """Takes where flags and their revisions are kept."""
        self._store = store

    async def evaluate(
        self, key: str, context: Mapping[str, Any], *, revision: int | None = None, time: datetime | None = None
    ) -> Decision:
        """Returns what the flag gave at a revision, or at a time; raises NotFound and StateConflict."""
        record = await self._store.as_of(key, revision=revision, time=time)
        if record is None:
            raise NotFound(f"flags/{key}" if revision is None else f"flags/{key}/revisions/{revision}")
        flags = _one(key, record.content, killed=record.killed, revision=record.revision)
        decision = flags.evaluate(key, context)
        if decision.reason == ERROR:
            raise StateConflict(record.name, "broken", f"the rules of {record.name!r} cannot be evaluated")
        return decision

    async def explain(
        self, key: str, context: Mapping[str, Any], *, revision: int | None
    ) -> tuple[Decision, Explanation, bool]:
        """Returns what a flag gives at a revision (None: the newest), why, and whether it is killed.

        Raises NotFound and StateConflict.
        """
        decision = await self.evaluate(key, context, revision=revision)
        record = await self._store.as_of(key, revision=decision.revision, time=None)
        if record is None:
            raise NotFound(f"flags/{key}")
        return decision, explained(key, record.content, context, killed=record.killed), record.killed

    async def preview(
        self, key: str, content: Content, contexts: Sequence[Mapping[str, Any]], *, killed: bool | None = None
    ) -> list[VariantChange]:
        """Returns the contexts whose variant would change if the flag had this content; raises InvalidFields.

        A kill holds whatever the content is, as it does when the flag is put, unless `killed` says otherwise.
        """
        if not 1 <= len(contexts) <= MAX_CONTEXTS:
            raise InvalidFields.one("contexts", f"must be 1 to {MAX_CONTEXTS}", "TOO_MANY" if contexts else "REQUIRED")
        current = await self._store.flag(key)
        was_killed = current is not None and current.killed
        before = FlagSet({}) if current is None else _one(key, current.content, killed=was_killed, revision=0)
        after = _one(key, content, killed=was_killed if killed is None else killed, revision=0)
        variants = (
            (before.evaluate(key, context).variant or "", after.evaluate(key, context).variant or "")
            for context in contexts
        )
        return [VariantChange(index, *both) for index, both in enumerate(variants) if both[0] != both[1]]


def _one(key: str, content: Content, *, killed: bool, revision: int) -> FlagSet:
    return FlagSet({key: compiled(key, content, killed=killed, revision=revision)})
