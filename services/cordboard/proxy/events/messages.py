"""The messages of events, from and to what the domain works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.errors import NotFound
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp
from cordboard.proxy.v1 import event_service_pb2 as pb

if TYPE_CHECKING:
    from cordboard.proxy.events.event import Endpoint, Event

MOST_DIGITS = 18


def to_event(event: Event, data: bytes = b"") -> pb.Event:
    """Returns an event as a message."""
    return pb.Event(
        name=event.name,
        offset=event.number,
        id=event.id,
        source=event.source,
        type=event.type,
        time=to_timestamp(event.time),
        data_schema=event.data_schema,
        data_json=data.decode(),
        ordering_key=event.ordering_key,
        drift=event.places,
        receive_time=to_timestamp(event.receive_time),
        trace_id=event.trace_id,
    )


def to_endpoint(endpoint: Endpoint) -> pb.WebhookEndpoint:
    """Returns an address as a message, without what is secret of it."""
    return pb.WebhookEndpoint(
        name=endpoint.name,
        connection=endpoint.connection,
        integration=endpoint.integration,
        create_time=to_timestamp(endpoint.create_time),
    )


def to_offset(name: str) -> tuple[str, int]:
    """Returns the workspace and the offset that an event's name has; raises InvalidFields, NotFound."""
    workspace, text = parse(name, "workspaces/*/events/*")
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise NotFound(name)
    return workspace, int(text)
