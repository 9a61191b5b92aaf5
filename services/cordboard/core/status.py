"""The one table from our errors to gRPC codes, and the packing of `google.rpc.Status` details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core import errors

DOMAIN: Final = "cordboard"
DETAILS_KEY: Final = "grpc-status-details-bin"
# All metadata of an answer has to stay below 8 KiB, the text three times as long in percent-encoding, or the caller's
# library drops the error and reports one of its own. What a caller sent comes back in errors, however long it was.
MAX_TEXT_BYTES: Final = 800
MAX_VALUE_BYTES: Final = 255

Code = grpc.StatusCode

CODES: Final[dict[type[errors.CordboardError], grpc.StatusCode]] = {
    errors.NotFound: Code.NOT_FOUND,
    errors.AlreadyExists: Code.ALREADY_EXISTS,
    errors.InvalidFields: Code.INVALID_ARGUMENT,
    errors.MalformedMessage: Code.INVALID_ARGUMENT,
    errors.DocumentInvalid: Code.INVALID_ARGUMENT,
    errors.TokenInvalid: Code.UNAUTHENTICATED,
    errors.AccessDenied: Code.PERMISSION_DENIED,
    errors.EtagMismatch: Code.ABORTED,
    errors.StateConflict: Code.FAILED_PRECONDITION,
    errors.LimitExceeded: Code.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: Code.DEADLINE_EXCEEDED,
    errors.DependencyUnavailable: Code.UNAVAILABLE,
    errors.SwitchedOff: Code.PERMISSION_DENIED,
    errors.ReconnectRequired: Code.FAILED_PRECONDITION,
    # Not UNAVAILABLE for what the mesh itself is healthy about: Envoy's outlier detection counts that against us.
    errors.BreakerOpen: Code.UNAVAILABLE,
    errors.VendorError: Code.FAILED_PRECONDITION,
    errors.VendorUnreachable: Code.UNAVAILABLE,
    errors.EgressDenied: Code.PERMISSION_DENIED,
    errors.Indeterminate: Code.FAILED_PRECONDITION,
    errors.IdempotencyKeyReused: Code.INVALID_ARGUMENT,
    errors.CallInProgress: Code.ABORTED,
    errors.AuditUnavailable: Code.UNAVAILABLE,
    errors.OAuthFailed: Code.INVALID_ARGUMENT,
    errors.FlagBroken: Code.DATA_LOSS,
    errors.FlagFailed: Code.UNKNOWN,
    errors.MethodUnknown: Code.UNIMPLEMENTED,
    errors.Fault: Code.INTERNAL,
}

# The nearest canonical code of a vendor's HTTP status (google/rpc/code.proto names these pairs).
VENDOR_CODES: Final[dict[int, grpc.StatusCode]] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.FAILED_PRECONDITION,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    410: Code.NOT_FOUND,
    412: Code.FAILED_PRECONDITION,
    416: Code.OUT_OF_RANGE,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
}


def code_of(error: errors.CordboardError) -> grpc.StatusCode:
    """Returns the canonical code of an error."""
    if isinstance(error, errors.VendorError):
        if error.status >= 500 or error.failure in ("system", "transient"):
            return Code.UNAVAILABLE
        return VENDOR_CODES.get(error.status, Code.FAILED_PRECONDITION)
    return CODES[type(error)]


def text_of(error: errors.CordboardError) -> str:
    """Returns the error's text, cut to what fits into an answer."""
    return _cut(error.text, MAX_TEXT_BYTES)


def packed(error: errors.CordboardError) -> status_pb2.Status:
    """Returns the error as `google.rpc.Status` with ErrorInfo, BadRequest and RetryInfo where they belong."""
    status = status_pb2.Status(code=code_of(error).value[0], message=text_of(error))
    name = reasons.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
    metadata = {key: _cut(value, MAX_VALUE_BYTES) for key, value in error.metadata.items()}
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, errors.InvalidFields):
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.description, reason=violation.reason
                    )
                    # Metadata of a call is bounded: a caller mends the first hundred and sees the rest next time.
                    for violation in error.violations[:100]
                ]
            )
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed_detail = any_pb2.Any()
        packed_detail.Pack(detail)
        status.details.append(packed_detail)
    return status


def trailers(error: errors.CordboardError) -> tuple[tuple[str, bytes], ...]:
    """Returns the trailing metadata that carries the details (the form gRPC's richer error model uses)."""
    status = packed(error)
    # 8 KiB is the limit of all metadata: a long list of violations gives up its tail, never the call.
    while status.ByteSize() > 4096 and len(status.details) > 1:
        bad = error_details_pb2.BadRequest()
        for index, detail in enumerate(status.details):
            if detail.Unpack(bad) and len(bad.field_violations) > 1:
                del bad.field_violations[len(bad.field_violations) // 2 :]
                status.details[index].Pack(bad)
                break
        else:
            del status.details[-1]
    return ((DETAILS_KEY, status.SerializeToString()),)


@dataclass(frozen=True, slots=True)
class Details:
    """What stands beside the code and the text of an error; empty where nothing does."""

    info: error_details_pb2.ErrorInfo
    bad: error_details_pb2.BadRequest
    retry_after: float | None


def details(error: grpc.aio.AioRpcError) -> Details:
    """Returns the details of an error that somebody packed."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after: float | None = None
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(bad)
                if detail.Unpack(retry):
                    retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return Details(info, bad, retry_after)


def unpacked(error: grpc.aio.AioRpcError) -> errors.CordboardError | None:
    """Returns the error that another mesh packed, as one of ours; None where it packed none that we know."""
    found = details(error)
    info, retry_after = found.info, found.retry_after
    kind = _KINDS.get(info.reason) if info.domain == DOMAIN else None
    if kind is None:
        return None
    violations = [errors.Violation(one.field, one.description, one.reason) for one in found.bad.field_violations]
    if kind is errors.InvalidFields and violations:
        return errors.InvalidFields(violations)
    metadata = dict(info.metadata)
    if kind is errors.VendorError:
        status = metadata.get("vendor_status", "")
        return errors.VendorError(
            metadata.get("integration", ""),
            metadata.get("action", ""),
            int(status) if status.isdigit() else 0,
            error.details() or "",
            retry_after,
            failure=metadata.get("failure", ""),
            words=metadata.get("vendor_message", ""),
        )
    # Each kind is made of parts of its own; what was packed is what all of them have in common.
    made = kind.__new__(kind)
    errors.CordboardError.__init__(made, error.details() or "", retry_after=retry_after, **metadata)
    if isinstance(made, errors.InvalidFields):
        made.violations = ()
    return made


# What another mesh may say that is as true here. The rest is about that mesh, or about how it was asked.
_KINDS: Final[dict[str, type[errors.CordboardError]]] = {
    reasons.ErrorReason.Name(kind.reason).removeprefix("ERROR_REASON_"): kind
    for kind in (
        errors.NotFound,
        errors.InvalidFields,
        errors.StateConflict,
        errors.LimitExceeded,
        errors.DeadlineExceeded,
        errors.SwitchedOff,
        errors.ReconnectRequired,
        errors.BreakerOpen,
        errors.VendorError,
        errors.VendorUnreachable,
        errors.EgressDenied,
        errors.Indeterminate,
        errors.IdempotencyKeyReused,
        errors.CallInProgress,
        errors.AuditUnavailable,
    )
}


def _cut(text: str, limit: int) -> str:
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode(errors="ignore")
