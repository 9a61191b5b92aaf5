"""Schedules on a running Proxy: each time once, however many look at the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from cordboard.core.errors import InvalidFields
from cordboard.local.certificates import Identities
from cordboard.proxy.jobs.schedules import following
from cordboard.proxy.v1 import job_service_pb2 as job_pb
from cordboard.proxy.v1 import schedule_service_pb2 as pb
from cordboard.proxy.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from tests.contract.test_proxy_jobs import jobs, sql
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import CONNECTION, Mesh, a_mesh, a_proxy, refusal, until

Code = grpc.StatusCode
NAME = "workspaces/acme/schedules/nightly"


@pytest.fixture
def kept(database: Databases) -> ServiceDatabase:
    return database("proxy")


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, kept: ServiceDatabase) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, kept.url) as one:
        yield one


def schedules(mesh: Mesh, **claims: Any) -> Any:
    return ScheduleServiceStub(mesh.served.as_role("member", **({"workspace": "acme"} | claims)))


def wish(schedule_id: str = "nightly", **fields: Any) -> pb.CreateScheduleRequest:
    told = {"connection": CONNECTION, "action": "get_me", "cron": "30 3 * * *", "input_json": "{}"} | fields
    return pb.CreateScheduleRequest(parent="workspaces/acme", schedule_id=schedule_id, schedule=pb.Schedule(**told))


async def listed(mesh: Mesh) -> list[job_pb.Job]:
    return list((await jobs(mesh).ListJobs(job_pb.ListJobsRequest(parent="workspaces/acme"))).jobs)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("30 3 * * *", "", "2026-11-21T10:00", "2026-11-22T03:30"),
        ("0 6 * * 1-5", "Europe/Berlin", "2026-11-21T10:00", "2026-11-23T05:00"),
        ("0 6 * * 1-5", "Europe/Berlin", "2026-07-03T10:00", "2026-07-06T04:00"),
        ("*/15 * * * *", "America/New_York", "2026-11-21T10:01", "2026-11-21T10:15"),
    ],
)
def test_the_next_time_counts_in_its_own_time_zone(cron: str, zone: str, after: str, expected: str) -> None:
    found = following(cron, zone, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("", ""),
        ("* * * *", ""),
        ("* * * * * *", ""),
        ("61 * * * *", ""),
        ("0 0 31 2 *", ""),
        ("@daily", ""),
        ("* * * * *", "Mars/Base"),
        ("* * * * *", "../../etc/passwd"),
    ],
)
def test_what_is_no_time_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(InvalidFields):
        following(cron, zone, datetime.now(UTC))


async def test_a_schedule_submits_its_job_when_its_time_comes_and_has_a_next_time(
    mesh: Mesh, kept: ServiceDatabase
) -> None:
    made = await schedules(mesh).CreateSchedule(wish())
    assert (made.name, made.paused, made.submitter) == (NAME, False, "workspaces/acme")
    await sql(kept, "UPDATE job_schedule SET next_time = now() - interval '3 days'")
    await until(lambda: mesh.requests)
    [job] = await listed(mesh)
    assert (job.schedule, job.ordering_key) == (NAME, "schedule-nightly")
    found = await schedules(mesh).GetSchedule(pb.GetScheduleRequest(name=NAME))
    assert found.last_job == job.name
    assert found.next_time.ToDatetime(UTC) > datetime.now(UTC)


async def test_of_two_processes_one_submits(
    mesh: Mesh, serving: Serving, kept: ServiceDatabase, identities: Identities
) -> None:
    async with a_proxy(serving, mesh.around, kept.url):
        for number in range(4):
            await schedules(mesh).CreateSchedule(wish(f"number-{number}"))
        await sql(kept, "UPDATE job_schedule SET next_time = now() - interval '1 hour'")
        await until(lambda: len(mesh.requests) >= 4)
        left = await sql(kept, "SELECT 1 FROM job_schedule WHERE next_time <= now()")
        # Both have looked again by then.
        await asyncio.sleep(1.5)
        assert (len(left), len(await listed(mesh)), len(mesh.requests)) == (0, 4, 4)


async def test_a_paused_schedule_submits_nothing_until_it_is_resumed(mesh: Mesh, kept: ServiceDatabase) -> None:
    await schedules(mesh).CreateSchedule(wish())
    paused = await schedules(mesh).PauseSchedule(pb.PauseScheduleRequest(name=NAME))
    assert (paused.paused, paused.HasField("next_time")) == (True, False)
    await sql(kept, "UPDATE job_schedule SET next_time = now() - interval '1 hour'")
    await schedules(mesh).CreateSchedule(wish("other"))
    await sql(kept, "UPDATE job_schedule SET next_time = now() - interval '1 hour' WHERE id = 'other'")
    await until(lambda: mesh.requests)
    assert [job.schedule for job in await listed(mesh)] == ["workspaces/acme/schedules/other"]
    resumed = await schedules(mesh).ResumeSchedule(pb.ResumeScheduleRequest(name=NAME))
    assert resumed.next_time.ToDatetime(UTC) > datetime.now(UTC)


async def test_what_cannot_be_scheduled_is_refused(mesh: Mesh) -> None:
    await schedules(mesh).CreateSchedule(wish())
    assert (await refusal(schedules(mesh).CreateSchedule(wish()))).code is Code.ALREADY_EXISTS
    for request, field in (
        (wish("x", cron="* * * * *"), "schedule_id"),
        (wish("other", cron="never"), "schedule.cron"),
        (wish("other", time_zone="Mars/Base"), "schedule.time_zone"),
        (wish("other", connection="workspaces/globex/connections/main"), "schedule.connection"),
        (wish("other", input_json="[]"), "schedule.input_json"),
        (wish("other", action="a b"), "schedule.action"),
        (wish("other", priority=7), "schedule.priority"),
    ):
        assert field in (await refusal(schedules(mesh).CreateSchedule(request))).fields
    none = wish("other", connection="workspaces/acme/connections/none")
    assert (await refusal(schedules(mesh).CreateSchedule(none))).code is Code.NOT_FOUND


async def test_schedules_are_listed_and_deleted_by_those_who_may_see_them(mesh: Mesh) -> None:
    for number in range(3):
        await schedules(mesh).CreateSchedule(wish(f"number-{number}"))
    first = await schedules(mesh).ListSchedules(pb.ListSchedulesRequest(parent="workspaces/acme", page_size=2))
    request = pb.ListSchedulesRequest(parent="workspaces/acme", page_size=2, page_token=first.next_page_token)
    rest = await schedules(mesh).ListSchedules(request)
    assert [each.name[-1] for each in (*first.schedules, *rest.schedules)] == ["0", "1", "2"]
    delete = pb.DeleteScheduleRequest(name="workspaces/acme/schedules/number-1")
    for claims in ({"workspace": "globex"}, {"environment": "staging"}):
        assert (await refusal(schedules(mesh, **claims).DeleteSchedule(delete))).code is Code.NOT_FOUND
    await schedules(mesh).DeleteSchedule(delete)
    assert (await refusal(schedules(mesh).DeleteSchedule(delete))).code is Code.NOT_FOUND
