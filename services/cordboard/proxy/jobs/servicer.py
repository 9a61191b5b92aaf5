"""JobService, DeadLetterService and ScheduleService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf.empty_pb2 import Empty

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.layers import remaining
from cordboard.core.names import check_id, parse
from cordboard.core.paging import Paging
from cordboard.proxy.jobs.dead_letters import DeadLetters
from cordboard.proxy.jobs.jobs import Jobs
from cordboard.proxy.jobs.messages import (
    to_choice,
    to_job,
    to_job_choice,
    to_letter,
    to_letter_id,
    to_schedule,
    to_scheduled,
    to_wish,
)
from cordboard.proxy.jobs.schedules import Schedules
from cordboard.proxy.messages import to_input
from cordboard.proxy.v1 import dead_letter_service_pb2 as dead_pb
from cordboard.proxy.v1 import job_service_pb2 as pb
from cordboard.proxy.v1 import schedule_service_pb2 as schedule_pb
from cordboard.proxy.v1.dead_letter_service_pb2_grpc import DeadLetterServiceServicer
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceServicer
from cordboard.proxy.v1.schedule_service_pb2_grpc import ScheduleServiceServicer

MOST_REPLAYED: Final = 1000


class JobServicer(JobServiceServicer):
    """Answers JobService."""

    def __init__(self, jobs: Jobs) -> None:
        """Takes the jobs."""
        self._jobs = jobs

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> pb.Job:
        """Keeps a job."""
        return to_job(await self._jobs.submit(to_wish(request), remaining() or 0.0))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.Job:
        """Returns a job with what it gave."""
        workspace, job_id = parse(request.name, "workspaces/*/jobs/*")
        job = await self._jobs.job(workspace, job_id, current_caller())
        return to_job(job, await self._jobs.output(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """Lists jobs, newest first."""
        paging = Paging.of(request)
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        choice, caller = to_job_choice(request), current_caller()
        found = await self._jobs.jobs(workspace, choice, caller, before=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        return pb.ListJobsResponse(jobs=map(to_job, found[: paging.size]), next_page_token=token)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        """Streams a job until it has ended."""
        workspace, job_id = parse(request.name, "workspaces/*/jobs/*")
        async for job in self._jobs.watch(workspace, job_id, current_caller()):
            yield pb.WatchJobResponse(job=to_job(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.Job:
        """Cancels a job."""
        workspace, job_id = parse(request.name, "workspaces/*/jobs/*")
        return to_job(await self._jobs.cancel(workspace, job_id, current_caller()))


class DeadLetterServicer(DeadLetterServiceServicer):
    """Answers DeadLetterService."""

    def __init__(self, letters: DeadLetters) -> None:
        """Takes the dead letters."""
        self._letters = letters

    async def ListDeadLetters(
        self, request: dead_pb.ListDeadLettersRequest, context: Any
    ) -> dead_pb.ListDeadLettersResponse:
        """Lists dead letters, newest first."""
        paging, caller = Paging.of(request), current_caller()
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        choice = to_choice(request.filter)
        found = await self._letters.letters(workspace, choice, caller, before=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        return dead_pb.ListDeadLettersResponse(dead_letters=map(to_letter, found[: paging.size]), next_page_token=token)

    async def GetDeadLetter(self, request: dead_pb.GetDeadLetterRequest, context: Any) -> dead_pb.DeadLetter:
        """Returns a dead letter with its input."""
        workspace, job_id = parse(request.name, "workspaces/*/deadLetters/*")
        job = await self._letters.letter(workspace, job_id, current_caller())
        return to_letter(job, await self._letters.input(job))

    async def EditDeadLetter(self, request: dead_pb.EditDeadLetterRequest, context: Any) -> dead_pb.DeadLetter:
        """Changes the input of a dead letter."""
        workspace, job_id = parse(request.name, "workspaces/*/deadLetters/*")
        given = to_input(request.input_json)
        job = await self._letters.edit(workspace, job_id, given, request.etag, current_caller())
        return to_letter(job, request.input_json)

    async def ReplayDeadLetters(
        self, request: dead_pb.ReplayDeadLettersRequest, context: Any
    ) -> dead_pb.ReplayDeadLettersResponse:
        """Tries dead letters again."""
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        job_id, choice = to_letter_id(request.name, request.parent), to_choice(request.filter)
        if not 0 <= request.limit <= MOST_REPLAYED:
            raise InvalidFields.one("limit", f"must be 1 to {MOST_REPLAYED}, or 0 for {MOST_REPLAYED}")
        done = await self._letters.replay(
            workspace, job_id, choice, current_caller(), limit=request.limit or MOST_REPLAYED, force=request.force
        )
        return dead_pb.ReplayDeadLettersResponse(jobs=done.jobs, in_doubt_count=done.in_doubt)

    async def DiscardDeadLetters(
        self, request: dead_pb.DiscardDeadLettersRequest, context: Any
    ) -> dead_pb.DiscardDeadLettersResponse:
        """Discards dead letters."""
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        job_id, choice = to_letter_id(request.name, request.parent), to_choice(request.filter)
        count = await self._letters.discard(workspace, job_id, choice, current_caller())
        return dead_pb.DiscardDeadLettersResponse(discarded_count=count)


class ScheduleServicer(ScheduleServiceServicer):
    """Answers ScheduleService."""

    def __init__(self, schedules: Schedules) -> None:
        """Takes the schedules."""
        self._schedules = schedules

    async def CreateSchedule(self, request: schedule_pb.CreateScheduleRequest, context: Any) -> schedule_pb.Schedule:
        """Creates a schedule."""
        schedule_id, told = check_id(request.schedule_id, "schedule_id"), request.schedule
        wish, left = to_scheduled(request), remaining() or 0.0
        made = await self._schedules.create(schedule_id, wish, told.cron, told.time_zone, left)
        return to_schedule(made, told.input_json.encode())

    async def GetSchedule(self, request: schedule_pb.GetScheduleRequest, context: Any) -> schedule_pb.Schedule:
        """Returns a schedule with its input."""
        workspace, schedule_id = parse(request.name, "workspaces/*/schedules/*")
        found = await self._schedules.schedule(workspace, schedule_id, current_caller())
        return to_schedule(found, await self._schedules.input(found))

    async def ListSchedules(
        self, request: schedule_pb.ListSchedulesRequest, context: Any
    ) -> schedule_pb.ListSchedulesResponse:
        """Lists schedules by name."""
        paging, caller = Paging.of(request), current_caller()
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        found = await self._schedules.schedules(workspace, caller, after=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        return schedule_pb.ListSchedulesResponse(
            schedules=map(to_schedule, found[: paging.size]), next_page_token=token
        )

    async def PauseSchedule(self, request: schedule_pb.PauseScheduleRequest, context: Any) -> schedule_pb.Schedule:
        """Pauses a schedule."""
        workspace, schedule_id = parse(request.name, "workspaces/*/schedules/*")
        return to_schedule(await self._schedules.pause(workspace, schedule_id, current_caller(), paused=True))

    async def ResumeSchedule(self, request: schedule_pb.ResumeScheduleRequest, context: Any) -> schedule_pb.Schedule:
        """Resumes a schedule."""
        workspace, schedule_id = parse(request.name, "workspaces/*/schedules/*")
        return to_schedule(await self._schedules.pause(workspace, schedule_id, current_caller(), paused=False))

    async def DeleteSchedule(self, request: schedule_pb.DeleteScheduleRequest, context: Any) -> Empty:
        """Deletes a schedule."""
        workspace, schedule_id = parse(request.name, "workspaces/*/schedules/*")
        await self._schedules.delete(workspace, schedule_id, current_caller())
        return Empty()
