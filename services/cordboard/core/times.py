"""Times and durations between Python, protobuf and a clock that tests can hold."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Returns the wall-clock time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Returns seconds that never go back."""
        ...


@dataclass(frozen=True)
class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Returns the wall-clock time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Returns seconds that never go back."""
        return time.monotonic()


def to_timestamp(moment: datetime) -> Timestamp:
    """Returns the protobuf form of a time that knows its zone."""
    seconds, microseconds = divmod(round(moment.timestamp() * 1_000_000), 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def to_duration(seconds: float) -> Duration:
    """Returns the protobuf form of a time span."""
    whole, nanos = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def to_seconds(duration: Duration) -> float:
    """Returns a protobuf time span in seconds."""
    return duration.seconds + duration.nanos / 1e9
