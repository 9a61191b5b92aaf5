"""Jobs at a vendor: started by one action, asked about by a second, fetched by a third, all within one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import DeadlineExceeded, VendorError
from cordboard.core.times import to_seconds
from cordboard.planning.answers import Answer
from cordboard.planning.pointers import pointed
from cordboard.proxy.calls import Call
from cordboard.proxy.refusals import mismatch
from cordboard.proxy.target import Target

_INTERVAL: Final = 5.0
# Many jobs are done at once: the first question does not wait for a whole interval.
_FIRST: Final = 1.0

Ask = Callable[[Target, Mapping[str, Any]], Awaitable[tuple[Answer, Target]]]
"""Runs a target's action with an input; returns its output, and the target with the credential as it is then."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is done."""

    target: Target
    """What has its result."""
    given: Mapping[str, Any] | None
    """The input with which the target's action gives the result; None: `answer` holds it already."""
    answer: Answer


async def finish(call: Call, target: Target, started: Answer, job: pb.AsyncJob, ask: Ask) -> Finished:
    """Waits for a job that `started` tells of.

    Raises VendorError where it fails, DeadlineExceeded where there is no time for another question, and what `ask`
    raises. From its start on a call that fails is in doubt: the vendor may do the job yet.
    """
    call.doubtful = True
    name = pointed(_json(target, started), job.job_pointer)
    if not _text(name):
        raise mismatch(target, started, "names no job where the definition says")
    given = {job.job_property: name}
    interval = to_seconds(job.interval) if job.HasField("interval") else _INTERVAL
    asked, answer, wait = target.at(job.status_action), started, min(interval, _FIRST)
    while True:
        await _pause(call, max(wait, answer.retry_after or 0.0))
        wait = interval
        answer, asked = await ask(asked, given)
        state = _text(pointed(_json(asked, answer), job.state_pointer))
        if state in job.failed_states:
            call.doubtful = False
            slug, action = target.definition.slug, target.action.id
            raise VendorError(slug, action, answer.status, f"{slug} did not finish the job of {action}: {state}")
        if state in job.done_states:
            break
    return Finished(asked.at(job.result_action), given, answer) if job.result_action else Finished(asked, None, answer)


def picked(target: Target, answer: Answer, job: pb.AsyncJob) -> Answer:
    """Returns the answer with the job's result for its output; raises VendorError where it has none."""
    return answer.saying(pointed(_json(target, answer), job.result_pointer)) if job.result_pointer else answer


async def _pause(call: Call, seconds: float) -> None:
    if seconds >= call.left():
        raise DeadlineExceeded("the vendor's job")
    await asyncio.sleep(seconds)


def _json(target: Target, answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise mismatch(target, answer, "is not JSON") from None


def _text(value: Any) -> str:
    if value is None or isinstance(value, (dict, list)):
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
