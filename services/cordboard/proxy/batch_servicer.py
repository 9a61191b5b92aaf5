"""BatchService: messages in, one call of the domain, messages out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.layers import remaining
from cordboard.core.names import parse
from cordboard.core.status import packed
from cordboard.proxy.batch import Batches, Outcome
from cordboard.proxy.calls import Order
from cordboard.proxy.ledger import check_key
from cordboard.proxy.messages import LONGEST_STREAM, check_action, to_input, to_response
from cordboard.proxy.v1 import batch_service_pb2 as pb
from cordboard.proxy.v1.batch_service_pb2_grpc import BatchServiceServicer

MOST_CALLS: Final = 1000
MOST_AT_ONCE: Final = 32
AT_ONCE: Final = 8


class BatchServicer(BatchServiceServicer):
    """Answers BatchService."""

    def __init__(self, batches: Batches) -> None:
        """Takes what runs them."""
        self._batches = batches

    async def ExecuteBatch(
        self, request: pb.ExecuteBatchRequest, context: Any
    ) -> AsyncIterator[pb.ExecuteBatchResponse]:
        """Runs calls, and streams each one's outcome."""
        orders = to_orders(request)
        batch = self._batches.run(orders, concurrency=request.concurrency or AT_ONCE)
        async with contextlib.aclosing(batch) as outcomes:
            async for outcome in outcomes:
                yield to_outcome(outcome, request.output_format)


def to_orders(request: pb.ExecuteBatchRequest) -> list[Order]:
    """Returns what the caller of this RPC asks for; raises InvalidFields with everything that is wrong."""
    (workspace,) = parse(request.parent, "workspaces/*", field="parent")
    if not 1 <= len(request.calls) <= MOST_CALLS:
        raise InvalidFields.one("calls", f"must be 1 to {MOST_CALLS}")
    if not 0 <= request.concurrency <= MOST_AT_ONCE:
        raise InvalidFields.one("concurrency", f"must be 1 to {MOST_AT_ONCE}, or 0 for {AT_ONCE}")
    left, caller = remaining(), current_caller()
    wrong: list[Violation] = []
    orders = []
    for index, call in enumerate(request.calls):
        at = f"calls[{index}]."
        try:
            owner, _ = parse(call.connection, "workspaces/*/connections/*", field="connection")
            if owner != workspace:
                raise InvalidFields.one("connection", f"must be one of {request.parent!r}")
            check_action(call.action)
            check_key(call.idempotency_key)
            given = to_input(call.input_json)
        except InvalidFields as error:
            wrong += [Violation(at + one.field, one.description, one.reason) for one in error.violations]
            continue
        seconds = LONGEST_STREAM if left is None else left
        orders.append(Order(workspace, call.connection, call.action, given, caller, seconds, call.idempotency_key))
    if wrong:
        raise InvalidFields(wrong)
    return orders


def to_outcome(outcome: Outcome, output_format: int) -> pb.ExecuteBatchResponse:
    """Returns the outcome of one call."""
    if outcome.done is not None:
        return pb.ExecuteBatchResponse(index=outcome.index, response=to_response(*outcome.done, output_format))
    return pb.ExecuteBatchResponse(index=outcome.index, error=packed(outcome.error) if outcome.error else None)
