"""Why the vendor refuses a request: one class for each fact, each with its HTTP status and its stable code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field."""

    field: str
    message: str


class Refusal(Exception):
    """The request is refused; `status` and `code` say how the answer tells so."""

    status = 400
    code = "bad_request"

    def __init__(
        self, message: str, *, fields: Sequence[Violation] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = tuple(fields)
        self.headers = dict(headers or {})


class Malformed(Refusal):
    """The request cannot be read."""

    code = "malformed"


class Unauthenticated(Refusal):
    """There is no credential, or it is not valid."""

    status = 401
    code = "unauthenticated"


class Forbidden(Refusal):
    """The credential is valid and lacks a scope."""

    status = 403
    code = "insufficient_scope"


class NotFound(Refusal):
    """There is no such resource."""

    status = 404
    code = "not_found"

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"there is no {what} {name!r}")


class Conflict(Refusal):
    """The request does not go with what is there."""

    status = 409
    code = "conflict"


class TooLarge(Refusal):
    """The body is larger than the vendor takes."""

    status = 413
    code = "too_large"


class WrongMediaType(Refusal):
    """The body is not of the media type that the operation takes."""

    status = 415
    code = "unsupported_media_type"


class Invalid(Refusal):
    """One field or several have a value that is not allowed."""

    status = 422
    code = "invalid_field"

    def __init__(self, *fields: Violation) -> None:
        super().__init__("; ".join(f"{each.field} {each.message}" for each in fields), fields=fields)


class KeyReused(Refusal):
    """The idempotency key came before, with another request."""

    status = 422
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        text = "came before with another request"
        super().__init__(f"Idempotency-Key {text}", fields=[Violation("Idempotency-Key", text)])


class LimitExceeded(Refusal):
    """The rate limit of the caller is used up."""

    status = 429
    code = "rate_limited"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the rate limit is used up for {seconds} s", headers={"Retry-After": str(seconds)})


class Broken(Refusal):
    """The vendor fails because it was told to."""

    code = "vendor_failure"

    def __init__(self, status: int, *, retry_after: int | None) -> None:
        wait = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(f"the desk answers {status} for now", headers=wait)
        self.status = status
