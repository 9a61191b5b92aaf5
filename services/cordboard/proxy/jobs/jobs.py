"""Takes calls to run later, tells how far they are, and cancels them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.core.caller import Caller
from cordboard.core.errors import (
    DependencyUnavailable,
    IdempotencyKeyReused,
    InvalidFields,
    NotFound,
    StateConflict,
)
from cordboard.core.names import new_id
from cordboard.proxy import origins
from cordboard.proxy.calls import Order
from cordboard.proxy.jobs.job import (
    ATTEMPT_SECONDS,
    CANCELLED,
    ENDED,
    INPUT,
    MAX_ATTEMPTS,
    NORMAL,
    OUTPUT,
    QUEUED,
    Job,
    from_caller,
)
from cordboard.proxy.jobs.store import Choice, JobStore
from cordboard.proxy.ledger import check_key, fingerprint
from cordboard.proxy.sealing import SealingKeys, Unreadable

if TYPE_CHECKING:
    from cordboard.core.database import Changes
    from cordboard.proxy.pipeline import Pipeline

MAX_ORDERING_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to run later."""

    workspace: str
    connection: str
    action: str
    given: dict[str, Any] = field(repr=False)
    caller: Caller
    idempotency_key: str = ""
    priority: int = NORMAL
    ordering_key: str = ""
    due: datetime | None = None
    max_attempts: int = MAX_ATTEMPTS
    attempt_seconds: float = ATTEMPT_SECONDS
    schedule: str = ""

    def order(self, remaining: float, key: str = "") -> Order:
        """Returns the call that it is."""
        return Order(self.workspace, self.connection, self.action, self.given, self.caller, remaining, key)


class Jobs:
    """The jobs of all workspaces."""

    def __init__(self, store: JobStore, keys: SealingKeys, pipeline: Pipeline, changes: Changes) -> None:
        """Takes where they are kept, what their inputs are sealed under, and what can tell a call that cannot run."""
        self._store = store
        self._keys = keys
        self._pipeline = pipeline
        self._changes = changes

    async def submit(self, wish: Wish, remaining: float) -> Job:
        """Keeps a job; returns it, or the one that there is under its idempotency key.

        Raises what the call would raise before anything is sent, and IdempotencyKeyReused.
        """
        check_wish(wish)
        await self.check(wish, remaining)
        job = await self.made(wish)
        known = await self._store.add(job)
        if known is not None and known.fingerprint != job.fingerprint:
            raise IdempotencyKeyReused(wish.idempotency_key)
        found = await self._store.job(wish.workspace, (known or job).id)
        return found or known or job

    async def check(self, wish: Wish, remaining: float) -> None:
        """Raises what the call would raise before anything is sent."""
        try:
            await self._pipeline.rehearse(wish.order(remaining))
        except DependencyUnavailable:
            # It can be kept all the same, and the attempt will tell.
            return

    async def made(self, wish: Wish) -> Job:
        """Returns a new job, with its input sealed; raises NotFound or DependencyUnavailable."""
        job_id, now = new_id(), datetime.now(UTC)
        key = await self._keys.current(wish.workspace)
        return Job(
            workspace_id=wish.workspace,
            id=job_id,
            connection=wish.connection,
            action=wish.action,
            environment=wish.caller.environment,
            ordering_key=wish.ordering_key,
            idempotency_key=wish.idempotency_key or f"job-{job_id}",
            fingerprint=fingerprint(wish.order(0.0)),
            input=key.seal(INPUT, job_id, orjson.dumps(wish.given)),
            submitter=from_caller(wish.caller),
            traceparent=origins.here(),
            state=QUEUED,
            priority=wish.priority,
            max_attempts=wish.max_attempts,
            attempt_seconds=wish.attempt_seconds,
            due_time=wish.due or now,
            create_time=now,
            begin_time=max(now, wish.due or now),
            schedule_id=wish.schedule,
        )

    async def job(self, workspace: str, job_id: str, caller: Caller) -> Job:
        """Returns a job that this caller may see; raises NotFound."""
        found = await self._store.job(workspace, job_id)
        if found is None or not visible(found.environment, caller):
            raise NotFound(f"workspaces/{workspace}/jobs/{job_id}")
        return found

    async def output(self, job: Job) -> bytes | None:
        """Returns what the vendor gave, or None where there is nothing, or nothing that can be opened any more."""
        if job.output is None:
            return None
        try:
            return await self._keys.opened(job.workspace_id, OUTPUT, job.id, job.output)
        except Unreadable:
            return None

    async def jobs(self, workspace: str, choice: Choice, caller: Caller, *, before: str, limit: int) -> list[Job]:
        """Returns up to `limit` jobs with an id below `before` (empty: any), newest first."""
        return await self._store.jobs(workspace, seen_by(choice, caller), before=before, limit=limit)

    async def watch(self, workspace: str, job_id: str, caller: Caller) -> AsyncIterator[Job]:
        """Yields a job as it is, and each time that it changed, until it has ended; raises NotFound."""
        last: Job | None = None
        async with self._changes.subscription() as subscription:
            while last is None or last.state not in ENDED:
                found = await self.job(workspace, job_id, caller)
                if found != last:
                    last = found
                    yield found
                else:
                    await subscription.wait()

    async def cancel(self, workspace: str, job_id: str, caller: Caller) -> Job:
        """Cancels a job, or keeps one that runs from being tried again; raises NotFound, StateConflict."""
        found = await self.job(workspace, job_id, caller)
        cancelled = await self._store.cancel(found)
        if cancelled is None:
            if found.state == CANCELLED:
                return found
            raise StateConflict(found.name, "ENDED", "the job has ended: there is nothing to cancel")
        return cancelled


def check_wish(wish: Wish) -> None:
    """Raises InvalidFields where a wish cannot be kept."""
    check_key(wish.idempotency_key)
    if len(wish.ordering_key) > MAX_ORDERING_KEY or "\0" in wish.ordering_key:
        raise InvalidFields.one("ordering_key", f"must be at most {MAX_ORDERING_KEY} characters, and no NUL")


def visible(environment: str, caller: Caller) -> bool:
    """Tells whether a caller may see what belongs to this environment: only an operator sees others than its own."""
    return caller.is_operator or not caller.token_id or environment == caller.environment


def seen_by(choice: Choice, caller: Caller) -> Choice:
    """Returns the choice without what the caller may not see."""
    if visible("", caller):
        return choice
    return replace(choice, environment=caller.environment)
