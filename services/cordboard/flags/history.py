"""What flags gave at an earlier revision or time, and what they would give after a change; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import InvalidFields, NotFound, StateConflict
from cordboard.core.flagging import ERROR, Decision, FlagSet
from cordboard.flags.explanation import Segments, chosen_of, explained, unmet_of
from cordboard.flags.prerequisites import Definitions, dependents, influences_of, needed
from cordboard.flags.store import FlagRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    flag: str = ""
    """The name of another flag, which needs this one; empty: of this one."""


class History:
    """Evaluates flags as they were, and as they would be."""

    def __init__(self, store: FlagStore) -> None:
        """Takes where flags and their revisions are kept."""
        self._store = store

    async def evaluate(
        self, key: str, context: Mapping[str, Any], *, revision: int | None = None, time: datetime | None = None
    ) -> Decision:
        """Returns what the flag gave at a revision, or at a time; raises NotFound and StateConflict.

        Its prerequisites, and what workspaces have chosen, are taken as they were at the time, and with a revision as
        they are now.
        """
        record = await self._store.as_of(key, revision=revision, time=time)
        if record is None:
            raise NotFound(f"flags/{key}" if revision is None else f"flags/{key}/revisions/{revision}")
        others = await self._needed(record, time)
        decision = _set({**others, key: record}).evaluate(key, context)
        if decision.reason == ERROR:
            raise StateConflict(record.name, "broken", f"the rules of {record.name!r} cannot be evaluated")
        return decision

    async def explain(
        self, key: str, context: Mapping[str, Any], *, revision: int | None
    ) -> tuple[Decision, Explanation, bool]:
        """Returns what a flag gives at a revision (None: the newest), why, and whether it is killed.

        Where a prerequisite does not hold, or the workspace has switched it off itself, no rule is looked at.

        Raises NotFound and StateConflict.
        """
        decision = await self.evaluate(key, context, revision=revision)
        record = await self._store.as_of(key, revision=decision.revision or revision, time=None)
        if record is None:
            raise NotFound(f"flags/{key}")
        others = _set(await self._needed(record, None))
        chosen = chosen_of(key, others, context)
        unmet = () if record.killed else tuple(unmet_of(record.content, others, context))
        segments = Segments.of(others, context)
        stopped = record.killed or bool(unmet)
        found = explained(key, record.content, context, killed=stopped, segments=segments, chosen=chosen)
        return decision, replace(found, unmet=unmet), record.killed

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
        now = datetime.now(UTC)
        wanted = FlagRecord(key, 0, content, was_killed if killed is None else killed, "", "", now, now)
        known, concerned = await self._around(key, content, current)
        before, after = _set(known), _set({**known, key: wanted})
        return [
            VariantChange(index, *both, flag="" if each == key else f"flags/{each}")
            for each in (key, *concerned)
            for index, context in enumerate(contexts)
            if (both := (_variant(before, each, context), _variant(after, each, context))) and both[0] != both[1]
        ]

    async def _around(
        self, key: str, content: Content, current: FlagRecord | None
    ) -> tuple[dict[str, FlagRecord], list[str]]:
        """Returns a flag as it is with all that it and its content need, and with those that need it; and which these
        are.
        """
        referring = {one.key: one for one in await self._store.referring()}
        concerned = sorted(
            dependents([key], influences_of((name, one.content) for name, one in referring.items())) - {key}
        )
        found = await needed(key, content, self._store.flag)
        for name in concerned:
            found |= {name: referring[name], **await self._needed(referring[name], None)}
        found.pop(key, None)
        if current is not None:
            found |= {**await self._needed(current, None), key: current}
        return found, concerned

    async def _needed(self, record: FlagRecord, time: datetime | None) -> dict[str, FlagRecord]:
        """Returns the flags that decide a flag too, and those that decide them, as of a time (None: now)."""
        return await needed(record.key, record.content, lambda key: self._store.as_of(key, revision=None, time=time))


def _set(records: Mapping[str, FlagRecord]) -> FlagSet:
    definitions = Definitions(records, lambda _key: None)
    return FlagSet({key: definitions.of(key) for key in records})


def _variant(flags: FlagSet, key: str, context: Mapping[str, Any]) -> str:
    return flags.evaluate(key, context).variant or ""
