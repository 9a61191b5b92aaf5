"""The errors of the mesh: what went wrong, in words for the caller and as a reason for programs.

Domain code raises these and nothing else for what it foresees; `core.status` alone knows their gRPC codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cordboard.common.v1 import error_reason_pb2 as reasons

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Violation:
    """One field that is wrong: its path as in the proto (`flag.rules[2].variant`) and what is wrong with it."""

    field: str
    description: str
    reason: str = "INVALID"


class CordboardError(Exception):
    """Something went wrong that the caller may know about. The text and the metadata hold no secret."""

    reason: ClassVar[reasons.ErrorReason.ValueType] = reasons.ERROR_REASON_INTERNAL

    def __init__(self, text: str, *, retry_after: float | None = None, **metadata: str) -> None:
        """Takes the text for the caller, the seconds after which trying again makes sense, and ErrorInfo metadata."""
        super().__init__(text)
        self.text = text
        self.retry_after = retry_after
        self.metadata = metadata


class NotFound(CordboardError):
    """The named resource does not exist, or this caller may not know that it does."""

    reason = reasons.ERROR_REASON_RESOURCE_NOT_FOUND

    def __init__(self, name: str) -> None:
        """Takes the resource name as it was asked."""
        super().__init__(f"{name!r} does not exist", name=name)


class AlreadyExists(CordboardError):
    """A resource of that name exists with other content."""

    reason = reasons.ERROR_REASON_RESOURCE_ALREADY_EXISTS

    def __init__(self, name: str, text: str = "") -> None:
        """Takes the resource name, and a text where the plain one does not help."""
        super().__init__(text or f"{name!r} exists already", name=name)


class InvalidFields(CordboardError):
    """Fields of the request are missing or wrong; it lists all of them."""

    reason = reasons.ERROR_REASON_INVALID_FIELDS

    def __init__(self, violations: Sequence[Violation]) -> None:
        """Takes every violation found, at least one."""
        self.violations = tuple(violations)
        first = self.violations[0]
        more = f" (and {len(self.violations) - 1} more)" if len(self.violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{more}")

    @classmethod
    def one(cls, field: str, description: str, reason: str = "INVALID") -> InvalidFields:
        """Makes the error of a single field."""
        return cls([Violation(field, description, reason)])


class MalformedMessage(CordboardError):
    """The bytes of the request are not a message of the method's type."""

    reason = reasons.ERROR_REASON_MALFORMED_MESSAGE

    def __init__(self) -> None:
        """Says so, and nothing of what the bytes were."""
        super().__init__("the request is not a message of this method's type")


class DocumentInvalid(CordboardError):
    """A document cannot be read."""

    reason = reasons.ERROR_REASON_DOCUMENT_INVALID

    def __init__(self, text: str, line: int | None = None, column: int | None = None) -> None:
        """Takes what is wrong and where, counted from 1."""
        where = f" at line {line}, column {column}" if line is not None and column is not None else ""
        super().__init__(f"{text}{where}")
        if where:
            self.metadata = {"line": str(line), "column": str(column)}


class TokenInvalid(CordboardError):
    """No token, or one that is not valid here."""

    reason = reasons.ERROR_REASON_TOKEN_INVALID

    def __init__(self, problem: str) -> None:
        """Takes one of the fixed words of ERROR_REASON_TOKEN_INVALID."""
        super().__init__(f"the access token is not accepted: {problem}", problem=problem)


class AccessDenied(CordboardError):
    """The caller's roles or certificate do not allow this."""

    reason = reasons.ERROR_REASON_ACCESS_DENIED

    def __init__(self, method: str, text: str = "") -> None:
        """Takes the method, `package.Service/Method`."""
        super().__init__(text or f"this caller may not call {method}", method=method)


class EtagMismatch(CordboardError):
    """The resource changed since it was read."""

    reason = reasons.ERROR_REASON_ETAG_MISMATCH

    def __init__(self, name: str) -> None:
        """Takes the resource name."""
        super().__init__(f"{name!r} changed since it was read: read it again", name=name)


class StateConflict(CordboardError):
    """The resource is in a state in which this cannot be done."""

    reason = reasons.ERROR_REASON_STATE_CONFLICT

    def __init__(self, name: str, state: str, text: str, *, variable: str = "") -> None:
        """Takes the resource name, its state in a word, what to do, and the config variable where one is at fault."""
        super().__init__(text, name=name, state=state)
        if variable:
            self.metadata["variable"] = variable


class LimitExceeded(CordboardError):
    """A limit of the mesh or of the vendor is reached."""

    reason = reasons.ERROR_REASON_LIMIT_EXCEEDED

    def __init__(self, limit: str, scope: str, retry_after: float, text: str = "") -> None:
        """Takes which limit, of whom, and the seconds after which to try again."""
        super().__init__(
            text or f"the limit {limit} of {scope} is reached", retry_after=retry_after, limit=limit, scope=scope
        )


class DeadlineExceeded(CordboardError):
    """The caller's deadline passed, or what is left of it cannot hold the next step."""

    reason = reasons.ERROR_REASON_DEADLINE_EXCEEDED

    def __init__(self, stage: str) -> None:
        """Takes the step that did not fit."""
        super().__init__(f"the deadline leaves no time for: {stage}", stage=stage)


class DependencyUnavailable(CordboardError):
    """A part of the mesh cannot answer now."""

    reason = reasons.ERROR_REASON_DEPENDENCY_UNAVAILABLE

    def __init__(self, dependency: str, retry_after: float = 1.0) -> None:
        """Takes which part, and the seconds after which to try again."""
        super().__init__(f"{dependency} cannot answer now", retry_after=retry_after, dependency=dependency)


class SwitchedOff(CordboardError):
    """The integration, version or action is off for this workspace and environment."""

    reason = reasons.ERROR_REASON_SWITCHED_OFF

    def __init__(self, flag: str, integration: str, variant: str) -> None:
        """Takes the flag that decided, the integration, and the variant."""
        super().__init__(
            f"{integration!r} is switched off for this workspace and environment",
            flag=flag,
            integration=integration,
            variant=variant,
        )


class ReconnectRequired(CordboardError):
    """The vendor rejected the connection's credential."""

    reason = reasons.ERROR_REASON_RECONNECT_REQUIRED

    def __init__(self, connection: str, problem: str) -> None:
        """Takes the connection's name and a fixed word for the problem."""
        super().__init__(
            f"the vendor rejected the credential of {connection!r}: connect it again",
            connection=connection,
            problem=problem,
        )


class BreakerOpen(CordboardError):
    """The circuit breaker of the vendor lets nothing through."""

    reason = reasons.ERROR_REASON_BREAKER_OPEN

    def __init__(
        self, integration: str, host: str, state: str, retry_after: float, *, cause: str = "vendor", action: str = ""
    ) -> None:
        """Takes whose breaker it is, its state, the seconds until it tries again, and what is down."""
        what = f"of {action} at {host}" if action else f"to {host}"
        super().__init__(
            f"calls {what} are held back: too many failed, or an operator stopped them",
            retry_after=retry_after,
            integration=integration,
            host=host,
            state=state,
            cause=cause,
        )


class VendorError(CordboardError):
    """The vendor answered with an error."""

    reason = reasons.ERROR_REASON_VENDOR_ERROR

    def __init__(
        self,
        integration: str,
        action: str,
        status: int,
        text: str = "",
        retry_after: float | None = None,
        *,
        failure: str = "",
        words: str = "",
    ) -> None:
        """Takes what was called and the vendor's HTTP status, and never the vendor's body.

        `failure` is whose failure it is where a definition says so: system, config or transient. `words` is the text
        that a definition says is meant for people, without any part of the credential.
        """
        self.status = status
        self.failure = failure
        said = {"failure": failure, "vendor_message": words}
        super().__init__(
            text or f"{integration} answered {action} with HTTP status {status}",
            retry_after=retry_after,
            integration=integration,
            action=action,
            vendor_status=str(status),
            **{name: value for name, value in said.items() if value},
        )


class VendorUnreachable(CordboardError):
    """The vendor could not be reached, or cut the connection."""

    reason = reasons.ERROR_REASON_VENDOR_UNREACHABLE

    def __init__(self, integration: str, action: str, problem: str) -> None:
        """Takes what was called and a fixed word for the problem: refused, reset, timeout, tls, dns."""
        super().__init__(
            f"{integration} could not be reached: {problem}", integration=integration, action=action, problem=problem
        )


class EgressDenied(CordboardError):
    """The address is not one that the definition or the network policy allows."""

    reason = reasons.ERROR_REASON_EGRESS_DENIED

    def __init__(self, host: str) -> None:
        """Takes the host as it was asked for, never the address it resolved to."""
        super().__init__("requests to this host are not allowed", host=host)


class Indeterminate(CordboardError):
    """An earlier call with the same idempotency key may have had an effect."""

    reason = reasons.ERROR_REASON_INDETERMINATE

    def __init__(self, key: str) -> None:
        """Takes the idempotency key."""
        super().__init__(
            "an earlier call with this idempotency key may have had an effect, and its outcome is not known",
            idempotency_key=key,
        )


class IdempotencyKeyReused(CordboardError):
    """The idempotency key was used before with another request."""

    reason = reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED

    def __init__(self, key: str) -> None:
        """Takes the idempotency key."""
        super().__init__("this idempotency key was used before with another request", idempotency_key=key)


class CallInProgress(CordboardError):
    """A call with the same idempotency key is running now."""

    reason = reasons.ERROR_REASON_CALL_IN_PROGRESS

    def __init__(self, key: str, retry_after: float = 1.0) -> None:
        """Takes the idempotency key and the seconds after which to try again."""
        super().__init__(
            "a call with this idempotency key is running now", retry_after=retry_after, idempotency_key=key
        )


class AuditUnavailable(CordboardError):
    """The audit journal cannot be written, so nothing was begun."""

    reason = reasons.ERROR_REASON_AUDIT_UNAVAILABLE

    def __init__(self) -> None:
        """Says so."""
        super().__init__("the audit journal cannot be written now, so nothing was begun", retry_after=1.0)


class OAuthFailed(CordboardError):
    """The OAuth flow failed."""

    reason = reasons.ERROR_REASON_OAUTH_FAILED

    def __init__(self, problem: str) -> None:
        """Takes a fixed word or the vendor's `error` code, already cut to visible ASCII."""
        super().__init__(f"connecting failed: {problem}", problem=problem)


class FlagBroken(CordboardError):
    """The rules of a flag cannot be read."""

    reason = reasons.ERROR_REASON_FLAG_BROKEN

    def __init__(self, flag: str) -> None:
        """Takes the flag's key."""
        super().__init__(f"the rules of flag {flag!r} cannot be read", flag=flag)


class FlagFailed(CordboardError):
    """The rules of a flag lead to nothing in this context."""

    reason = reasons.ERROR_REASON_FLAG_FAILED

    def __init__(self, flag: str) -> None:
        """Takes the flag's key."""
        super().__init__(f"the rules of flag {flag!r} lead to none of its variants", flag=flag)


class MethodUnknown(CordboardError):
    """The method does not exist on this service."""

    reason = reasons.ERROR_REASON_METHOD_UNKNOWN

    def __init__(self, method: str) -> None:
        """Takes the method as it was asked."""
        super().__init__("this service has no such method", method=method)


class Fault(CordboardError):
    """A fault of ours; the log has the rest."""

    reason = reasons.ERROR_REASON_INTERNAL

    def __init__(self) -> None:
        """Says only that."""
        super().__init__("internal error")
