"""Jobs on a running Proxy: done once, tried again, in order, and honest where nobody can know."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import make_url

from cordboard.core.database import Database
from cordboard.core.times import to_timestamp
from cordboard.local.certificates import Identities
from cordboard.proxy.jobs import worker
from cordboard.proxy.jobs.store import JobStore
from cordboard.proxy.v1 import dead_letter_service_pb2 as dead_pb
from cordboard.proxy.v1 import job_service_pb2 as pb
from cordboard.proxy.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceStub
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import CONNECTION, TICKET, Mesh, a_mesh, refusal, until

Code = grpc.StatusCode
SECRET = "the-text-that-nobody-may-find"


@pytest.fixture
def kept(database: Databases) -> ServiceDatabase:
    return database("proxy")


@pytest.fixture
async def mesh(
    serving: Serving, identities: Identities, kept: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mesh]:
    monkeypatch.setattr(worker, "LATE", 0.5)
    async with a_mesh(serving, identities, kept.url, job_lease_seconds=1.0, job_first_wait_seconds=0.05) as one:
        yield one


async def sql(kept: ServiceDatabase, statement: str, *values: Any) -> Any:
    url = make_url(kept.superuser_url)
    connection = await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database
    )
    try:
        await connection.execute("SET search_path TO proxy")
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


def jobs(mesh: Mesh, *roles: str, **claims: Any) -> Any:
    return JobServiceStub(mesh.served.as_role(*(roles or ("member",)), **({"workspace": "acme"} | claims)))


def letters(mesh: Mesh, *roles: str, **claims: Any) -> Any:
    return DeadLetterServiceStub(mesh.served.as_role(*(roles or ("member",)), **({"workspace": "acme"} | claims)))


def submit(action: str = "create_ticket", values: dict[str, Any] | None = None, **fields: Any) -> pb.SubmitJobRequest:
    given = TICKET if values is None else values
    return pb.SubmitJobRequest(**{"connection": CONNECTION, "action": action, "input_json": json.dumps(given)} | fields)


async def ended(mesh: Mesh, name: str, seconds: float = 60.0) -> pb.Job:
    async def has_ended() -> pb.Job | None:
        job: pb.Job = await jobs(mesh).GetJob(pb.GetJobRequest(name=name))
        return job if job.HasField("end_time") else None

    found: pb.Job = await until(has_ended, seconds)
    return found


async def test_a_job_is_done_and_what_the_vendor_gave_is_kept(mesh: Mesh) -> None:
    job = await jobs(mesh).SubmitJob(submit())
    assert job.state in (pb.Job.STATE_QUEUED, pb.Job.STATE_RUNNING)
    done = await ended(mesh, job.name)
    assert (done.state, done.attempts, done.vendor_status) == (pb.Job.STATE_SUCCEEDED, 1, 201)
    assert json.loads(done.output_json)["subject"] == TICKET["subject"]
    assert mesh.requests == [("POST", "/v1/tickets")]
    assert done.submitter == "workspaces/acme"


async def test_a_vendor_that_comes_back_gets_the_call_once(mesh: Mesh) -> None:
    mesh.break_vendor(status=503)
    job = await jobs(mesh).SubmitJob(submit("list_tickets", {}))
    await until(lambda: len(mesh.requests) >= 2)
    mesh.mend_vendor()
    done = await ended(mesh, job.name)
    assert done.state == pb.Job.STATE_SUCCEEDED
    assert done.error_reason == ""


async def test_the_same_key_is_the_same_job_and_another_call_under_it_is_refused(mesh: Mesh) -> None:
    first = await jobs(mesh).SubmitJob(submit(idempotency_key="order-1"))
    again = await jobs(mesh).SubmitJob(submit(idempotency_key="order-1"))
    assert again.name == first.name
    other = submit(values=TICKET | {"subject": "Another"}, idempotency_key="order-1")
    assert (await refusal(jobs(mesh).SubmitJob(other))).reason == "IDEMPOTENCY_KEY_REUSED"
    await ended(mesh, first.name)
    assert len(mesh.requests) == 1


async def test_what_cannot_run_is_refused_at_once_and_the_field_is_named(mesh: Mesh) -> None:
    for request, field in (
        (submit(values={"subject": ""}), ""),
        (submit(input_json="{"), "input_json"),
        (submit(max_attempts=101), "max_attempts"),
        (submit(priority=9), "priority"),
        (submit(action="a b"), "action"),
        (submit(ordering_key="x" * 256), "ordering_key"),
    ):
        refused = await refusal(jobs(mesh).SubmitJob(request))
        assert refused.code is Code.INVALID_ARGUMENT, request
        assert not field or field in refused.fields
    unknown = submit(connection="workspaces/acme/connections/none")
    assert (await refusal(jobs(mesh).SubmitJob(unknown))).code is Code.NOT_FOUND
    assert (await jobs(mesh).ListJobs(pb.ListJobsRequest(parent="workspaces/acme"))).jobs == []


async def test_what_the_vendor_refuses_becomes_a_dead_letter_that_can_be_mended(mesh: Mesh) -> None:
    job = await jobs(mesh).SubmitJob(submit(values=TICKET | {"requester_id": "con_99999999"}))
    dead = await ended(mesh, job.name)
    assert (dead.state, dead.error_reason, dead.attempts) == (pb.Job.STATE_DEAD, "VENDOR_ERROR", 1)
    [letter] = (
        await letters(mesh).ListDeadLetters(dead_pb.ListDeadLettersRequest(parent="workspaces/acme"))
    ).dead_letters
    assert (letter.input_json, letter.in_doubt, len(letter.job.trace_id)) == ("", False, 32)
    found = await letters(mesh).GetDeadLetter(dead_pb.GetDeadLetterRequest(name=letter.name))
    assert json.loads(found.input_json)["requester_id"] == "con_99999999"
    edit = dead_pb.EditDeadLetterRequest(name=letter.name, input_json=json.dumps(TICKET), etag=found.etag)
    await letters(mesh).EditDeadLetter(edit)
    assert (await refusal(letters(mesh).EditDeadLetter(edit))).reason == "ETAG_MISMATCH"
    replay = dead_pb.ReplayDeadLettersRequest(parent="workspaces/acme", name=letter.name)
    assert (await letters(mesh).ReplayDeadLetters(replay)).jobs == [job.name]
    done = await ended(mesh, job.name)
    assert (done.state, done.idempotency_key) == (pb.Job.STATE_SUCCEEDED, job.idempotency_key)


async def test_a_dead_letter_names_its_last_attempt_and_is_counted_for_its_integration(
    mesh: Mesh, kept: ServiceDatabase
) -> None:
    job = await jobs(mesh).SubmitJob(submit(values=TICKET | {"requester_id": "con_99999999"}))
    dead = await ended(mesh, job.name)
    assert dead.call.startswith("workspaces/acme/calls/")
    opened = Database(kept.url)

    async def counted() -> bool:
        # The record of a call is written a moment after its end.
        return await JobStore(opened).dead(most=10) == {"acme-desk": 1}

    try:
        await until(counted)
    finally:
        await opened.close()
    [row] = await sql(kept, "SELECT reason FROM call WHERE id = $1", dead.call.rpartition("/")[2])
    assert row["reason"] == "VENDOR_ERROR"


async def test_a_call_with_another_input_is_another_call_where_the_vendor_may_have_done_the_first(mesh: Mesh) -> None:
    mesh.break_vendor(status=500)
    job = await jobs(mesh).SubmitJob(submit(max_attempts=1))
    dead = await ended(mesh, job.name)
    assert (dead.state, dead.error_reason) == (pb.Job.STATE_DEAD, "VENDOR_ERROR")
    mesh.mend_vendor()
    letter = job.name.replace("/jobs/", "/deadLetters/")
    edit = dead_pb.EditDeadLetterRequest(name=letter, input_json=json.dumps(TICKET | {"subject": "Another"}))
    await letters(mesh).EditDeadLetter(edit)
    await letters(mesh).ReplayDeadLetters(dead_pb.ReplayDeadLettersRequest(parent="workspaces/acme", name=letter))
    done = await ended(mesh, job.name)
    assert (done.state, done.idempotency_key) == (pb.Job.STATE_SUCCEEDED, job.idempotency_key)


async def test_a_call_that_may_have_been_done_is_never_done_again_by_itself(mesh: Mesh) -> None:
    mesh.break_vendor(cut_connections=True, after_work=True)
    before = len(list(mesh.vendor.desk.tickets(after="")))
    job = await jobs(mesh).SubmitJob(submit())
    dead = await ended(mesh, job.name)
    mesh.mend_vendor()
    assert (dead.state, dead.error_reason) == (pb.Job.STATE_DEAD, "INDETERMINATE")
    assert len(list(mesh.vendor.desk.tickets(after=""))) == before + 1
    letter = job.name.replace("/jobs/", "/deadLetters/")
    replay = dead_pb.ReplayDeadLettersRequest(parent="workspaces/acme", name=letter)
    refused = await refusal(letters(mesh).ReplayDeadLetters(replay))
    assert (refused.reason, refused.metadata["state"]) == ("STATE_CONFLICT", "IN_DOUBT")
    edit = dead_pb.EditDeadLetterRequest(name=letter, input_json="{}")
    assert (await refusal(letters(mesh).EditDeadLetter(edit))).reason == "STATE_CONFLICT"
    every = dead_pb.ReplayDeadLettersRequest(
        parent="workspaces/acme", filter=dead_pb.DeadLetterFilter(action="create_ticket")
    )
    left = await letters(mesh).ReplayDeadLetters(every)
    assert (list(left.jobs), left.in_doubt_count) == ([], 1)
    # Somebody has looked at the vendor, and wants it.
    replay.force = True
    await letters(mesh).ReplayDeadLetters(replay)
    assert (await ended(mesh, job.name)).state == pb.Job.STATE_SUCCEEDED
    assert len(list(mesh.vendor.desk.tickets(after=""))) == before + 2


async def test_many_dead_letters_are_replayed_and_discarded_by_what_they_have_in_common(mesh: Mesh) -> None:
    wrong = TICKET | {"requester_id": "con_99999999"}
    names = [(await jobs(mesh).SubmitJob(submit(values=wrong))).name for _ in range(3)]
    for name in names:
        await ended(mesh, name)
    nothing = dead_pb.ReplayDeadLettersRequest(parent="workspaces/acme")
    assert "filter" in (await refusal(letters(mesh).ReplayDeadLetters(nothing))).fields
    chosen = dead_pb.DeadLetterFilter(error_reason="VENDOR_ERROR", connection=CONNECTION)
    replay = dead_pb.ReplayDeadLettersRequest(parent="workspaces/acme", filter=chosen, limit=2)
    assert list((await letters(mesh).ReplayDeadLetters(replay)).jobs) == names[:2]
    for name in names:
        await ended(mesh, name)
    discard = dead_pb.DiscardDeadLettersRequest(parent="workspaces/acme", filter=chosen)
    assert (await letters(mesh).DiscardDeadLetters(discard)).discarded_count == 3
    states = {(await jobs(mesh).GetJob(pb.GetJobRequest(name=name))).state for name in names}
    assert states == {pb.Job.STATE_CANCELLED}


async def test_jobs_of_one_key_run_one_after_the_other_in_their_order(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=50)
    names = []
    for number in range(6):
        values = TICKET | {"subject": f"number {number}"}
        names.append((await jobs(mesh).SubmitJob(submit(values=values, ordering_key="ticket 7"))).name)
    waiting = await jobs(mesh).GetJob(pb.GetJobRequest(name=names[-1]))
    assert waiting.state == pb.Job.STATE_WAITING
    done = [await ended(mesh, name) for name in names]
    assert [job.state for job in done] == [pb.Job.STATE_SUCCEEDED] * 6
    ids = [json.loads(job.output_json)["id"] for job in done]
    assert ids == sorted(ids)
    assert len(mesh.requests) == 6


async def test_a_job_that_died_or_was_cancelled_lets_the_next_one_of_its_key_go(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=200)
    first = await jobs(mesh).SubmitJob(submit(values=TICKET | {"requester_id": "con_99999999"}, ordering_key="k"))
    second = await jobs(mesh).SubmitJob(submit(ordering_key="k"))
    third = await jobs(mesh).SubmitJob(submit(ordering_key="k"))
    cancelled = await jobs(mesh).CancelJob(pb.CancelJobRequest(name=second.name))
    assert cancelled.state == pb.Job.STATE_CANCELLED
    assert (await ended(mesh, third.name)).state == pb.Job.STATE_SUCCEEDED
    assert (await ended(mesh, first.name)).state == pb.Job.STATE_DEAD
    refused = await refusal(jobs(mesh).CancelJob(pb.CancelJobRequest(name=third.name)))
    assert refused.reason == "STATE_CONFLICT"


async def test_a_job_waits_for_its_time(mesh: Mesh) -> None:
    later = to_timestamp(datetime.now(UTC) + timedelta(hours=1))
    job = await jobs(mesh).SubmitJob(submit(schedule_time=later))
    at_once = await jobs(mesh).SubmitJob(submit())
    await ended(mesh, at_once.name)
    assert (await jobs(mesh).GetJob(pb.GetJobRequest(name=job.name))).state == pb.Job.STATE_QUEUED
    assert len(mesh.requests) == 1


async def test_a_watch_tells_each_change_and_ends_with_the_job(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=200)
    job = await jobs(mesh).SubmitJob(submit())
    seen = [told.job.state async for told in jobs(mesh, "reader").WatchJob(pb.WatchJobRequest(name=job.name))]
    assert seen[-1] == pb.Job.STATE_SUCCEEDED
    assert len(seen) == len(set(seen)) > 1


async def test_a_job_whose_process_went_away_is_taken_up_and_its_place_in_the_queue_too(
    mesh: Mesh, kept: ServiceDatabase
) -> None:
    later = to_timestamp(datetime.now(UTC) + timedelta(hours=1))
    gone = await jobs(mesh).SubmitJob(submit(schedule_time=later))
    lost = await jobs(mesh).SubmitJob(submit(schedule_time=later))
    # What a process that was killed leaves behind, and a queue that was emptied.
    await sql(kept, "DELETE FROM pgqueuer")
    at = "WHERE id = $1"
    dead = "UPDATE job SET state = 3, attempts = 1, lease_until = now() - interval '1 second'"
    await sql(kept, f"{dead} {at}", gone.name.split("/")[-1])
    await sql(kept, f"UPDATE job SET due_time = now() - interval '1 minute' {at}", lost.name.split("/")[-1])
    for name in (gone.name, lost.name):
        assert (await ended(mesh, name)).state == pb.Job.STATE_SUCCEEDED
    assert len(mesh.requests) == 2


async def test_a_job_that_lay_longer_than_the_ledger_remembers_is_in_doubt(mesh: Mesh, kept: ServiceDatabase) -> None:
    later = to_timestamp(datetime.now(UTC) + timedelta(hours=1))
    job = await jobs(mesh).SubmitJob(submit(schedule_time=later))
    await sql(kept, "DELETE FROM pgqueuer")
    await sql(kept, "UPDATE job SET state = 3, attempts = 1, lease_until = now() - interval '30 hours'")
    dead = await ended(mesh, job.name)
    assert (dead.state, dead.error_reason) == (pb.Job.STATE_DEAD, "INDETERMINATE")
    assert mesh.requests == []


async def test_a_job_is_not_there_for_another_workspace_or_environment(mesh: Mesh) -> None:
    job = await jobs(mesh).SubmitJob(submit(values=TICKET | {"requester_id": "con_99999999"}))
    await ended(mesh, job.name)
    letter = job.name.replace("/jobs/", "/deadLetters/")
    for claims in ({"workspace": "globex"}, {"environment": "staging"}):
        assert (await refusal(jobs(mesh, **claims).GetJob(pb.GetJobRequest(name=job.name)))).code is Code.NOT_FOUND
        get = dead_pb.GetDeadLetterRequest(name=letter)
        assert (await refusal(letters(mesh, **claims).GetDeadLetter(get))).code is Code.NOT_FOUND
    listed = await jobs(mesh, environment="staging").ListJobs(pb.ListJobsRequest(parent="workspaces/acme"))
    assert listed.jobs == []
    assert len((await jobs(mesh).ListJobs(pb.ListJobsRequest(parent="workspaces/acme"))).jobs) == 1


async def test_neither_inputs_nor_answers_can_be_read_in_the_database(mesh: Mesh, kept: ServiceDatabase) -> None:
    job = await jobs(mesh).SubmitJob(submit(values=TICKET | {"subject": SECRET}))
    done = await ended(mesh, job.name)
    assert SECRET in done.output_json, "the control: it is there"
    for table in ("job", "pgqueuer", "pgqueuer_log", "idempotency", "call"):
        rows = await sql(kept, f"SELECT * FROM {table}")
        assert SECRET not in repr([dict(row) for row in rows])
    [row] = await sql(kept, "SELECT input, output FROM job")
    assert all(SECRET.encode() not in sealed for sealed in row.values())


async def test_a_job_leads_to_the_trace_in_which_it_was_submitted(mesh: Mesh, spans: InMemorySpanExporter) -> None:
    job = await jobs(mesh).SubmitJob(submit())
    done = await ended(mesh, job.name)
    ran = next(span for span in spans.get_finished_spans() if span.name == "job proxy.run")
    assert [f"{link.context.trace_id:032x}" for link in ran.links] == [done.submit_trace_id]
    assert done.trace_id == f"{ran.context.trace_id:032x}" != done.submit_trace_id


async def test_a_replay_leads_to_what_failed_to_who_replayed_it_and_to_its_submission(
    mesh: Mesh, spans: InMemorySpanExporter
) -> None:
    job = await jobs(mesh).SubmitJob(submit(values=TICKET | {"requester_id": "con_99999999"}))
    dead = await ended(mesh, job.name)
    letter = job.name.replace("/jobs/", "/deadLetters/")
    edit = dead_pb.EditDeadLetterRequest(name=letter, input_json=json.dumps(TICKET))
    await letters(mesh).EditDeadLetter(edit)
    asked = dead_pb.ReplayDeadLettersRequest(parent="workspaces/acme", name=letter)
    await letters(mesh).ReplayDeadLetters(asked)
    done = await ended(mesh, job.name)
    assert done.state == pb.Job.STATE_SUCCEEDED
    runs = [span for span in spans.get_finished_spans() if span.name == "job proxy.run"]
    [replay] = [
        span for span in spans.get_finished_spans() if span.name.endswith("DeadLetterService/ReplayDeadLetters")
    ]
    first, second = sorted(runs, key=lambda span: span.start_time or 0)
    assert replay.context is not None
    assert first.context is not None
    told = {dict(link.attributes or {})["cordboard.link"]: link.context for link in second.links}
    assert f"{told.pop('submitted').trace_id:032x}" == done.submit_trace_id == dead.submit_trace_id
    assert (told["replayed"].trace_id, told["replayed"].span_id) == (replay.context.trace_id, replay.context.span_id)
    assert (told["attempt"].trace_id, told["attempt"].span_id) == (first.context.trace_id, first.context.span_id)
    assert dead.trace_id == f"{told['attempt'].trace_id:032x}"
    assert [dict(link.attributes or {})["cordboard.link"] for link in first.links] == ["submitted"]
