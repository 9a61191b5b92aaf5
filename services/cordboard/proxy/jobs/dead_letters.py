"""What became of calls that could not be done: to be looked at, mended, tried again or discarded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from cordboard.core.audit import Entry
from cordboard.core.errors import EtagMismatch, InvalidFields, NotFound, StateConflict
from cordboard.core.names import new_id
from cordboard.proxy.jobs.job import DEAD, INPUT, Job
from cordboard.proxy.jobs.jobs import Wish, seen_by, visible
from cordboard.proxy.jobs.store import Choice, JobStore
from cordboard.proxy.ledger import fingerprint
from cordboard.proxy.sealing import SealingKeys, Unreadable

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Database


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    jobs: tuple[str, ...]
    """Names."""
    in_doubt: int


class DeadLetters:
    """The dead letters of all workspaces."""

    def __init__(self, database: Database, store: JobStore, keys: SealingKeys, journal: Journal) -> None:
        """Takes the jobs, of which the dead ones are dead letters."""
        self._database = database
        self._store = store
        self._keys = keys
        self._journal = journal

    async def letters(self, workspace: str, choice: Choice, caller: Caller, *, before: str, limit: int) -> list[Job]:
        """Returns up to `limit` dead letters with an id below `before` (empty: any), newest first."""
        dead = replace(seen_by(choice, caller), state=DEAD)
        return await self._store.jobs(workspace, dead, before=before, limit=limit)

    async def letter(self, workspace: str, job_id: str, caller: Caller) -> Job:
        """Returns a dead letter; raises NotFound."""
        found = await self._store.job(workspace, job_id)
        if found is None or found.state != DEAD or not visible(found.environment, caller):
            raise NotFound(f"workspaces/{workspace}/deadLetters/{job_id}")
        return found

    async def input(self, job: Job) -> str:
        """Returns the input of a dead letter as JSON text; empty where it cannot be opened any more."""
        try:
            return (await self._keys.opened(job.workspace_id, INPUT, job.id, job.input)).decode()
        except Unreadable:
            return ""

    async def edit(self, workspace: str, job_id: str, given: dict[str, Any], etag: str, caller: Caller) -> Job:
        """Changes the input of a dead letter; raises NotFound, EtagMismatch, StateConflict."""
        found = await self.letter(workspace, job_id, caller)
        name = f"workspaces/{workspace}/deadLetters/{job_id}"
        if etag and etag != etag_of(found):
            raise EtagMismatch(name)
        if found.in_doubt:
            text = "the vendor may have done it as it was: replay it with force, or submit another job"
            raise StateConflict(name, "IN_DOUBT", text)
        key = await self._keys.current(workspace)
        wish = Wish(workspace, found.connection, found.action, given, caller)
        changes = {
            "input": key.seal(INPUT, job_id, orjson.dumps(given)),
            "fingerprint": fingerprint(wish.order(0.0)),
        }
        async with self._database.workspace(workspace) as connection:
            edited = await self._store.edit(connection, found, changes)
            if edited is None:
                raise EtagMismatch(name)
            await self._journal.append(connection, Entry("proxy.dead-letter.edit", name, workspace=workspace))
        return edited

    async def replay(
        self, workspace: str, job_id: str, choice: Choice, caller: Caller, *, limit: int, force: bool
    ) -> Replayed:
        """Tries one dead letter again, or all that are chosen; raises NotFound, InvalidFields, StateConflict."""
        if job_id:
            found = [await self.letter(workspace, job_id, caller)]
            if found[0].in_doubt and not force:
                name = f"workspaces/{workspace}/deadLetters/{job_id}"
                raise StateConflict(name, "IN_DOUBT", "the vendor may have done it: with force it may be done twice")
        else:
            _check(choice)
            dead = replace(seen_by(choice, caller), state=DEAD)
            found = await self._store.jobs(workspace, dead, before="", limit=limit, oldest=True)
        revived, in_doubt = [], 0
        for job in found:
            if job.in_doubt and not force:
                in_doubt += 1
                continue
            # The ledger answers for a day only; a call in doubt gets a key under which nothing is known.
            key = f"job-{new_id()}" if job.in_doubt else job.idempotency_key
            async with self._database.workspace(workspace) as connection:
                if not await self._store.revive(connection, job, key=key):
                    continue
                name = f"workspaces/{workspace}/deadLetters/{job.id}"
                details = {"forced": job.in_doubt}
                await self._journal.append(
                    connection, Entry("proxy.dead-letter.replay", name, workspace=workspace, details=details)
                )
            revived.append(job.name)
        return Replayed(tuple(revived), in_doubt)

    async def discard(self, workspace: str, job_id: str, choice: Choice, caller: Caller) -> int:
        """Discards one dead letter, or all that are chosen; returns how many. Raises NotFound, InvalidFields."""
        if job_id:
            await self.letter(workspace, job_id, caller)
        else:
            _check(choice)
        dead = replace(seen_by(choice, caller), state=DEAD)
        async with self._database.workspace(workspace) as connection:
            count = await self._store.discard(connection, workspace, dead, job_id)
            if count:
                name = f"workspaces/{workspace}/deadLetters/{job_id or '-'}"
                details = {"count": count}
                await self._journal.append(
                    connection, Entry("proxy.dead-letter.discard", name, workspace=workspace, details=details)
                )
        return count


def etag_of(job: Job) -> str:
    """Returns what changes with each edit of a dead letter."""
    return str(job.revision)


def _check(choice: Choice) -> None:
    # All dead letters of a workspace by an empty message would be a slip of the hand.
    if not (choice.connection or choice.action or choice.reason):
        raise InvalidFields.one("filter", "is required where no name is given: set at least one of its fields")
