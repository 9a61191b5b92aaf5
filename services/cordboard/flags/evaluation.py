"""The set of flags that holds now, kept in memory: for evaluations, and for the streams of watchers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.copies import ANSWERS_WITHIN, Copy
from cordboard.core.errors import CordboardError, DependencyUnavailable, NotFound, StateConflict
from cordboard.core.flagging import ERROR, Decision, FlagSet
from cordboard.core.settings import MAX_STALENESS
from cordboard.flags.compilation import configuration
from cordboard.flags.prerequisites import Definitions, deciding, dependents, influences_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.core.caller import Caller
    from cordboard.core.database import Changes
    from cordboard.flags.store import FlagRecord, FlagStore

logger = logging.getLogger(__name__)

# Flags that are worked out without a break.
PIECE: Final = 200
# How long a watcher waits for the flags to be read once, in seconds.
FIRST_WITHIN: Final = 10.0
# Services that evaluate for somebody else, and therefore say for whom.
SERVICE_PEERS: Final = frozenset({"proxy", "catalog"})


@dataclass(frozen=True)
class Snapshot:
    """All flags as of one change."""

    sequence: int
    flags: FlagSet
    definitions: Mapping[str, str]
    """The flagd definition of each flag, as JSON, in order of key."""
    base: int = 0
    """The change whose snapshot this one goes on from; 0 where there is none."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """Those of the definitions that differ from that snapshot's."""
    changed_at: Mapping[str, int] = field(default_factory=dict)
    """The change after which each definition was first as it is, for those that have changed here."""
    superseded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as there is a newer snapshot."""

    @functools.cached_property
    def configuration(self) -> str:
        """Returns the whole set as flagd JSON."""
        return configuration(self.definitions.items())

    def since(self, sequence: int) -> Mapping[str, str]:
        """Returns the definitions that have changed after the snapshot of a change that was followed here."""
        if sequence == self.base:
            return self.changed
        keys = [key for key, number in self.changed_at.items() if number > sequence]
        return {key: self.definitions[key] for key in keys}


def context_of(caller: Caller, claimed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the context to evaluate in: what the token proves, and beside it what the caller claims.

    What the token says, an empty claim too, overrides the request. Operators and the mesh's own services ask on behalf
    of others: what they claim counts, and the token fills the rest.
    """
    proven: dict[str, Any] = {
        "workspace": caller.workspace,
        "customer": caller.customer,
        "tier": caller.tier,
        "region": caller.region,
        "environment": caller.environment,
        "roles": sorted(caller.roles),
    }
    trusted = caller.is_operator or caller.peer in SERVICE_PEERS
    context = {**proven, **claimed} if trusted else {**claimed, **proven}
    if not (trusted and "targetingKey" in claimed):
        context["targetingKey"] = context["workspace"]
    return context


def known_of(caller: Caller) -> dict[str, Any]:
    """Returns what is known of everybody whom a caller evaluates for."""
    # An operator evaluates for others, so that nothing is known of the subject beforehand.
    return {} if caller.is_operator else context_of(caller, {})


class LiveFlags:
    """Keeps the newest snapshot; serves the last one known while the database cannot be asked."""

    def __init__(self, store: FlagStore, *, max_staleness: float = MAX_STALENESS) -> None:
        """Takes where flags are kept, and after how many seconds without the database the snapshot is too old; knows no
        flag until the first `refresh`.
        """
        self._store = store
        self._max_staleness = max_staleness
        self._referring: dict[str, FlagRecord] = {}
        self._refreshing = asyncio.Lock()
        self._snapshot: Snapshot | None = None
        self._read_once = asyncio.Event()
        self.copy = Copy("database", within=ANSWERS_WITHIN)

    @property
    def snapshot(self) -> Snapshot:
        """Returns the newest snapshot; raises DependencyUnavailable before the first one was read."""
        if self._snapshot is None:
            raise DependencyUnavailable("database")
        return self._snapshot

    @property
    def flags(self) -> FlagSet:
        """Returns the newest set, as it holds at its age; raises DependencyUnavailable before one was read."""
        found = self.snapshot.flags
        return found.when_stale() if self.copy.age() > self._max_staleness else found

    async def check(self) -> None:
        """Raises DependencyUnavailable while there is nothing to evaluate with."""
        _ = self.snapshot

    def evaluate(self, key: str, caller: Caller, claimed: Mapping[str, Any]) -> Decision:
        """Returns what the flag gives to `caller`; raises NotFound, and StateConflict where its rules are broken."""
        decision = self.flags.evaluate(key, context_of(caller, claimed))
        if decision.reason == ERROR:
            if not decision.found:
                raise NotFound(f"flags/{key}")
            raise StateConflict(f"flags/{key}", "broken", f"the rules of 'flags/{key}' cannot be evaluated")
        return decision

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yields the newest snapshot at once, and then each newer one; whoever is slow skips those between.

        Who comes while the first one is being read waits for it, for others start beside us; raises
        DependencyUnavailable where it does not come.
        """
        if self._snapshot is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_WITHIN):
                    await self._read_once.wait()
        snapshot = self.snapshot
        while True:
            yield snapshot
            await snapshot.superseded.wait()
            snapshot = self.snapshot

    async def refresh(self) -> None:
        """Reads what changed since the newest snapshot; raises DependencyUnavailable."""
        async with self._refreshing:
            await self._read()

    async def catch_up(self, sequence: int) -> None:
        """Makes sure that the snapshot has change `sequence`, as far as the database can be asked."""
        async with self._refreshing:
            if self._snapshot is not None and self._snapshot.sequence >= sequence:
                return
            try:
                await self._read()
            except CordboardError as error:
                # The change itself is committed; the watch loop brings it in as soon as it can.
                logger.warning("the flags could not be read again", extra={"problem": type(error).__name__})

    async def run(self, changes: Changes) -> None:
        """Follows the changes for ever."""
        async with changes.subscription() as subscription:
            while True:
                try:
                    await self.refresh()
                except CordboardError as error:
                    self.copy.lost()
                    logger.warning("the flags could not be read again", extra={"problem": type(error).__name__})
                await subscription.wait()

    async def _read(self) -> None:
        known = self._snapshot
        sequence, records = await self._store.changed(since=known.sequence if known else 0)
        self.copy.current()
        if known is not None and sequence == known.sequence:
            return
        new = {record.key: record for record in records}
        referring = {key: one for key, one in {**self._referring, **new}.items() if deciding(key, one.content)}
        # With a flag those change that need it: its rules are part of theirs.
        concerned = dependents(new, influences_of((key, one.content) for key, one in referring.items()))
        new |= {key: referring[key] for key in concerned}
        definitions = Definitions(new, self._definition)
        changed: dict[str, Mapping[str, Any]] = {}
        texts: dict[str, str] = {}
        for number, key in enumerate(new):
            if number % PIECE == PIECE - 1:
                # All flags of a large set at once would keep everybody else waiting.
                await asyncio.sleep(0)
            definition = definitions.of(key) or {}
            changed[key] = definition
            texts[key] = json.dumps(definition, separators=(",", ":"))
        self._referring = referring
        if known is None:
            self._snapshot = Snapshot(sequence, FlagSet(changed), dict(sorted(texts.items())))
            self._read_once.set()
            return
        everything = {**known.definitions, **texts}
        self._snapshot = Snapshot(
            sequence=sequence,
            flags=known.flags.updated(changed),
            definitions=everything if texts.keys() <= known.definitions.keys() else dict(sorted(everything.items())),
            base=known.sequence,
            changed=texts,
            changed_at={**known.changed_at, **dict.fromkeys(texts, sequence)},
        )
        known.superseded.set()

    def _definition(self, key: str) -> Mapping[str, Any] | None:
        text = None if self._snapshot is None else self._snapshot.definitions.get(key)
        return None if text is None else json.loads(text)
