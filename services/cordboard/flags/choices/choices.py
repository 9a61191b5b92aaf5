"""What workspaces choose: each choice is a revision of a flag of its own, which the integration's flag follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cordboard.core.audit import Entry
from cordboard.core.errors import NotFound, StateConflict
from cordboard.core.flagging import FlagSet, integration_key
from cordboard.core.ownership import ensure_usable, owner_of
from cordboard.flags.choices.ballot import changed, fixed
from cordboard.flags.choices.store import ChoiceRecord, Place
from cordboard.flags.compilation import CHOSEN_OFF, CHOSEN_ON
from cordboard.flags.content import CHOOSABLE, choice_key, violations
from cordboard.flags.flags import Cause
from cordboard.flags.prerequisites import Definitions, needed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cordboard.core.audit import Journal
    from cordboard.flags.choices.hub import Hub
    from cordboard.flags.choices.store import ChoiceStore
    from cordboard.flags.flags import Flags
    from cordboard.flags.rollouts.store import RolloutStore
    from cordboard.flags.store import FlagChange, FlagRecord, FlagStore

    Find = Callable[[str], Awaitable[FlagRecord | None]]


@dataclass(frozen=True)
class Standing:
    """What an integration is for a workspace."""

    on: bool
    """Whether it is on, with what was chosen."""
    offered: bool
    """Whether it would be on if nothing was chosen."""
    choosable: bool
    """Whether it would be on if that was chosen."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and what comes of it; None where too little is known of the workspace to say."""

    record: ChoiceRecord
    standing: Standing | None = None


@dataclass(frozen=True)
class Parts:
    """What choices are made of."""

    choices: ChoiceStore
    flags: Flags
    flag_store: FlagStore
    rollouts: RolloutStore
    journal: Journal
    hub: Hub


class Choices:
    """Keeps what workspaces choose. Once a choice returns, it is committed and evaluated here."""

    def __init__(self, parts: Parts) -> None:
        """Takes where choices, flags and rollouts are kept, the audit journal, and what knows of a hub."""
        self._parts = parts

    async def choose(self, place: Place, choice: str, *, cause: Cause, context: Mapping[str, Any] | None) -> Chosen:
        """Makes a choice, an empty one for none; `context` is what is proven of the workspace, None for nothing.

        Raises NotFound, InvalidFields, StateConflict and DependencyUnavailable.
        """
        parts, key = self._parts, integration_key(place.integration)
        ensure_usable(place.integration, place.workspace)
        await parts.hub.check(place.name)
        before = await parts.choices.choice(place)
        if before.choice == choice:
            return await self._chosen(before, context)
        own = Cause(cause.actor, cause.why, automatic=True)
        async with parts.flags.changing() as change:
            flag = await change.flag(key)
            if flag is None:
                raise NotFound(place.name)
            if choice != CHOSEN_OFF:
                # Nothing that was to stay as it is, or is offered to others alone, is switched on.
                await self._check_moving(change, place, key)
            if choice == CHOSEN_ON and context is not None:
                _check_offered(place, flag, await _standing(flag, change.flag, choice, context))
            ballot = await change.flag(choice_key(key))
            content = changed(ballot.content if ballot else None, place.workspace, place.environment, choice)
            if violations(choice_key(key), content):
                text = f"too many workspaces have chosen something about 'integrations/{place.integration}'"
                raise StateConflict(place.name, "full", text)
            act = f"choice of workspaces/{place.workspace} in {place.environment}, {choice or 'taken back'}"
            revised = await parts.flags.publish(change, choice_key(key), content, own, act)
            record = ChoiceRecord(place, choice, cause.actor, cause.why, revised.update_time)
            await parts.choices.write(change.connection, record)
            details = {"environment": place.environment, "choice": choice or "none", "reason": cause.why}
            entry = Entry("flags.choice.set", place.name, place.workspace, details=details)
            await parts.journal.append(change.connection, entry)
        return await self._chosen(record if choice else ChoiceRecord(place), context)

    async def choice(self, place: Place, *, context: Mapping[str, Any] | None) -> Chosen:
        """Returns what was chosen at a place; raises NotFound."""
        ensure_usable(place.integration, place.workspace)
        return await self._chosen(await self._parts.choices.choice(place), context)

    async def open_to(
        self, workspace: str, environment: str, context: Mapping[str, Any], *, after: str, limit: int
    ) -> tuple[list[Chosen], str]:
        """Returns what a workspace has, may switch on, or has chosen about, of up to `limit` integrations above
        `after`, and the last of these where there are more.
        """
        begin = integration_key(after) if after else CHOOSABLE
        flags = await self._parts.flag_store.flags(after=begin, limit=limit + 1)
        flags = [flag for flag in flags if flag.key.startswith(CHOOSABLE)]
        more, flags = len(flags) > limit, flags[:limit]
        by_slug = {flag.key.removeprefix(CHOOSABLE): flag for flag in flags}
        records = await self._parts.choices.among(workspace, environment, by_slug)
        find, found = _remembering(self._parts.flag_store.flag), []
        for slug, flag in by_slug.items():
            if owner_of(slug) not in ("", workspace):
                continue
            record = records.get(slug, ChoiceRecord(Place(slug, workspace, environment)))
            standing = await _standing(flag, find, record.choice, context)
            if record.choice or standing.offered or standing.choosable:
                found.append(Chosen(record, standing))
        return found, (flags[-1].key.removeprefix(CHOOSABLE) if more else "")

    async def chosen(self, workspace: str, environment: str, *, after: str, limit: int) -> list[Chosen]:
        """Returns up to `limit` choices of a workspace about integrations above `after`, by slug."""
        found = await self._parts.choices.chosen(workspace, environment, after=after, limit=limit)
        return [Chosen(record) for record in found]

    async def all(self, integration: str, *, after: Place | None, limit: int) -> list[Chosen]:
        """Returns up to `limit` choices of all workspaces above `after`, about one integration or (empty) any."""
        return [Chosen(one) for one in await self._parts.choices.all(integration, after=after, limit=limit)]

    async def _chosen(self, record: ChoiceRecord, context: Mapping[str, Any] | None) -> Chosen:
        store = self._parts.flag_store
        flag = await store.flag(integration_key(record.place.integration))
        if flag is None:
            raise NotFound(record.place.name)
        if context is None:
            return Chosen(record)
        return Chosen(record, await _standing(flag, store.flag, record.choice, context))

    async def _check_moving(self, change: FlagChange, place: Place, key: str) -> None:
        rollout = await self._parts.rollouts.current(change.connection, key)
        if rollout is not None and (rollout.freeze_reason or rollout.lock is not None):
            text = f"'integrations/{place.integration}' stays as it is for now: it can only be switched off"
            raise StateConflict(place.name, "frozen", text)


def _check_offered(place: Place, flag: FlagRecord, standing: Standing) -> None:
    """Raises StateConflict where a choice would switch nothing on."""
    if flag.killed:
        text = f"'integrations/{place.integration}' is switched off for everybody"
        raise StateConflict(place.name, "killed", text)
    if not standing.choosable:
        text = f"'integrations/{place.integration}' is not offered to this workspace in {place.environment}"
        raise StateConflict(place.name, "not-offered", text)


async def _standing(flag: FlagRecord, find: Find, choice: str, context: Mapping[str, Any]) -> Standing:
    own = choice_key(flag.key)

    async def other(key: str) -> FlagRecord | None:
        return None if key == own else await find(key)

    records = {**await needed(flag.key, flag.content, other), flag.key: flag}

    def gives(supposed: str) -> bool:
        definitions = Definitions(records, lambda key: fixed(supposed) if key == own else None)
        flags = FlagSet({key: definitions.of(key) for key in records})
        return flags.evaluate(flag.key, context).value is True

    return Standing(gives(choice), gives(""), gives(CHOSEN_ON))


def _remembering(find: Find) -> Find:
    known: dict[str, FlagRecord | None] = {}

    async def remembered(key: str) -> FlagRecord | None:
        if key not in known:
            known[key] = await find(key)
        return known[key]

    return remembered
