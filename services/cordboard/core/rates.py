"""Counts the calls that a process answers: how many, how they ended, how long they took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cordboard.core.layers import UNTRACED, Call, Layer, code_name

if TYPE_CHECKING:
    from cordboard.core.measures import Measures

# What the caller did is no failure of the service (semantic conventions for gRPC servers).
FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class Rates(Layer):
    """Counts every call; stands inside of tracing, so that a slow call's trace is its exemplar. Not the probes."""

    def __init__(self, measures: Measures) -> None:
        """Takes the measures of the process."""
        labels = ("rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type")
        self._calls = measures.histogram("rpc.server.call.duration", "s", labels)

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        """Counts the call."""
        # A stream's length says how long somebody watched, and nothing of the service.
        if not call.method.path.startswith(UNTRACED) and not (call.streams_responses and error is None):
            code = code_name(error)
            failure = code if code in FAILURES else ""
            self._calls.record(time.monotonic() - call.started, ("grpc", call.method.path, code, failure))
        return error
