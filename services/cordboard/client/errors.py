"""What a call can raise, by what a program can do about it.

    CordboardError
    ├── NotFound, AlreadyExists, Conflict       the resource
    ├── InvalidRequest (.violations)            the request
    ├── Unauthenticated, AccessDenied, SwitchedOff
    ├── ReconnectRequired                       a person has to connect again
    ├── LimitExceeded, Unavailable (.retry_after)
    ├── VendorError (.vendor_status)            the vendor said no
    ├── DeadlineExceeded
    ├── Indeterminate                           it may have happened
    └── Fault                                   the mesh's own

A reason that this version does not know becomes the class of its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY: Final = "grpc-status-details-bin"
DOMAIN: Final = "cordboard"


@dataclass(frozen=True)
class Violation:
    """One field of the request that is wrong."""

    field: str
    description: str


class CordboardError(Exception):
    """A call failed."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        """Takes the mesh's text, the canonical code, and what the details said."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        """The name of a `cordboard.common.v1.ErrorReason` without its prefix; empty when none came."""
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_after = retry_after
        """Seconds after which trying again makes sense; None: the mesh does not say."""


class NotFound(CordboardError):
    """The resource does not exist, or this caller may not know that it does."""


class AlreadyExists(CordboardError):
    """A resource of that name exists."""


class Conflict(CordboardError):
    """The resource changed meanwhile, or is in a state that does not allow this."""


class InvalidRequest(CordboardError):
    """The request is wrong; `violations` names each field."""


class Unauthenticated(CordboardError):
    """The token is missing or not valid."""


class AccessDenied(CordboardError):
    """The caller may not do this."""


class SwitchedOff(AccessDenied):
    """The integration or action is off for this workspace and environment."""


class ReconnectRequired(CordboardError):
    """The vendor rejected the connection's credential."""


class LimitExceeded(CordboardError):
    """A limit of the mesh or of the vendor is reached."""


class Unavailable(CordboardError):
    """The mesh, or the vendor, cannot answer now."""


class VendorError(CordboardError):
    """The vendor answered with an error."""

    @property
    def vendor_status(self) -> int:
        """Returns the vendor's HTTP status."""
        return int(self.metadata.get("vendor_status", "0"))


class DeadlineExceeded(CordboardError):
    """The deadline passed."""


class Indeterminate(CordboardError):
    """An earlier call with this idempotency key may have had an effect."""


class Fault(CordboardError):
    """A fault of the mesh."""


# Closed tables: nothing that a server sends names a class.
_BY_REASON: Final[dict[str, type[CordboardError]]] = {
    "SWITCHED_OFF": SwitchedOff,
    "RECONNECT_REQUIRED": ReconnectRequired,
    "VENDOR_ERROR": VendorError,
    "INDETERMINATE": Indeterminate,
}
_BY_CODE: Final[dict[grpc.StatusCode, type[CordboardError]]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: Fault,
    grpc.StatusCode.UNKNOWN: Fault,
    grpc.StatusCode.DATA_LOSS: Fault,
}


# What the library says in place of the status, where a call was over before all of its requests were sent. A service
# that fails says in its answer what failed.
_OVER: Final = "Internal error from Core"


def from_rpc(error: grpc.aio.AioRpcError) -> CordboardError:
    """Returns the error of a failed call."""
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == _OVER:
        return Unavailable("the call was over before its requests were sent", code=grpc.StatusCode.UNAVAILABLE)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after: float | None = None
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(bad)
                if detail.Unpack(retry):
                    retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif key == "retry-after" and isinstance(value, str) and value.isdigit():
            retry_after = float(value)  # Envoy's own refusals
    reason = info.reason if info.domain == DOMAIN else ""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(error.code(), CordboardError)
    return kind(
        error.details() or error.code().name.lower(),
        code=error.code(),
        reason=reason,
        metadata=dict(info.metadata),
        violations=tuple(Violation(found.field, found.description) for found in bad.field_violations),
        retry_after=retry_after,
    )
