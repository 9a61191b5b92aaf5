"""The messages of events, from and to what the domain works with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.names import parse
from cordboard.core.times import to_duration, to_seconds, to_timestamp
from cordboard.proxy.events.subscription import NATS, PULL, WEBHOOK, Handed, Lost, Progress, Subscription
from cordboard.proxy.events.subscriptions import Wanted
from cordboard.proxy.jobs.job import to_caller
from cordboard.proxy.origins import first_trace
from cordboard.proxy.v1 import event_service_pb2 as pb
from cordboard.proxy.v1 import polling_trigger_service_pb2 as trigger_pb
from cordboard.proxy.v1 import subscription_service_pb2 as subscription_pb

if TYPE_CHECKING:
    from collections.abc import Collection

    from cordboard.proxy.events.event import Endpoint, Event
    from cordboard.proxy.events.trigger_store import Trigger

MOST_DIGITS: Final = 18
MOST_OFFSETS: Final = 1000
MOST_ATTEMPTS: Final = 100
LONGEST_INTERVAL: Final = 31 * 86_400.0
_TYPE: Final = re.compile(r"[A-Za-z0-9_.-]{1,255}(\.\*)?", re.ASCII)


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
        trace_id=first_trace(event.trace_id),
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


def to_wanted(request: subscription_pb.CreateSubscriptionRequest) -> Wanted:
    """Returns what a subscription is to be; raises InvalidFields."""
    (workspace,) = parse(request.parent, "workspaces/*", field="parent")
    told = request.subscription
    for index, one in enumerate(told.types):
        if not _TYPE.fullmatch(one):
            raise InvalidFields.one(f"subscription.types[{index}]", "must be a type, or the beginning of one and '.*'")
    for index, one in enumerate(told.connections):
        field = f"subscription.connections[{index}]"
        owner, _ = parse(one, "workspaces/*/connections/*", field=field)
        if owner != workspace:
            raise InvalidFields.one(field, f"must be one of {request.parent!r}")
    for field in ("types", "connections"):
        if len(getattr(told, field)) > MOST_OFFSETS:
            raise InvalidFields.one(f"subscription.{field}", f"must be at most {MOST_OFFSETS}")
    if not 0 <= told.max_attempts <= MOST_ATTEMPTS:
        raise InvalidFields.one("subscription.max_attempts", f"must be 1 to {MOST_ATTEMPTS}, or 0")
    return Wanted(
        workspace=workspace,
        id=request.subscription_id,
        types=tuple(told.types),
        connections=tuple(told.connections),
        kind=told.WhichOneof("target") or PULL,
        url=told.webhook.url,
        max_attempts=told.max_attempts,
        from_beginning=request.from_beginning,
    )


def to_subscription(found: Subscription, progress: Progress) -> subscription_pb.Subscription:
    """Returns a subscription as a message."""
    message = subscription_pb.Subscription(
        name=found.name,
        types=found.types.split("\n") if found.types else (),
        connections=found.connections.split("\n") if found.connections else (),
        max_attempts=found.max_attempts,
        acknowledged_offset=progress.acknowledged,
        last_offset=progress.last,
        dead_count=progress.dead,
        create_time=to_timestamp(found.create_time),
    )
    if found.kind == WEBHOOK:
        message.webhook.url = found.url
    elif found.kind == NATS:
        message.nats.SetInParent()
    if found.resume_time is not None:
        message.resume_time.CopyFrom(to_timestamp(found.resume_time))
    return message


def to_told(handed: Handed, data: bytes) -> subscription_pb.SubscribeResponse:
    """Returns an event that is told as a message."""
    return subscription_pb.SubscribeResponse(event=to_event(handed.event, data), attempt=handed.attempt)


def to_dead(lost: Lost) -> subscription_pb.DeadEvent:
    """Returns an event that could not be told as a message."""
    return subscription_pb.DeadEvent(event=to_event(lost.event), attempts=lost.attempts, reason=lost.reason)


def to_offsets(offsets: Collection[int]) -> Collection[int]:
    """Returns offsets; raises InvalidFields where they are too many."""
    if len(offsets) > MOST_OFFSETS:
        raise InvalidFields.one("offsets", f"must be at most {MOST_OFFSETS}")
    return list(offsets)


def check_offset(offset: int, field: str) -> int:
    """Returns an offset; raises InvalidFields."""
    if offset < 0:
        raise InvalidFields.one(field, "must not be negative")
    return offset


def check_interval(told: trigger_pb.PollingTrigger) -> float:
    """Returns the seconds from one turn to the next, 0 where they are not said; raises InvalidFields."""
    if not told.HasField("interval"):
        return 0.0
    seconds = to_seconds(told.interval)
    if not 1 <= seconds <= LONGEST_INTERVAL:
        raise InvalidFields.one("trigger.interval", "must be 1 s to 31 days")
    return seconds


def to_polling_trigger(found: Trigger) -> trigger_pb.PollingTrigger:
    """Returns a trigger as a message."""
    return trigger_pb.PollingTrigger(
        name=found.name,
        connection=found.connection,
        event_type=found.event_type,
        interval=to_duration(found.interval),
        next_time=to_timestamp(found.next_time),
        last_time=None if found.last_time is None else to_timestamp(found.last_time),
        failures=found.failures,
        error_reason=found.problem,
        submitter=to_caller(found.submitter).actor,
        create_time=to_timestamp(found.create_time),
    )
