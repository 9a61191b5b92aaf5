"""Errors on the wire: each has a code and a reason of its own, and fits into an answer however much went wrong."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest
from google.rpc import error_details_pb2, status_pb2

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core import errors, status
from cordboard.core.errors import CordboardError, InvalidFields, LimitExceeded, NotFound, VendorError, Violation

# Nothing of ours is raised for it: gRPC tells the caller who went away.
NEVER_RAISED = {"ERROR_REASON_UNSPECIFIED", "ERROR_REASON_CANCELLED"}


def kinds() -> list[type[CordboardError]]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CordboardError)]
    return [kind for kind in found if kind is not CordboardError]


def sent(error: CordboardError) -> tuple[bytes, status_pb2.Status]:
    ((key, raw),) = status.trailers(error)
    assert key == "grpc-status-details-bin"
    return raw, status_pb2.Status.FromString(raw)


def violations(found: status_pb2.Status) -> list[error_details_pb2.BadRequest.FieldViolation]:
    bad = error_details_pb2.BadRequest()
    return [each for detail in found.details if detail.Unpack(bad) for each in bad.field_violations]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_has_a_code(kind: type[CordboardError]) -> None:
    assert kind in status.CODES


def test_the_table_of_codes_has_no_row_for_anything_else() -> None:
    assert set(status.CODES) == set(kinds())


def test_every_error_has_a_reason_of_its_own() -> None:
    counted = Counter(kind.reason for kind in kinds())
    assert [reasons.ErrorReason.Name(reason) for reason, count in counted.items() if count > 1] == []


def test_every_reason_is_the_reason_of_an_error() -> None:
    used = {reasons.ErrorReason.Name(kind.reason) for kind in kinds()}
    assert set(reasons.ErrorReason.keys()) - used == NEVER_RAISED


@pytest.mark.parametrize("count", [1, 100, 10_000])
@pytest.mark.parametrize("width", [5, 3_000])
def test_the_details_of_many_violations_stay_small(count: int, width: int) -> None:
    wrong = InvalidFields([Violation(f"items[{n}]." + "f" * width, "ü" * width) for n in range(count)])
    raw, found = sent(wrong)
    assert len(raw) <= 4096
    assert len(status.text_of(wrong).encode()) <= status.MAX_TEXT_BYTES
    assert found.details, "the reason is never given up"
    if width == 5:
        assert violations(found)[0].field.startswith("items[0].")


def test_a_long_name_comes_back_cut() -> None:
    raw, found = sent(NotFound("workspaces/" + "é" * 50_000))
    info = error_details_pb2.ErrorInfo()
    assert found.details[0].Unpack(info)
    assert (len(raw) < 4096, info.metadata["name"].startswith("workspaces/é")) == (True, True)


def test_the_seconds_to_wait_are_sent() -> None:
    _, found = sent(LimitExceeded("calls", "workspaces/acme", 0.25))
    retry = error_details_pb2.RetryInfo()
    assert found.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 250


@pytest.mark.parametrize(
    ("vendor", "code"), [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (418, "FAILED_PRECONDITION"),
                         (429, "RESOURCE_EXHAUSTED"), (500, "UNAVAILABLE"), (503, "UNAVAILABLE")],
)  # fmt: skip
def test_a_vendors_status_has_its_nearest_code(vendor: int, code: str) -> None:
    error = VendorError("desk", "tickets.get", vendor)
    assert status.code_of(error).name == code
    assert error.metadata["vendor_status"] == str(vendor)


def test_what_caused_an_error_is_not_in_its_answer() -> None:
    try:
        try:
            raise RuntimeError("password=hunter2")
        except RuntimeError as cause:
            raise errors.DependencyUnavailable("database") from cause
    except CordboardError as error:
        raw, _ = sent(error)
        assert b"hunter2" not in raw
        assert "hunter2" not in status.text_of(error)
