"""A vendor that sends signed webhooks, for the tests of events: its definition, and what it signs."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.local.certificates import Identities
from cordboard.local.ports import Ports
from cordboard.proxy.v1 import event_service_pb2
from cordboard.proxy.v1.event_service_pb2_grpc import EventServiceStub
from tests.fixtures.serving import Served, Serving
from tests.unit.proxy.neighbours import Neighbours, neighbours
from tests.unit.proxy.running import CONNECTION, ON, a_proxy, is_ready, until
from tests.unit.proxy.samples import SLUG, a_definition, an_action

SECRET = "whole-and-secret"
TICKET = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}


def a_hooking_definition(url: str = "https://api.vendor.example/v1", **fields: Any) -> pb.Definition:
    """Returns a vendor whose webhooks are signed with their time."""
    webhook = pb.Webhook(
        secret_variable="hook",
        id_pointer="/id",
        type_pointer="/type",
        time_pointer="/at",
        ordering_key_pointer="/ticket/board",
        data_pointer="/ticket",
        signature=pb.WebhookSignature(
            algorithm=pb.WEBHOOK_ALGORITHM_HMAC_SHA256,
            header="X-Signature",
            separator=",",
            timestamp_prefix="t=",
            prefix="v1=",
            signed_content="{timestamp}.{body}",
        ),
        challenges=[pb.WebhookChallenge(pointer="/challenge")],
    )
    given: dict[str, Any] = {
        "webhook": webhook,
        "event_types": [
            pb.EventType(id="ticket.made", payload_schema_json='{"$ref": "#/$defs/Ticket"}'),
            pb.EventType(id="ticket.moved"),
        ],
        "schemas_json": json.dumps({"Ticket": TICKET}),
        "config_variables": [pb.ConfigVariable(name="hook", secret=True)],
    }
    return a_definition(an_action("get_me", path="/me"), url=url, **{**given, **fields})


def an_event(number: int, board: str = "b1", kind: str = "ticket.made", **ticket: Any) -> dict[str, Any]:
    """Returns an event as the vendor writes it."""
    return {"id": f"evt_{number}", "type": kind, "at": 1_772_366_400, "ticket": {"id": number, "board": board} | ticket}


def signed(body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Returns the header that proves a body."""
    stamp = int(time.time() if at is None else at)
    proof = hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()
    return {"X-Signature": f"t={stamp},v1={proof}"}


@dataclass
class Hooked:
    """A Proxy that takes webhooks."""

    served: Served
    around: Neighbours
    identities: Identities
    port: int
    path: str = ""

    def events(self, *roles: str, **claims: Any) -> Any:
        """Returns EventService as a caller with these roles sees it."""
        return EventServiceStub(self.served.as_role(*(roles or ("member",)), **({"workspace": "acme"} | claims)))

    async def listed(self, **fields: Any) -> list[event_service_pb2.Event]:
        """Returns the workspace's events, newest first."""
        request = event_service_pb2.ListEventsRequest(parent="workspaces/acme", **fields)
        return list((await self.events().ListEvents(request)).events)

    async def send(self, event: Any, *, peer: str = "envoy", path: str = "", **more: Any) -> tuple[int, bytes]:
        """Sends a webhook as Envoy passes it on; returns the status and the body of the answer."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        headers = more.pop("headers", None)
        method = more.pop("method", "POST")
        async with (
            self.session(peer) as session,
            session.request(
                method,
                f"https://127.0.0.1:{self.port}{path or self.path}",
                data=body,
                headers=signed(body) if headers is None else headers,
                **more,
            ) as response,
        ):
            return response.status, await response.read()

    @contextlib.asynccontextmanager
    async def session(self, peer: str = "envoy") -> AsyncIterator[aiohttp.ClientSession]:
        """Gives a session with the certificate of a peer."""
        directory = self.identities.directory(peer)
        tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        tls.check_hostname = False
        tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
            yield session


async def connect_hooked(around: Neighbours, definition: pb.Definition) -> None:
    """Makes a connection of a vendor that sends webhooks."""
    await around.publish(definition)
    await around.catch_up()
    await around.set_flags(**ON)
    await around.connect(CONNECTION, integration=SLUG, api_key="k", secret_variables={"hook": SECRET})


@contextlib.asynccontextmanager
async def hooked(
    serving: Serving, identities: Identities, url: str, definition: pb.Definition | None = None, **settings: Any
) -> AsyncIterator[Hooked]:
    """Runs a Proxy that has an address for the webhooks of CONNECTION."""
    ports = Ports()
    port = ports.claim()
    try:
        async with neighbours(identities) as around:
            await connect_hooked(around, definition or a_hooking_definition())
            async with a_proxy(serving, around, url, forward_address=f"127.0.0.1:{port}", **settings) as served:
                await until(lambda: is_ready(served))
                one = Hooked(served, around, identities, port)
                made = await one.events().CreateWebhookEndpoint(
                    event_service_pb2.CreateWebhookEndpointRequest(
                        parent="workspaces/acme", endpoint_id="tickets", connection=CONNECTION
                    )
                )
                one.path = made.path
                yield one
                await asyncio.sleep(0)
    finally:
        ports.release()
