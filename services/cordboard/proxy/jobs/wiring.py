"""Wires the parts of jobs, for the Proxy's `__main__`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.database import Changes
from cordboard.core.errors import CordboardError
from cordboard.proxy.jobs.count import DeadLetterCount
from cordboard.proxy.jobs.dead_letters import DeadLetters
from cordboard.proxy.jobs.jobs import Jobs
from cordboard.proxy.jobs.schedules import Schedules
from cordboard.proxy.jobs.servicer import DeadLetterServicer, JobServicer, ScheduleServicer
from cordboard.proxy.jobs.store import CHANNEL, JobStore
from cordboard.proxy.jobs.worker import Worker
from cordboard.proxy.v1.dead_letter_service_pb2_grpc import add_DeadLetterServiceServicer_to_server
from cordboard.proxy.v1.job_service_pb2_grpc import add_JobServiceServicer_to_server
from cordboard.proxy.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pgqueuer.models import Job as Place

    from cordboard.core.server import Process
    from cordboard.proxy.pipeline import Pipeline
    from cordboard.proxy.sealing import SealingKeys
    from cordboard.proxy.settings import ProxySettings

logger = logging.getLogger(__name__)

SWEEP_EVERY: Final = 600.0
SWEEP_PAUSE: Final = 0.1


def start_jobs(
    mesh: Process[ProxySettings],
    pipeline: Pipeline,
    keys: SealingKeys,
    others: Mapping[str, Callable[[Place], Awaitable[None]]],
) -> None:
    """Serves jobs, and runs them; `others` take what is no job from the same queue, by its entry point."""
    settings, database, journal = mesh.settings, mesh.database(), mesh.journal()
    store, changes = JobStore(database), Changes(database, CHANNEL)
    jobs = Jobs(store, keys, pipeline, changes)
    schedules = Schedules(database, store, jobs, keys, journal)
    worker = Worker(
        database,
        store,
        pipeline,
        keys,
        at_once=settings.job_workers,
        lease=settings.job_lease_seconds,
        first_wait=settings.job_first_wait_seconds,
        others=others,
    )
    add_JobServiceServicer_to_server(JobServicer(jobs), mesh.server)
    add_DeadLetterServiceServicer_to_server(
        DeadLetterServicer(DeadLetters(database, store, keys, journal)), mesh.server
    )
    add_ScheduleServiceServicer_to_server(ScheduleServicer(schedules), mesh.server)
    count = DeadLetterCount(store, mesh.measures)
    for job in (changes.run(), worker.run(), schedules.run(), count.run(), _sweep(store, settings)):
        mesh.background(job)


async def _sweep(store: JobStore, settings: ProxySettings) -> None:
    ended, dead = settings.job_retention_days * 86_400.0, settings.dead_letter_retention_days * 86_400.0
    while True:
        deleted = 0
        try:
            deleted = await store.sweep(ended_live=ended, dead_live=dead)
        except CordboardError as error:
            logger.warning("old jobs were not deleted", extra={"problem": type(error).__name__})
        await asyncio.sleep(SWEEP_PAUSE if deleted else SWEEP_EVERY)
