"""Flags and their history: every change is a revision, and any revision can be gone back to."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cordboard.core.audit import Entry
from cordboard.core.errors import EtagMismatch, InvalidFields, NotFound, StateConflict
from cordboard.flags.content import CHOICE
from cordboard.flags.prerequisites import dependents, graph_of, influences_of, violations
from cordboard.flags.store import FlagRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock
    from cordboard.flags.approvals import Approvals
    from cordboard.flags.content import Content
    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.store import FlagChange, FlagStore

MAX_REASON_LENGTH: Final = 1_000


@dataclass(frozen=True)
class Cause:
    """Who changes a flag, and why."""

    actor: str
    why: str = ""
    automatic: bool = False
    """Whether it is the mesh's own doing, which nobody has to agree to."""
    proposing: bool = False
    """Whether it is only to be checked and held up."""
    approver: str = ""
    """Who has agreed to it."""
    base: int = 0
    """The revision of the flag that the agreement was about; 0 where there was none."""

    def of(self, act: str) -> str:
        """Returns the reason of a revision: what was done, and why; raises InvalidFields."""
        if len(self.why) > MAX_REASON_LENGTH or "\0" in self.why:
            raise InvalidFields.one("reason", f"must be text of at most {MAX_REASON_LENGTH} characters")
        agreed = f" (approved by {self.approver})" if self.approver else ""
        return (f"{act}: {self.why}" if self.why else act) + agreed


class Flags:
    """Keeps flags. Once a change returns, it is committed, in the journal, and in this process's evaluations."""

    def __init__(self, store: FlagStore, journal: Journal, live: LiveFlags, clock: Clock, approvals: Approvals) -> None:
        """Takes where flags are kept, the audit journal, the set that evaluations use, the time, and which changes need
        a second person.
        """
        self._store = store
        self._approvals = approvals
        self._journal = journal
        self._live = live
        self._clock = clock

    async def flag(self, key: str) -> FlagRecord:
        """Returns the flag; raises NotFound."""
        return _existing(key, await self._store.flag(key))

    async def flags(self, *, after: str, limit: int) -> list[FlagRecord]:
        """Returns up to `limit` flags with a key above `after`, in order of key."""
        return await self._store.flags(after=after, limit=limit)

    async def revisions(self, key: str, *, below: int | None, limit: int) -> list[FlagRecord]:
        """Returns up to `limit` revisions of a flag with a number below `below`, newest first; raises NotFound."""
        found = await self._store.revisions(key, below=below, limit=limit)
        if not found:
            await self.flag(key)
        return found

    async def put(self, key: str, content: Content, *, etag: str, cause: Cause) -> FlagRecord:
        """Creates the flag or replaces its content, killed or not; raises EtagMismatch."""
        _check_writable(key, cause, "flag.name")
        reason = cause.of("put")
        now = self._clock.now()
        async with self._store.change() as change:
            current = await change.flag(key)
            if etag and (current is None or current.etag != etag):
                raise EtagMismatch(f"flags/{key}")
            if current is None:
                changed = FlagRecord(key, 1, content, False, cause.actor, reason, now, now)
            else:
                changed = self._next(replace(current, content=content), cause.actor, reason)
            await self._check(change, changed, cause)
            await self._agree(change, current, changed, cause)
            await self._append(change, changed, "flags.flag.put")
        await self._live.catch_up(change.sequence)
        return changed

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[FlagChange]:
        """Opens a change for `publish`, and has this process's evaluations follow once it is committed."""
        async with self._store.change() as change:
            yield change
        await self._live.catch_up(change.sequence)

    async def publish(
        self, change: FlagChange, key: str, content: Content, cause: Cause, act: str, *, planned: bool = False
    ) -> FlagRecord:
        """Makes a flag's content this one, killed or not, inside of a change; as it is already, it stays.

        `planned` says that more will follow by itself.
        """
        reason = cause.of(act)
        current = await change.flag(key)
        if current is not None:
            # A plan says who gets what, and not what a copy of it gives that is too old.
            content = replace(content, when_stale=current.content.when_stale)
        if current is not None and current.content.to_json() == content.to_json():
            if planned:
                await self._agree(change, current, current, cause, planned=True)
            return current
        if current is None:
            now = self._clock.now()
            changed = FlagRecord(key, 1, content, False, cause.actor, reason, now, now)
        else:
            changed = self._next(replace(current, content=content), cause.actor, reason)
        await self._check(change, changed, cause)
        await self._agree(change, current, changed, cause, planned=planned)
        await self._append(change, changed, "flags.flag.put")
        return changed

    async def kill(self, key: str, *, cause: Cause) -> FlagRecord:
        """Switches the flag off for everybody; raises NotFound. Killing twice is two revisions: each has its reason."""
        return await self._switch(key, "kill", cause)

    async def restore(self, key: str, *, cause: Cause) -> FlagRecord:
        """Ends a kill; raises NotFound, and StateConflict when the flag is not killed."""
        return await self._switch(key, "restore", cause)

    async def rollback(self, key: str, number: int, *, cause: Cause) -> FlagRecord:
        """Makes the content of revision `number` the newest; raises NotFound.

        A kill holds until it is ended by its own call: going back to older rules never switches anything on.
        """
        _check_writable(key, cause, "name")
        reason = cause.of(f"rollback to {number}")
        async with self._store.change() as change:
            current = _existing(key, await change.flag(key))
            target = await change.revision(key, number)
            if target is None:
                raise NotFound(f"flags/{key}/revisions/{number}")
            changed = self._next(replace(current, content=target.content), cause.actor, reason)
            await self._check(change, changed, cause)
            await self._agree(change, current, changed, cause)
            await self._append(change, changed, "flags.flag.rollback")
        await self._live.catch_up(change.sequence)
        return changed

    async def _switch(self, key: str, act: str, cause: Cause) -> FlagRecord:
        _check_writable(key, cause, "name")
        reason = cause.of(act)
        async with self._store.change() as change:
            current = _existing(key, await change.flag(key))
            if act == "restore" and not current.killed:
                raise StateConflict(current.name, "not-killed", f"{current.name!r} is not killed")
            changed = self._next(replace(current, killed=act == "kill"), cause.actor, reason)
            # A fire does not wait for a second person.
            if act != "kill":
                await self._agree(change, current, changed, cause)
            await self._append(change, changed, f"flags.flag.{act}")
        await self._live.catch_up(change.sequence)
        return changed

    async def _check(self, change: FlagChange, record: FlagRecord, cause: Cause) -> None:
        """Raises InvalidFields where prerequisites or segments cannot be.

        What the mesh itself does was checked when it was planned, or at the hub; what is not there gives nothing.
        """
        content = record.content
        if cause.automatic or not content.needs:
            return
        named = {key: await change.flag(key) for key in content.needs}
        there = {key: one.content for key, one in named.items() if one is not None}
        graph = graph_of([(each.key, each.content) for each in await change.referring()])
        problems = list(violations(record.key, content, graph, there))
        if problems:
            raise InvalidFields(problems)

    async def _agree(
        self, change: FlagChange, before: FlagRecord | None, after: FlagRecord, cause: Cause, *, planned: bool = False
    ) -> None:
        """Raises StateConflict where a second person has to agree, and Proposed where the change is to be proposed."""
        referring = await change.referring() if self._approvals else ()
        concerned = dependents([after.key], influences_of((each.key, each.content) for each in referring))
        self._approvals.check(before, after, cause, planned=planned, dependents=concerned)

    def _next(self, flag: FlagRecord, actor: str, reason: str) -> FlagRecord:
        # Two machines' clocks differ, and a history does not go back in time.
        now = max(self._clock.now(), flag.update_time)
        return replace(flag, revision=flag.revision + 1, creator=actor, reason=reason, update_time=now)

    async def _append(self, change: FlagChange, record: FlagRecord, action: str) -> None:
        await change.append(record)
        details = {
            "revision": record.revision,
            "sequence": change.sequence,
            "killed": record.killed,
            "reason": record.reason,
        }
        entry = Entry(action=action, resource=record.name, workspace="", outcome="ok", details=details)
        await self._journal.append(change.connection, entry)


def _check_writable(key: str, cause: Cause, field: str) -> None:
    """Raises InvalidFields for what workspaces have chosen, unless it comes from where they have."""
    if key.startswith(CHOICE) and not cause.automatic:
        text = f"is what workspaces choose: flags that begin with {CHOICE!r} are changed by their choices alone"
        raise InvalidFields.one(field, text, "RESERVED")


def _existing(key: str, record: FlagRecord | None) -> FlagRecord:
    if record is None:
        raise NotFound(f"flags/{key}")
    return record
