"""EventService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.proxy.events.door import WEBHOOKS
from cordboard.proxy.events.events import Events
from cordboard.proxy.events.intake import Intake
from cordboard.proxy.events.messages import to_endpoint, to_event, to_offset
from cordboard.proxy.v1 import event_service_pb2 as pb
from cordboard.proxy.v1.event_service_pb2_grpc import EventServiceServicer


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
        before, limit = int(paging.after or 0), paging.size + 1
        found = await self._events.events(
            workspace, caller, source=request.connection, drifted=request.drifted, before=before, limit=limit
        )
        token = paging.token(str(found[paging.size - 1].number)) if len(found) > paging.size else ""
        return pb.ListEventsResponse(events=map(to_event, found[: paging.size]), next_page_token=token)
