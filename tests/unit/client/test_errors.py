"""What a failed call raises."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from cordboard.client.errors import CordboardError, Fault, Unavailable, from_rpc


def failed(code: grpc.StatusCode, details: str) -> CordboardError:
    """Returns what a call raises that ended like this, without any details of ours."""
    return from_rpc(AioRpcError(code, Metadata(), Metadata(), details=details))


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "no healthy upstream", Unavailable),
        # What grpc says, whatever the status was, where a call was over before a message of its stream was sent.
        (grpc.StatusCode.INTERNAL, "Internal error from Core", Unavailable),
        (grpc.StatusCode.INTERNAL, "internal error", Fault),
    ],
)
def test_a_call_that_was_cut_off_is_no_fault(code: grpc.StatusCode, details: str, kind: type[CordboardError]) -> None:
    found = failed(code, details)
    assert type(found) is kind
    assert (found.code is grpc.StatusCode.INTERNAL) is (kind is Fault)
