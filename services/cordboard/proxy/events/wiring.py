"""Wires the parts of events, for the Proxy's `__main__`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.database import Changes
from cordboard.core.errors import CordboardError
from cordboard.core.secrets import Secret
from cordboard.core.times import SystemClock
from cordboard.proxy.events.deliveries import DeliveryStore
from cordboard.proxy.events.door import Door
from cordboard.proxy.events.events import Events
from cordboard.proxy.events.intake import Intake
from cordboard.proxy.events.nats_target import NatsTarget
from cordboard.proxy.events.sending import Sender
from cordboard.proxy.events.servicer import EventServicer, PollingTriggerServicer, SubscriptionServicer
from cordboard.proxy.events.store import CHANNEL, EventStore
from cordboard.proxy.events.subscription import NATS, WEBHOOK
from cordboard.proxy.events.subscriptions import Subscriptions
from cordboard.proxy.events.targets import Target, WebhookTarget
from cordboard.proxy.events.trigger_store import TriggerStore
from cordboard.proxy.events.triggers import Triggers
from cordboard.proxy.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from cordboard.proxy.v1.polling_trigger_service_pb2_grpc import add_PollingTriggerServiceServicer_to_server
from cordboard.proxy.v1.subscription_service_pb2_grpc import add_SubscriptionServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.egress import Egress
    from cordboard.core.server import Process
    from cordboard.proxy.pipeline import Pipeline
    from cordboard.proxy.sealing import SealingKeys
    from cordboard.proxy.settings import ProxySettings

logger = logging.getLogger(__name__)

SWEEP_EVERY: Final = 600.0
SWEEP_PAUSE: Final = 0.1


def start_events(
    mesh: Process[ProxySettings], pipeline: Pipeline, keys: SealingKeys, egress: Egress
) -> tuple[Door, Triggers]:
    """Serves events, and sends them on; returns what takes webhooks, and what asks vendors that send none."""
    settings, database, journal = mesh.settings, mesh.database(), mesh.journal()
    store, admission = EventStore(database), pipeline.admission
    connections = admission.connections
    intake = Intake(database, store, keys, journal, admission, SystemClock())
    triggers = Triggers(database, TriggerStore(database), store, intake, pipeline, connections, keys, journal)
    add_PollingTriggerServiceServicer_to_server(PollingTriggerServicer(triggers), mesh.server)
    events, changes, deliveries = Events(store, keys), Changes(database, CHANNEL), DeliveryStore(database)
    add_EventServiceServicer_to_server(EventServicer(events, intake), mesh.server)
    session = egress.session(timeout=settings.event_send_seconds)
    mesh.on_close(session.close)
    targets: dict[str, Target] = {WEBHOOK: WebhookTarget(session, keys, SystemClock())}
    url = settings.nats_url.get_secret_value()
    if url:
        stream = NatsTarget(Secret(url), settings.nats_stream, settings.event_send_seconds)
        mesh.on_close(stream.close)
        targets[NATS] = stream
    subscriptions = Subscriptions(
        database, deliveries, keys, journal, changes, egress.allows, targets, settings.event_acknowledge_seconds
    )
    add_SubscriptionServiceServicer_to_server(SubscriptionServicer(subscriptions, events), mesh.server)
    mesh.on_close(subscriptions.close)
    mesh.on_close(intake.close)
    sender = Sender(
        deliveries,
        events,
        changes,
        targets,
        mesh.measures,
        timeout=settings.event_send_seconds,
        first_wait=settings.event_first_wait_seconds,
    )
    for job in (changes.run(), sender.run(), triggers.run(), _sweep(store, TriggerStore(database), settings)):
        mesh.background(job)
    return Door(intake, mesh.measures, settings.max_webhook_bytes), triggers


async def _sweep(store: EventStore, triggers: TriggerStore, settings: ProxySettings) -> None:
    live, given_up = settings.event_retention_days * 86_400.0, settings.dead_letter_retention_days * 86_400.0
    while True:
        deleted = 0
        try:
            await triggers.sweep()
            deleted = await store.sweep(live=live, given_up_live=given_up)
        except CordboardError as error:
            logger.warning("old events were not deleted", extra={"problem": type(error).__name__})
        await asyncio.sleep(SWEEP_PAUSE if deleted else SWEEP_EVERY)
