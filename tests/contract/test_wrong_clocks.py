"""A Proxy whose clock is wrong makes jobs and schedules that come in time: what is due is so by the database's clock.

In short; `tests/soak/test_clocks.py` has whole processes with a wrong clock, leases and tokens, and the controls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from cordboard.local.certificates import Identities
from cordboard.proxy.jobs import jobs as job_module
from cordboard.proxy.jobs import schedules as schedule_module
from cordboard.proxy.v1 import job_service_pb2 as job_pb
from cordboard.proxy.v1 import schedule_service_pb2 as pb
from tests.contract.test_proxy_jobs import ended, jobs, sql, submit
from tests.contract.test_proxy_schedules import NAME, listed, schedules, wish
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import Mesh, a_mesh, until

AHEAD, BEHIND = timedelta(hours=2), timedelta(hours=-2)


@pytest.fixture
def kept(database: Databases) -> ServiceDatabase:
    return database("proxy")


@pytest.fixture(params=[AHEAD, BEHIND], ids=["ahead", "behind"])
async def mesh(
    serving: Serving,
    identities: Identities,
    kept: ServiceDatabase,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Mesh]:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + request.param

    async with a_mesh(serving, identities, kept.url) as one:
        for module in (job_module, schedule_module):
            monkeypatch.setattr(module, "datetime", Wrong)
        yield one


def off(moment: Any) -> float:
    """Returns by how many seconds a time is after that of the machine."""
    return float((moment.ToDatetime(UTC) - datetime.now(UTC)).total_seconds())


async def test_a_job_is_done_at_once_and_one_for_later_is_not(mesh: Mesh) -> None:
    later = submit()
    later.schedule_time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    waits = await jobs(mesh).SubmitJob(later)
    job = await jobs(mesh).SubmitJob(submit())
    assert -60 < off(job.create_time) < 60
    done = await ended(mesh, job.name)
    assert done.state == job_pb.Job.STATE_SUCCEEDED
    waiting = await jobs(mesh).GetJob(job_pb.GetJobRequest(name=waits.name))
    assert waiting.state == job_pb.Job.STATE_QUEUED
    assert 3500 < off(waiting.due_time) <= 3600
    assert len(mesh.requests) == 1


async def test_a_schedule_comes_at_its_time_and_that_once(mesh: Mesh, kept: ServiceDatabase) -> None:
    made = await schedules(mesh).CreateSchedule(wish(cron="0 * * * *"))
    assert 0 < off(made.next_time) <= 3600
    assert -60 < off(made.create_time) < 60
    await sql(kept, "UPDATE job_schedule SET next_time = now() - interval '3 days'")
    await until(lambda: mesh.requests)
    found = await schedules(mesh).GetSchedule(pb.GetScheduleRequest(name=NAME))
    assert 0 < off(found.next_time) <= 3600
    await schedules(mesh).PauseSchedule(pb.PauseScheduleRequest(name=NAME))
    resumed = await schedules(mesh).ResumeSchedule(pb.ResumeScheduleRequest(name=NAME))
    assert 0 < off(resumed.next_time) <= 3600
    assert (len(await listed(mesh)), len(mesh.requests)) == (1, 1)
