"""Runs jobs as the queue hands them out, and decides what becomes of those that fail.

A row of the table of jobs is the truth, and a place in the queue only says when to look at it. A job belongs to a
process as long as that prolongs its lease; the ledger of idempotency keys sees to it that two which take each other for
dead still do the call at most once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson
from opentelemetry.trace import SpanKind
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job as Place

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core import telemetry
from cordboard.core.errors import (
    AuditUnavailable,
    BreakerOpen,
    CallInProgress,
    CordboardError,
    DeadlineExceeded,
    DependencyUnavailable,
    Fault,
    Indeterminate,
    LimitExceeded,
    NotFound,
    VendorError,
    VendorUnreachable,
)
from cordboard.core.names import new_id
from cordboard.core.statements import CONNECTION_LOST
from cordboard.planning.answers import Answer
from cordboard.proxy import origins
from cordboard.proxy.calls import Call, Order
from cordboard.proxy.jobs.job import DEAD, INPUT, OUTPUT, SUCCEEDED, Job
from cordboard.proxy.jobs.store import ENTRYPOINT, JobStore
from cordboard.proxy.sealing import SealingKeys, Unreadable

if TYPE_CHECKING:
    from cordboard.core.database import Database
    from cordboard.proxy.pipeline import Pipeline

logger = logging.getLogger(__name__)

PROLONG_EVERY: Final = 4.0
# A job that is so late has lost its place in the queue.
LATE: Final = 20.0
PAUSE: Final = 1.0
LOOK_EVERY: Final = 5.0
# However often it failed, a job waits no longer than this, in seconds.
LONGEST_WAIT: Final = 3600.0
# These say nothing about the call: it is not its fault, and does not count as an attempt.
_NOT_COUNTED: Final = (CallInProgress, LimitExceeded, BreakerOpen, DependencyUnavailable, AuditUnavailable)
_PASSING: Final = (*_NOT_COUNTED, VendorUnreachable, DeadlineExceeded, TimeoutError, Fault)
_PASSING_STATUS: Final = frozenset({408, 425, 429})
# A limit that is reached for ever must not keep a job for ever.
LONGEST_LIFE: Final = timedelta(days=7)


class Worker:
    """The one that runs jobs in this process."""

    def __init__(  # noqa: PLR0913 - what runs a job, and how
        self,
        database: Database,
        store: JobStore,
        pipeline: Pipeline,
        keys: SealingKeys,
        *,
        at_once: int,
        lease: float,
        first_wait: float,
        others: Mapping[str, Callable[[Place], Awaitable[None]]] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Takes how many jobs may run at once, and for how many seconds one belongs to a process that gives no sign.

        What failed waits for `first_wait` seconds, and twice as long each time; half of it is chance: `draw`. `others`
        take what is no job from the same queue, by its entry point.
        """
        self._others = others or {}
        self._database = database
        self._store = store
        self._pipeline = pipeline
        self._keys = keys
        self._at_once = at_once
        self._lease = lease
        self._first_wait = first_wait
        self._draw = draw
        self._running: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Runs jobs for ever; connects again by itself."""
        looking = asyncio.create_task(self._look_after())
        try:
            while True:
                try:
                    await self._work()
                except (*CONNECTION_LOST, asyncpg.PostgresError, CordboardError) as error:
                    logger.warning("the queue was interrupted", extra={"problem": type(error).__name__})
                await asyncio.sleep(PAUSE)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _work(self) -> None:
        connection = await self._database.raw()
        try:
            queue = PgQueuer(AsyncpgDriver(connection))
            queue.entrypoint(ENTRYPOINT)(self._take)
            for name, take in self._others.items():
                queue.entrypoint(name)(take)
            connection.add_termination_listener(lambda _: queue.shutdown.set())
            await queue.run(
                dequeue_timeout=timedelta(seconds=LOOK_EVERY),
                batch_size=max(1, self._at_once // 2),
                max_concurrent_tasks=max(2, self._at_once),
                heartbeat_timeout=timedelta(seconds=self._lease),
            )
        finally:
            with contextlib.suppress(Exception):
                await asyncio.shield(connection.close(timeout=1))

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(min(PROLONG_EVERY, self._lease / 3))
            try:
                if self._running:
                    await self._store.prolong(sorted(self._running), lease=self._lease)
                await self._store.recover(late=LATE)
            except CordboardError as error:
                logger.warning("jobs were not looked after", extra={"problem": type(error).__name__})

    async def _take(self, place: Place) -> None:
        told = orjson.loads(place.payload or b"{}")
        try:
            job = await self._store.begin(told["workspace"], told["job"], told["turn"], lease=self._lease)
            if job is not None:
                await self._run_one(job)
        except CordboardError as error:
            # The job stays as it is, and is found again when its lease has ended.
            logger.warning("a job was left", extra={"job": told["job"], "problem": type(error).__name__})

    async def _run_one(self, job: Job) -> None:
        here = (job.workspace_id, job.id)
        self._running.add(here)
        try:
            with telemetry.tracer().start_as_current_span(
                "job proxy.run",
                kind=SpanKind.CONSUMER,
                links=origins.links(job.traceparent),
                attributes={
                    "cordboard.job": job.name,
                    "cordboard.attempt": job.attempts,
                    "messaging.operation.type": "process",
                    "messaging.destination.name": "jobs",
                    "messaging.message.id": job.id,
                },
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                # Known before: whoever looks at a job that failed finds the attempt that did.
                call_id = "" if job.in_doubt else new_id()
                try:
                    if job.in_doubt:
                        raise Indeterminate(job.call_key)
                    answer, call = await self._called(job, call_id)
                except (CordboardError, TimeoutError) as error:
                    telemetry.mark_failed(span, error)
                    await self._failed(job, error, call_id)
                else:
                    await self._done(job, answer, call)
        except Exception as error:
            logger.error("a job failed unforeseen", extra={"job": job.name}, exc_info=error)
            await self._failed(job, Fault())
        finally:
            self._running.discard(here)

    async def _called(self, job: Job, call_id: str) -> tuple[Answer, Call]:
        try:
            given = orjson.loads(await self._keys.opened(job.workspace_id, INPUT, job.id, job.input))
        except Unreadable:
            raise NotFound(job.name) from None
        order = Order(
            workspace=job.workspace_id,
            connection=job.connection,
            action=job.action,
            given=given,
            caller=job.caller,
            remaining=job.attempt_seconds,
            idempotency_key=job.call_key,
            background=True,
            queued=True,
            id=call_id,
        )
        return await self._pipeline.execute(order)

    async def _done(self, job: Job, answer: Answer, call: Call) -> None:
        key = await self._keys.current(job.workspace_id)
        changes = {
            "reason": "",
            "problem": "",
            "vendor_status": answer.status,
            "content_type": answer.content_type,
            "output": key.seal(OUTPUT, job.id, answer.body),
            "call_id": call.id,
            "trace_id": call.trace_id,
        }
        await self._store.end(job, SUCCEEDED, changes)

    async def _failed(self, job: Job, error: BaseException, call_id: str = "") -> None:
        # What is tried again, or taken out of the dead letters, leads back to what failed.
        changes = _told(error) | {"traceparent": origins.also(job.traceparent, origins.ATTEMPT, origins.here())}
        if call_id:
            changes["call_id"] = call_id
        counted = not isinstance(error, _NOT_COUNTED)
        old = datetime.now(UTC) - job.begin_time > LONGEST_LIFE
        spent = old or (counted and job.attempts >= job.max_attempts)
        if spent or not _passes(error):
            await self._store.end(job, DEAD, changes)
            return
        wait = min(LONGEST_WAIT, self._first_wait * 2 ** (min(job.attempts, 20) - 1))
        wait *= 0.5 + 0.5 * self._draw()
        asked = error.retry_after if isinstance(error, CordboardError) else None
        if not counted:
            wait = min(wait, 60.0)
        await self._store.again(job, wait=max(wait, asked or 0.0), counted=counted, changes=changes)


def _passes(error: BaseException) -> bool:
    """Tells whether trying again may help."""
    if isinstance(error, VendorError):
        return error.status >= 500 or error.status in _PASSING_STATUS
    return isinstance(error, _PASSING)


def _told(error: BaseException) -> dict[str, Any]:
    known = error if isinstance(error, CordboardError) else DeadlineExceeded("the answer")
    return {
        "reason": reasons.ErrorReason.Name(known.reason).removeprefix("ERROR_REASON_"),
        "problem": known.text,
        "vendor_status": known.status if isinstance(known, VendorError) else 0,
        "trace_id": telemetry.trace_id(),
    }
