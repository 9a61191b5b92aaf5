"""EventService, SubscriptionService and PollingTriggerService: messages in, one call of the domain, messages out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf.empty_pb2 import Empty

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import to_seconds, to_timestamp
from cordboard.proxy.events.door import WEBHOOKS
from cordboard.proxy.events.events import Events
from cordboard.proxy.events.intake import Intake
from cordboard.proxy.events.messages import (
    check_interval,
    check_offset,
    to_dead,
    to_endpoint,
    to_event,
    to_offset,
    to_offsets,
    to_polling_trigger,
    to_subscription,
    to_told,
    to_wanted,
)
from cordboard.proxy.events.subscription import Subscription
from cordboard.proxy.events.subscriptions import Subscriptions
from cordboard.proxy.events.triggers import Triggers
from cordboard.proxy.v1 import event_service_pb2 as pb
from cordboard.proxy.v1 import polling_trigger_service_pb2 as trigger_pb
from cordboard.proxy.v1 import subscription_service_pb2 as subscription_pb
from cordboard.proxy.v1.event_service_pb2_grpc import EventServiceServicer
from cordboard.proxy.v1.polling_trigger_service_pb2_grpc import PollingTriggerServiceServicer
from cordboard.proxy.v1.subscription_service_pb2_grpc import SubscriptionServiceServicer

PATTERN: Final = "workspaces/*/subscriptions/*"
OUTSTANDING: Final = 100
# How long the secret before a new one is used as well, in seconds.
OVERLAP: Final = 86_400.0
MOST_OUTSTANDING: Final = 1000


class EventServicer(EventServiceServicer):
    """Answers EventService."""

    def __init__(self, events: Events, intake: Intake) -> None:
        """Takes the events, and the addresses that they come to."""
        self._events = events
        self._intake = intake

    async def CreateWebhookEndpoint(
        self, request: pb.CreateWebhookEndpointRequest, context: Any
    ) -> pb.CreateWebhookEndpointResponse:
        """Creates an address."""
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        owner, _ = parse(request.connection, "workspaces/*/connections/*", field="connection")
        if owner != workspace:
            raise InvalidFields.one("connection", f"must be one of {request.parent!r}")
        made, token = await self._intake.create(workspace, request.endpoint_id, request.connection, current_caller())
        return pb.CreateWebhookEndpointResponse(endpoint=to_endpoint(made), path=f"{WEBHOOKS}{token}")

    async def ListWebhookEndpoints(
        self, request: pb.ListWebhookEndpointsRequest, context: Any
    ) -> pb.ListWebhookEndpointsResponse:
        """Lists addresses by id."""
        paging, caller = Paging.of(request), current_caller()
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        found = await self._intake.endpoints(workspace, caller, after=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        return pb.ListWebhookEndpointsResponse(endpoints=map(to_endpoint, found[: paging.size]), next_page_token=token)

    async def DeleteWebhookEndpoint(self, request: pb.DeleteWebhookEndpointRequest, context: Any) -> Empty:
        """Deletes an address."""
        workspace, endpoint_id = parse(request.name, "workspaces/*/webhookEndpoints/*")
        await self._intake.delete(workspace, endpoint_id, current_caller())
        return Empty()

    async def GetEvent(self, request: pb.GetEventRequest, context: Any) -> pb.Event:
        """Returns an event with its data."""
        workspace, number = to_offset(request.name)
        return to_event(*await self._events.event(workspace, number, current_caller()))

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        """Lists events, newest first."""
        paging, caller = Paging.of(request), current_caller()
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        if request.connection:
            parse(request.connection, "workspaces/*/connections/*", field="connection")
        before, limit = paging.after_number or 0, paging.size + 1
        found = await self._events.events(
            workspace, caller, source=request.connection, drifted=request.drifted, before=before, limit=limit
        )
        token = paging.token(str(found[paging.size - 1].number)) if len(found) > paging.size else ""
        return pb.ListEventsResponse(events=map(to_event, found[: paging.size]), next_page_token=token)


class SubscriptionServicer(SubscriptionServiceServicer):
    """Answers SubscriptionService."""

    def __init__(self, subscriptions: Subscriptions, events: Events) -> None:
        """Takes the subscriptions, and what opens the data of events."""
        self._subscriptions = subscriptions
        self._events = events

    async def CreateSubscription(
        self, request: subscription_pb.CreateSubscriptionRequest, context: Any
    ) -> subscription_pb.CreateSubscriptionResponse:
        """Creates a subscription."""
        made, secret = await self._subscriptions.create(to_wanted(request), current_caller())
        return subscription_pb.CreateSubscriptionResponse(subscription=await self._told(made), secret=secret)

    async def GetSubscription(
        self, request: subscription_pb.GetSubscriptionRequest, context: Any
    ) -> subscription_pb.Subscription:
        """Returns a subscription."""
        workspace, subscription_id = parse(request.name, PATTERN)
        return await self._told(await self._subscriptions.subscription(workspace, subscription_id, current_caller()))

    async def ListSubscriptions(
        self, request: subscription_pb.ListSubscriptionsRequest, context: Any
    ) -> subscription_pb.ListSubscriptionsResponse:
        """Lists subscriptions by id."""
        paging, caller = Paging.of(request), current_caller()
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        found = await self._subscriptions.subscriptions(workspace, caller, after=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        told = [await self._told(each) for each in found[: paging.size]]
        return subscription_pb.ListSubscriptionsResponse(subscriptions=told, next_page_token=token)

    async def DeleteSubscription(self, request: subscription_pb.DeleteSubscriptionRequest, context: Any) -> Empty:
        """Deletes a subscription."""
        workspace, subscription_id = parse(request.name, PATTERN)
        await self._subscriptions.delete(workspace, subscription_id, current_caller())
        return Empty()

    async def RotateSubscriptionSecret(
        self, request: subscription_pb.RotateSubscriptionSecretRequest, context: Any
    ) -> subscription_pb.RotateSubscriptionSecretResponse:
        """Makes a new secret."""
        workspace, subscription_id = parse(request.name, PATTERN)
        overlap = to_seconds(request.overlap) if request.HasField("overlap") else OVERLAP
        made = await self._subscriptions.rotate_secret(workspace, subscription_id, overlap, current_caller())
        return subscription_pb.RotateSubscriptionSecretResponse(
            secret=made[0], previous_expire_time=to_timestamp(made[1])
        )

    async def SeekSubscription(
        self, request: subscription_pb.SeekSubscriptionRequest, context: Any
    ) -> subscription_pb.Subscription:
        """Moves a subscription."""
        workspace, subscription_id = parse(request.name, PATTERN)
        offset = check_offset(request.offset, "offset")
        return await self._told(await self._subscriptions.seek(workspace, subscription_id, offset, current_caller()))

    async def Subscribe(
        self, request: subscription_pb.SubscribeRequest, context: Any
    ) -> AsyncIterator[subscription_pb.SubscribeResponse]:
        """Streams events as they come."""
        workspace, subscription_id = parse(request.name, PATTERN)
        if not 0 <= request.max_outstanding <= MOST_OUTSTANDING:
            raise InvalidFields.one("max_outstanding", f"must be 1 to {MOST_OUTSTANDING}, or 0 for {OUTSTANDING}")
        most = request.max_outstanding or OUTSTANDING
        stream = self._subscriptions.stream(workspace, subscription_id, current_caller(), most=most)
        async with contextlib.aclosing(stream) as told:
            async for each in told:
                yield to_told(each, await self._events.data(each.event))

    async def AcknowledgeEvents(
        self, request: subscription_pb.AcknowledgeEventsRequest, context: Any
    ) -> subscription_pb.AcknowledgeEventsResponse:
        """Forgets events that were dealt with."""
        workspace, subscription_id = parse(request.name, PATTERN)
        offsets, up_to = to_offsets(request.offsets), check_offset(request.up_to_offset, "up_to_offset")
        count = await self._subscriptions.acknowledge(workspace, subscription_id, offsets, up_to, current_caller())
        return subscription_pb.AcknowledgeEventsResponse(acknowledged_count=count)

    async def ListDeadEvents(
        self, request: subscription_pb.ListDeadEventsRequest, context: Any
    ) -> subscription_pb.ListDeadEventsResponse:
        """Lists events that could not be told."""
        paging, caller = Paging.of(request), current_caller()
        workspace, subscription_id = parse(request.parent, PATTERN, field="parent")
        after, limit = paging.after_number or 0, paging.size + 1
        found = await self._subscriptions.lost(workspace, subscription_id, caller, after=after, limit=limit)
        token = paging.token(str(found[paging.size - 1].event.number)) if len(found) > paging.size else ""
        return subscription_pb.ListDeadEventsResponse(
            dead_events=map(to_dead, found[: paging.size]), next_page_token=token
        )

    async def ReplayDeadEvents(
        self, request: subscription_pb.ReplayDeadEventsRequest, context: Any
    ) -> subscription_pb.ReplayDeadEventsResponse:
        """Has events that could not be told be told again."""
        workspace, subscription_id = parse(request.name, PATTERN)
        offsets, caller = to_offsets(request.offsets), current_caller()
        count = await self._subscriptions.replay(workspace, subscription_id, offsets, caller)
        return subscription_pb.ReplayDeadEventsResponse(replayed_count=count)

    async def DiscardDeadEvents(
        self, request: subscription_pb.DiscardDeadEventsRequest, context: Any
    ) -> subscription_pb.DiscardDeadEventsResponse:
        """Gives up events that could not be told."""
        workspace, subscription_id = parse(request.name, PATTERN)
        offsets, caller = to_offsets(request.offsets), current_caller()
        count = await self._subscriptions.discard(workspace, subscription_id, offsets, caller)
        return subscription_pb.DiscardDeadEventsResponse(discarded_count=count)

    async def _told(self, found: Subscription) -> subscription_pb.Subscription:
        return to_subscription(found, await self._subscriptions.progress(found))


class PollingTriggerServicer(PollingTriggerServiceServicer):
    """Answers PollingTriggerService."""

    def __init__(self, triggers: Triggers) -> None:
        """Takes the triggers."""
        self._triggers = triggers

    async def CreatePollingTrigger(
        self, request: trigger_pb.CreatePollingTriggerRequest, context: Any
    ) -> trigger_pb.PollingTrigger:
        """Creates a trigger."""
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        told = request.trigger
        owner, _ = parse(told.connection, "workspaces/*/connections/*", field="trigger.connection")
        if owner != workspace:
            raise InvalidFields.one("trigger.connection", f"must be one of {request.parent!r}")
        made = await self._triggers.create(
            workspace, request.trigger_id, told.connection, told.event_type, check_interval(told), current_caller()
        )
        return to_polling_trigger(made)

    async def GetPollingTrigger(
        self, request: trigger_pb.GetPollingTriggerRequest, context: Any
    ) -> trigger_pb.PollingTrigger:
        """Returns a trigger."""
        workspace, trigger_id = parse(request.name, "workspaces/*/pollingTriggers/*")
        return to_polling_trigger(await self._triggers.trigger(workspace, trigger_id, current_caller()))

    async def ListPollingTriggers(
        self, request: trigger_pb.ListPollingTriggersRequest, context: Any
    ) -> trigger_pb.ListPollingTriggersResponse:
        """Lists triggers by id."""
        paging, caller = Paging.of(request), current_caller()
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        found = await self._triggers.triggers(workspace, caller, after=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        return trigger_pb.ListPollingTriggersResponse(
            triggers=map(to_polling_trigger, found[: paging.size]), next_page_token=token
        )

    async def DeletePollingTrigger(self, request: trigger_pb.DeletePollingTriggerRequest, context: Any) -> Empty:
        """Deletes a trigger."""
        workspace, trigger_id = parse(request.name, "workspaces/*/pollingTriggers/*")
        await self._triggers.delete(workspace, trigger_id, current_caller())
        return Empty()
