"""The messages of jobs, from and to what the domain works with."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Final

import orjson

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.times import to_seconds, to_timestamp
from cordboard.proxy.jobs.dead_letters import etag_of
from cordboard.proxy.jobs.job import ATTEMPT_SECONDS, MAX_ATTEMPTS, NORMAL, Job, Schedule
from cordboard.proxy.jobs.jobs import Wish
from cordboard.proxy.jobs.store import Choice
from cordboard.proxy.messages import check_action, to_input
from cordboard.proxy.origins import first_trace
from cordboard.proxy.v1 import dead_letter_service_pb2 as dead_pb
from cordboard.proxy.v1 import job_service_pb2 as pb
from cordboard.proxy.v1 import schedule_service_pb2 as schedule_pb

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp


_REASON: Final = re.compile(r"[A-Z_]{0,64}")


def to_wish(request: pb.SubmitJobRequest) -> Wish:
    """Returns what the caller of this RPC wants to run later; raises InvalidFields."""
    workspace, _ = parse(request.connection, "workspaces/*/connections/*", field="connection")
    check_action(request.action)
    if not 0 <= request.max_attempts <= 100:
        raise InvalidFields.one("max_attempts", "must be 1 to 100, or 0 for 10")
    seconds = to_seconds(request.attempt_timeout) if request.HasField("attempt_timeout") else ATTEMPT_SECONDS
    if not 1 <= seconds <= 600:
        raise InvalidFields.one("attempt_timeout", "must be 1 s to 600 s")
    return Wish(
        workspace=workspace,
        connection=request.connection,
        action=request.action,
        given=to_input(request.input_json),
        caller=current_caller(),
        idempotency_key=request.idempotency_key,
        priority=_priority(request.priority, "priority"),
        ordering_key=request.ordering_key,
        due=_moment(request.schedule_time, "schedule_time") if request.HasField("schedule_time") else None,
        max_attempts=request.max_attempts or MAX_ATTEMPTS,
        attempt_seconds=seconds,
    )


def to_scheduled(request: schedule_pb.CreateScheduleRequest) -> Wish:
    """Returns what the caller wants to run again and again; raises InvalidFields."""
    (workspace,) = parse(request.parent, "workspaces/*", field="parent")
    told = request.schedule
    owner, _ = parse(told.connection, "workspaces/*/connections/*", field="schedule.connection")
    if owner != workspace:
        raise InvalidFields.one("schedule.connection", f"must be one of {request.parent!r}")
    check_action(told.action, "schedule.action")
    return Wish(
        workspace=workspace,
        connection=told.connection,
        action=told.action,
        given=to_input(told.input_json, "schedule.input_json"),
        caller=current_caller(),
        priority=_priority(told.priority, "schedule.priority"),
        ordering_key=told.ordering_key,
    )


def to_choice(told: dead_pb.DeadLetterFilter) -> Choice:
    """Returns which dead letters a filter means; raises InvalidFields."""
    if told.connection:
        parse(told.connection, "workspaces/*/connections/*", field="filter.connection")
    if told.action:
        check_action(told.action, "filter.action")
    if not _REASON.fullmatch(told.error_reason):
        raise InvalidFields.one("filter.error_reason", "must be a reason as in ErrorInfo, such as VENDOR_ERROR")
    return Choice(connection=told.connection, action=told.action, reason=told.error_reason)


def to_job_choice(request: pb.ListJobsRequest) -> Choice:
    """Returns which jobs a list is to have; raises InvalidFields."""
    if request.connection:
        parse(request.connection, "workspaces/*/connections/*", field="connection")
    return Choice(state=request.state, connection=request.connection)


def to_letter_id(name: str, parent: str) -> str:
    """Returns the id in a dead letter's name, or '' where there is none; raises InvalidFields."""
    if not name:
        return ""
    workspace, job_id = parse(name, "workspaces/*/deadLetters/*")
    if f"workspaces/{workspace}" != parent:
        raise InvalidFields.one("name", f"must be one of {parent!r}")
    return job_id


def to_job(job: Job, output: bytes | None = None) -> pb.Job:
    """Returns a job, with what it gave where that is told."""
    call = f"workspaces/{job.workspace_id}/calls/{job.call_id}" if job.call_id else ""
    schedule = f"workspaces/{job.workspace_id}/schedules/{job.schedule_id}" if job.schedule_id else ""
    message = pb.Job(
        name=job.name,
        connection=job.connection,
        action=job.action,
        state=pb.Job.State.ValueType(job.state),
        priority=pb.JobPriority.ValueType(job.priority),
        ordering_key=job.ordering_key,
        idempotency_key=job.idempotency_key,
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        error_reason=job.reason,
        error_message=job.problem,
        vendor_status=job.vendor_status,
        content_type=job.content_type,
        call=call,
        trace_id=job.trace_id,
        submit_trace_id=first_trace(job.traceparent),
        submitter=job.caller.actor,
        schedule=schedule,
        create_time=to_timestamp(job.create_time),
        due_time=to_timestamp(job.due_time),
        end_time=to_timestamp(job.end_time) if job.end_time else None,
    )
    if output is not None:
        try:
            orjson.loads(output or b"null")
            message.output_json = (output or b"null").decode()
        except ValueError:
            message.output_bytes = output
    return message


def to_letter(job: Job, given: str = "") -> dead_pb.DeadLetter:
    """Returns a dead letter, with its input where that is told."""
    name = f"workspaces/{job.workspace_id}/deadLetters/{job.id}"
    return dead_pb.DeadLetter(name=name, job=to_job(job), input_json=given, in_doubt=job.in_doubt, etag=etag_of(job))


def to_schedule(schedule: Schedule, given: bytes = b"") -> schedule_pb.Schedule:
    """Returns a schedule, with its input where that is told."""
    last = f"workspaces/{schedule.workspace_id}/jobs/{schedule.last_job}" if schedule.last_job else ""
    return schedule_pb.Schedule(
        name=schedule.name,
        connection=schedule.connection,
        action=schedule.action,
        input_json=given.decode(),
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        priority=pb.JobPriority.ValueType(schedule.priority),
        ordering_key=schedule.ordering_key,
        paused=schedule.paused,
        next_time=None if schedule.paused else to_timestamp(schedule.next_time),
        last_job=last,
        submitter=str(schedule.submitter["subject"] or f"peer:{schedule.submitter['peer']}"),
        create_time=to_timestamp(schedule.create_time),
    )


def _priority(told: int, field: str) -> int:
    if told not in pb.JobPriority.values():
        raise InvalidFields.one(field, "must be LOW, NORMAL or HIGH")
    return told or NORMAL


def _moment(stamp: Timestamp, field: str) -> datetime:
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidFields.one(field, "is not a time") from None
