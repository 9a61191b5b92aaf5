"""ForwardService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.layers import remaining
from cordboard.core.names import parse
from cordboard.proxy.forwarding import Forwarding, Reply, Wanted
from cordboard.proxy.messages import LONGEST_STREAM
from cordboard.proxy.v1 import forward_service_pb2 as pb
from cordboard.proxy.v1.forward_service_pb2_grpc import ForwardServiceServicer

# A request without a body ends before its answer begins; how long to wait for the end, in seconds, is not asked here:
# these methods have none unless a header says so.
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class ForwardServicer(ForwardServiceServicer):
    """Answers ForwardService."""

    def __init__(self, forwarding: Forwarding) -> None:
        """Takes what forwards."""
        self._forwarding = forwarding

    async def Forward(
        self, requests: AsyncIterator[pb.ForwardRequest], context: Any
    ) -> AsyncIterator[pb.ForwardResponse]:
        """Forwards one request, and streams its answer."""
        wanted = to_wanted(await anext(requests, None))
        async with self._forwarding.forward(wanted, body_of(wanted, requests)) as reply:
            yield to_head(reply)
            async for chunk in reply.chunks:
                yield pb.ForwardResponse(chunk=chunk)


def to_wanted(first: pb.ForwardRequest | None) -> Wanted:
    """Returns what the first message asks for; raises InvalidFields."""
    if first is None or first.WhichOneof("part") != "head":
        raise InvalidFields.one("head", "is required in the first message")
    head, left = first.head, remaining()
    workspace, _ = parse(head.connection, "workspaces/*/connections/*", field="head.connection")
    return Wanted(
        workspace=workspace,
        connection=head.connection,
        method=head.method,
        path=head.path,
        host=head.host.lower(),
        headers=[(each.name, each.value) for each in head.headers],
        caller=current_caller(),
        remaining=LONGEST_STREAM if left is None else left,
    )


def body_of(wanted: Wanted, requests: AsyncIterator[pb.ForwardRequest]) -> AsyncIterator[bytes] | None:
    """Returns the body, or None where there is none: that is known from method and headers."""
    framed = any(name.lower() in ("content-length", "transfer-encoding") for name, _ in wanted.headers)
    if wanted.method in _WITHOUT_BODY and not framed:
        return None
    return _chunks(requests)


async def _chunks(requests: AsyncIterator[pb.ForwardRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidFields.one("chunk", "is required in every message but the first")
        if request.chunk:
            yield request.chunk


def to_head(reply: Reply) -> pb.ForwardResponse:
    """Returns the beginning of an answer."""
    return pb.ForwardResponse(
        head=pb.ForwardAnswer(
            status=reply.status,
            headers=[pb.Header(name=name, value=value) for name, value in reply.headers],
            call=reply.call.name,
            trace_id=reply.call.trace_id,
        )
    )
