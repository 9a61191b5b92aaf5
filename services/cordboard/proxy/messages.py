"""The Proxy's messages, from and to what the domain works with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.layers import remaining
from cordboard.core.names import parse
from cordboard.core.structs import from_struct, to_list, to_value
from cordboard.core.times import to_duration, to_timestamp
from cordboard.planning.answers import Answer
from cordboard.planning.dialect import NO_QUOTA, Quota
from cordboard.proxy.calls import Call, CallRecord, Order
from cordboard.proxy.v1 import proxy_service_pb2 as pb

if TYPE_CHECKING:
    from cordboard.proxy.walking import Page

# A stream without a deadline ends some time, in seconds.
LONGEST_STREAM: Final = 3600.0
_ACTION: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def to_order(request: pb.ExecuteRequest | pb.ExecuteStreamRequest) -> Order:
    """Returns what the caller of this RPC asks for; raises InvalidFields."""
    workspace, _ = parse(request.connection, "workspaces/*/connections/*", field="connection")
    left = remaining()
    check_action(request.action)
    key, pages = "", 0
    if isinstance(request, pb.ExecuteRequest):
        key = request.idempotency_key
    else:
        pages = request.max_pages
    if pages < 0:
        raise InvalidFields.one("max_pages", "must not be negative")
    return Order(
        workspace=workspace,
        connection=request.connection,
        action=request.action,
        given=_input(request),
        caller=current_caller(),
        remaining=LONGEST_STREAM if left is None else left,
        idempotency_key=key,
        max_pages=pages,
    )


def check_action(action: str, field: str = "action") -> None:
    """Raises InvalidFields where a text cannot be the id of an action."""
    if not _ACTION.fullmatch(action):
        raise InvalidFields.one(field, "must be 1 to 128 letters, digits, underscores, dots and hyphens")


def _input(request: pb.ExecuteRequest | pb.ExecuteStreamRequest) -> dict[str, Any]:
    if request.WhichOneof("payload") != "input_json":
        return from_struct(request.input)
    # An empty text is no JSON here: whoever sets the field means it.
    return to_input(request.input_json or " ")


def to_input(text: str, field: str = "input_json") -> dict[str, Any]:
    """Returns an input that came as JSON text; raises InvalidFields."""
    try:
        given = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        raise InvalidFields.one(field, "is not JSON") from None
    if not isinstance(given, dict):
        raise InvalidFields.one(field, "must be a JSON object")
    return given


def to_response(answer: Answer, call: Call, output_format: int) -> pb.ExecuteResponse:
    """Returns the response to an Execute."""
    response = pb.ExecuteResponse(
        vendor_status=answer.status,
        call=to_summary(call),
        quota=to_quota(answer.quota),
        content_type=answer.content_type,
    )
    try:
        document = answer.json()
        if output_format != pb.OUTPUT_FORMAT_JSON:
            response.output.CopyFrom(to_value(document))
            return response
        response.output_json = answer.body.decode() if answer.body else "null"
    except TypeError:
        # Deeper than a Value may be: the text says the same.
        response.output_json = answer.body.decode()
    except ValueError:
        response.output_bytes = answer.body
    return response


def to_page(page: Page, call: Call, output_format: int) -> pb.ExecuteStreamResponse:
    """Returns one page of an ExecuteStream."""
    response = pb.ExecuteStreamResponse(
        page=page.number,
        item_count=len(page.items),
        quota=to_quota(page.answer.quota),
        call=to_summary(call) if page.last else None,
    )
    if output_format == pb.OUTPUT_FORMAT_JSON:
        response.items_json = orjson.dumps(page.items).decode()
        return response
    try:
        response.items.CopyFrom(to_list(page.items))
    except TypeError:
        response.items_json = orjson.dumps(page.items).decode()
    return response


def to_summary(call: Call) -> pb.CallSummary:
    """Returns how a call went, for its caller."""
    return pb.CallSummary(
        name=call.name,
        definition_version=call.version,
        attempts=call.attempts,
        duration=to_duration(call.duration),
        trace_id=call.trace_id,
        replayed=call.replayed,
    )


def to_quota(quota: Quota) -> pb.Quota | None:
    """Returns what may still be called, or None where neither the vendor nor the definition says it."""
    if quota == NO_QUOTA:
        return None
    return pb.Quota(
        limit=quota.limit,
        remaining=quota.remaining,
        reset_time=to_timestamp(quota.reset) if quota.reset else None,
        source=pb.Quota.SOURCE_DEFINITION if quota.declared else pb.Quota.SOURCE_VENDOR,
    )


def to_call(record: CallRecord) -> pb.Call:
    """Returns what is kept of a call."""
    return pb.Call(
        name=f"workspaces/{record.workspace_id}/calls/{record.id}",
        connection=record.connection,
        integration=f"integrations/{record.integration}" if record.integration else "",
        action=record.action,
        definition_version=record.version,
        outcome=pb.Call.Outcome.ValueType(record.outcome),
        error_reason=record.reason,
        vendor_status=record.vendor_status,
        attempts=record.attempts,
        duration=to_duration(record.duration_us / 1_000_000),
        caller=record.caller,
        trace_id=record.trace_id,
        create_time=to_timestamp(record.create_time),
        credential_generation=record.generation,
    )
