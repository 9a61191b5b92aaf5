"""One call: what was asked, how far it came, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from opentelemetry import trace

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core.caller import Caller
from cordboard.core.errors import (
    CordboardError,
    DeadlineExceeded,
    DependencyUnavailable,
    Fault,
    VendorError,
    VendorUnreachable,
)
from cordboard.core.names import new_id
from cordboard.core.telemetry import ACTION, BACKEND, CONNECTION, DEFINITION_VERSION, FLAG, INTEGRATION, VARIANT
from cordboard.proxy.backends.route import DIRECT, Kind
from cordboard.proxy.stages import Stages
from cordboard.proxy.v1 import proxy_service_pb2 as pb

# What an answer needs on its way back is not the vendor's to use, in seconds.
DEADLINE_MARGIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller asks for."""

    workspace: str
    """The workspace's id."""
    connection: str
    """The connection's resource name."""
    action: str
    given: dict[str, Any] = field(repr=False)
    """The input."""
    caller: Caller
    remaining: float
    """Seconds until the caller's deadline."""
    idempotency_key: str = ""
    max_pages: int = 0
    background: bool = False
    """Nobody waits for this one call: it leaves room to those that somebody waits for."""
    queued: bool = False
    """Whoever sends it sends it again where that helps: there is one layer that tries again, and it is not this one."""
    id: str = ""
    """The id that the call gets; empty: a new one."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What is kept of a call, and never its bodies."""

    workspace_id: str
    id: str
    connection: str
    integration: str
    action: str
    version: str
    outcome: int
    reason: str
    vendor_status: int
    attempts: int
    duration_us: int
    caller: str
    peer: str
    token_id: str
    trace_id: str
    generation: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Led:
    """The variant of a flag that led a call."""

    flag: str
    """The flag's key."""
    revision: int
    variant: str
    context: Mapping[str, str] = field(default_factory=dict)
    """What the flag was evaluated with."""


class Call:
    """A call on its way through the stages."""

    def __init__(self, order: Order) -> None:
        """Begins now."""
        self.order = order
        # The input, with secrets where the order has references to them: for the vendor alone.
        self.given: Mapping[str, Any] = order.given
        self.id = order.id or new_id()
        self.created = datetime.now(UTC)
        self.began = time.monotonic()
        self.deadline = self.began + order.remaining - DEADLINE_MARGIN
        context = trace.get_current_span().get_span_context()
        self.trace_id = f"{context.trace_id:032x}" if context.is_valid else ""
        self.stages = Stages()
        self.integration = ""
        self.version = ""
        # The flag's variant that chose the version.
        self.led: Led | None = None
        self.generation = 0
        # Which way it goes.
        self.backend = DIRECT
        self.attempts = 0
        self.vendor_status = 0
        # Bytes of the vendor's answers.
        self.received = 0
        self.duration = 0.0
        self.replayed = False
        # Its end stands in line for the record.
        self.settled = False
        # A request left, and no answer says that it did nothing.
        self.doubtful = False
        # Its idempotency key is its own, or may be.
        self.has_key = False

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.order.workspace}/calls/{self.id}"

    @property
    def labels(self) -> dict[str, str]:
        """Returns what it is about, as attributes of spans."""
        labels = {CONNECTION: self.order.connection, ACTION: self.order.action}
        if self.integration:
            labels[INTEGRATION] = self.integration
        if self.version:
            labels[DEFINITION_VERSION] = self.version
        if self.backend.kind is not Kind.DIRECT:
            labels[BACKEND] = self.backend.kind.value
        if self.led is not None:
            labels[FLAG], labels[VARIANT] = self.led.flag, self.led.variant
        return labels

    def take_key(self) -> None:
        """Notes that its idempotency key may be its own from now on."""
        self.has_key = True

    def left(self) -> float:
        """Returns the seconds until it has to be done."""
        return self.deadline - time.monotonic()

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Ends the block when the caller's time is over; raises DeadlineExceeded then.

        It is for what runs in a task of the service's own: that one nobody cancels at a deadline.
        """
        try:
            async with asyncio.timeout(max(0.0, self.left() + DEADLINE_MARGIN)):
                yield
        except TimeoutError:
            raise DeadlineExceeded("the answer") from None

    def record(self, error: BaseException | None, *, ended: bool = True) -> CallRecord:
        """Returns what is to be kept of it, given how it ended; `ended` False: what is known before it is sent."""
        self.duration = time.monotonic() - self.began
        return CallRecord(
            workspace_id=self.order.workspace,
            id=self.id,
            connection=self.order.connection,
            integration=self.integration,
            action=self.order.action,
            version=self.version,
            outcome=self._outcome(error) if ended else pb.Call.OUTCOME_UNSPECIFIED,
            reason=_reason(error),
            vendor_status=self.vendor_status,
            attempts=self.attempts,
            duration_us=round(self.duration * 1_000_000),
            caller=self.order.caller.actor,
            peer=self.order.caller.peer,
            token_id=self.order.caller.token_id,
            trace_id=self.trace_id,
            generation=self.generation,
            create_time=self.created,
        )

    def _outcome(self, error: BaseException | None) -> int:
        if error is None:
            return pb.Call.OUTCOME_OK
        if isinstance(error, VendorError):
            return pb.Call.OUTCOME_VENDOR_ERROR
        if isinstance(error, VendorUnreachable):
            return pb.Call.OUTCOME_VENDOR_UNREACHABLE
        if isinstance(error, (DeadlineExceeded, TimeoutError, asyncio.CancelledError, GeneratorExit)):
            return pb.Call.OUTCOME_CANCELLED
        if isinstance(error, Fault) or not isinstance(error, CordboardError):
            return pb.Call.OUTCOME_FAULT
        if self.attempts:
            # A redirect off the list, pages in a circle: what the vendor answered could not be used.
            mesh = isinstance(error, DependencyUnavailable)
            return pb.Call.OUTCOME_FAULT if mesh else pb.Call.OUTCOME_VENDOR_ERROR
        return pb.Call.OUTCOME_REFUSED


def _reason(error: BaseException | None) -> str:
    if error is None:
        return ""
    if isinstance(error, CordboardError):
        reason = error.reason
    elif isinstance(error, TimeoutError):
        reason = reasons.ERROR_REASON_DEADLINE_EXCEEDED
    elif isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        reason = reasons.ERROR_REASON_CANCELLED
    else:
        reason = reasons.ERROR_REASON_INTERNAL
    return reasons.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
