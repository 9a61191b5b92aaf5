"""A job: a call that runs later, and everything that is kept of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from cordboard.core.caller import Caller

QUEUED: Final = 1
WAITING: Final = 2
RUNNING: Final = 3
SUCCEEDED: Final = 4
DEAD: Final = 5
CANCELLED: Final = 6
ENDED: Final = frozenset({SUCCEEDED, DEAD, CANCELLED})

LOW: Final = 1
NORMAL: Final = 2
HIGH: Final = 3

MAX_ATTEMPTS: Final = 10
ATTEMPT_SECONDS: Final = 60.0
INPUT: Final = "job-input"
OUTPUT: Final = "job-output"
SCHEDULE_INPUT: Final = "schedule-input"
# The reasons after which nobody knows whether the vendor did it.
IN_DOUBT: Final = "INDETERMINATE"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. What is sealed is for its own place only."""

    workspace_id: str
    id: str
    connection: str
    action: str
    environment: str
    ordering_key: str
    idempotency_key: str
    fingerprint: bytes
    input: bytes = field(repr=False)
    """Sealed JSON."""
    submitter: dict[str, Any]
    traceparent: str
    state: int
    priority: int
    max_attempts: int
    attempt_seconds: float
    due_time: datetime
    create_time: datetime
    begin_time: datetime
    """When it was submitted, or replayed last."""
    schedule_id: str = ""
    attempts: int = 0
    turn: int = 0
    """Counts how often it was put into the queue: an older turn's word counts for nothing."""
    revision: int = 0
    """Counts how often its input was edited."""
    cancelled: bool = False
    reason: str = ""
    problem: str = ""
    vendor_status: int = 0
    content_type: str = ""
    call_id: str = ""
    trace_id: str = ""
    output: bytes | None = field(default=None, repr=False)
    """Sealed bytes."""
    end_time: datetime | None = None

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace_id}/jobs/{self.id}"

    @property
    def call_key(self) -> str:
        """Returns the idempotency key of its calls. With another input it is another call, and the key of the one
        before belongs to that, here and at the vendor.
        """
        return f"{self.idempotency_key}.{self.revision}" if self.revision else self.idempotency_key

    @property
    def in_doubt(self) -> bool:
        """Tells whether the vendor may have done it, and nobody knows."""
        return self.reason == IN_DOUBT

    @property
    def caller(self) -> Caller:
        """Returns who runs it: who submitted it."""
        return to_caller(self.submitter)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Submits the same job again and again."""

    workspace_id: str
    id: str
    connection: str
    action: str
    environment: str
    ordering_key: str
    cron: str
    time_zone: str
    input: bytes = field(repr=False)
    """Sealed JSON."""
    submitter: dict[str, Any]
    priority: int
    next_time: datetime
    create_time: datetime
    paused: bool = False
    last_job: str = ""

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace_id}/schedules/{self.id}"


def from_caller(caller: Caller) -> dict[str, Any]:
    """Returns what is kept of a caller, so that a job runs as whoever submitted it."""
    return {**asdict(caller), "roles": sorted(caller.roles)}


def to_caller(kept: dict[str, Any]) -> Caller:
    """Returns the caller that was kept."""
    return Caller(**{**kept, "roles": frozenset(kept["roles"])})
