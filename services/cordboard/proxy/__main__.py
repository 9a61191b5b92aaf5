"""Starts the Proxy."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.egress import Egress
from cordboard.core.errors import CordboardError
from cordboard.core.hub_age import HubAge
from cordboard.core.server import run
from cordboard.core.times import SystemClock
from cordboard.proxy.admission import Admission, Limits
from cordboard.proxy.archive import Archive
from cordboard.proxy.asking import Asking
from cordboard.proxy.backends.carrier import Direct
from cordboard.proxy.backends.gateway import Gateway
from cordboard.proxy.backends.route import Kind
from cordboard.proxy.backends.shadow import Shadow
from cordboard.proxy.backends.wiring import reach_hub, start_backends
from cordboard.proxy.batch import Batches
from cordboard.proxy.batch_servicer import BatchServicer
from cordboard.proxy.breakers.store import BreakerStore
from cordboard.proxy.breakers.wiring import start_breakers
from cordboard.proxy.connections import Connections
from cordboard.proxy.databases.wiring import start_databases
from cordboard.proxy.drift import Drift
from cordboard.proxy.events.trigger_store import POLL
from cordboard.proxy.events.wiring import start_events
from cordboard.proxy.exchange import Exchange
from cordboard.proxy.forward_http import ForwardServer
from cordboard.proxy.forward_servicer import ForwardServicer
from cordboard.proxy.forwarding import Forwarding
from cordboard.proxy.guard import Guard
from cordboard.proxy.jobs.wiring import start_jobs
from cordboard.proxy.ledger import Ledger
from cordboard.proxy.limits import Bulkhead, Pace
from cordboard.proxy.messages import LONGEST_STREAM
from cordboard.proxy.meter import Meter, observe_breakers
from cordboard.proxy.outcomes import Outcomes
from cordboard.proxy.pipeline import Pipeline
from cordboard.proxy.quotas.pace import SharedPace
from cordboard.proxy.quotas.store import QuotaStore
from cordboard.proxy.quotas.wiring import start_quotas
from cordboard.proxy.recorder import Recorder
from cordboard.proxy.retry import RetryPolicy
from cordboard.proxy.retry_budget import RetryBudget
from cordboard.proxy.sealed_input_servicer import SealedInputServicer
from cordboard.proxy.sealed_inputs import SealedInputs
from cordboard.proxy.sealing import SealingKeys
from cordboard.proxy.sender import Sender, attempt_durations
from cordboard.proxy.servicer import ProxyServicer
from cordboard.proxy.settings import ProxySettings
from cordboard.proxy.snapshot import Definitions, Flags
from cordboard.proxy.store import KEY_LIVES, ProxyStore
from cordboard.proxy.usage import Usage
from cordboard.proxy.v1.batch_service_pb2_grpc import add_BatchServiceServicer_to_server
from cordboard.proxy.v1.forward_service_pb2_grpc import add_ForwardServiceServicer_to_server
from cordboard.proxy.v1.proxy_service_pb2_grpc import add_ProxyServiceServicer_to_server
from cordboard.proxy.v1.sealed_input_service_pb2_grpc import add_SealedInputServiceServicer_to_server
from cordboard.proxy.walking import Walking
from cordboard.proxy.workspaces import Workspaces

if TYPE_CHECKING:
    from cordboard.core.server import Process
    from cordboard.proxy.events.door import Door

logger = logging.getLogger(__name__)

SWEEP_EVERY: Final = 600.0
SWEEP_PAUSE: Final = 0.1


async def start(mesh: Process[ProxySettings]) -> None:
    """Wires the parts of the Proxy."""
    settings, clock = mesh.settings, SystemClock()
    store, keys = ProxyStore(mesh.database()), SealingKeys(mesh.channels)
    recorder = Recorder(mesh.database(), mesh.journal())
    egress = Egress(settings.egress_allowed_networks)
    session = egress.session()
    definitions, connections = Definitions(mesh.channels), Connections(mesh.channels)
    flags = Flags(mesh.channels, settings.flag_max_staleness_seconds)
    usage, outcomes = Usage(mesh.channels), Outcomes(mesh.channels)
    drift = Drift(mesh.channels, every=settings.drift_look_seconds)
    quotas, quota_store = start_quotas(mesh, clock)
    breakers, breaker_store = start_breakers(mesh, clock)
    observe_breakers(mesh.measures, breakers)
    guard = Guard(breakers, quotas)
    backends = start_backends(mesh)
    admission = Admission(
        definitions=definitions,
        usage=usage,
        flags=flags,
        connections=connections,
        workspaces=Workspaces(mesh.channels),
        recorder=recorder,
        limits=limits_of(settings, quota_store),
        routes=backends.routes,
        sealed=start_sealing(mesh, keys),
    )
    sender = Sender(session, clock, settings.max_response_bytes, attempt_durations(mesh.measures))
    exchange = Exchange(
        sender,
        {
            Kind.DIRECT: Direct(sender),
            Kind.GATEWAY: Gateway(sender, admission),
            Kind.DATABASE: start_databases(mesh, egress, clock),
        },
        connections,
        guard,
        RetryPolicy(),
        RetryBudget(settings.budget_policy, clock.monotonic),
        drift,
    )
    asking = Asking(exchange, reach_hub(mesh, guard))
    pipeline = Pipeline(
        admission=admission,
        asking=asking,
        walking=Walking(asking),
        ledger=Ledger(store, keys),
        recorder=recorder,
        meter=Meter(mesh.measures),
        outcomes=outcomes,
        shadow=Shadow(admission, asking, backends.findings, recorder),
        owned=set(),
    )
    add_ProxyServiceServicer_to_server(ProxyServicer(pipeline, Archive(store), breakers, clock), mesh.server)
    batches = BatchServicer(Batches(pipeline, workspace_calls=settings.batch_calls))
    add_BatchServiceServicer_to_server(batches, mesh.server)
    forwarding = start_forward(mesh, pipeline, egress, guard)
    door, triggers = start_events(mesh, pipeline, keys, egress)
    if settings.forward_address:
        await serve_http(mesh, forwarding, door)
    start_jobs(mesh, pipeline, keys, {POLL: triggers.take})
    mesh.on_close(recorder.close)
    mesh.on_close(session.close)
    mesh.on_close(pipeline.close)
    mesh.add_check("catalog", definitions.check)
    mesh.add_check("flags", flags.check)
    mesh.copies.add(definitions.copy)
    mesh.copies.add(flags.copy)
    recorder.open()
    for job in (
        definitions.run(),
        flags.run(),
        connections.run(),
        usage.run(),
        outcomes.run(),
        drift.look(),
        drift.run(),
        breakers.run(),
        HubAge(lambda: mesh.channels.to("catalog"), mesh.copies, clock).run(),
        sweep(store, (quota_store, breaker_store), settings.call_retention_days),
    ):
        mesh.background(job)


def limits_of(settings: ProxySettings, store: QuotaStore) -> Limits:
    """Returns how much may run at once, and how often."""
    return Limits(
        Bulkhead("process_calls", settings.process_calls),
        Bulkhead("workspace_calls", settings.workspace_calls),
        Bulkhead("integration_calls", settings.integration_calls),
        Pace("workspace_rate", settings.workspace_rate),
        Pace("caller_rate", settings.caller_rate),
        SharedPace("workspace_rate", settings.workspace_rate, store),
        SharedPace("caller_rate", settings.caller_rate, store),
    )


def start_sealing(mesh: Process[ProxySettings], keys: SealingKeys) -> SealedInputs:
    """Serves SealedInputService, and returns what opens its references."""
    sealed = SealedInputs(keys)
    add_SealedInputServiceServicer_to_server(SealedInputServicer(sealed), mesh.server)
    return sealed


def start_forward(mesh: Process[ProxySettings], pipeline: Pipeline, egress: Egress, guard: Guard) -> Forwarding:
    """Serves Forward."""
    raw = egress.session(timeout=LONGEST_STREAM, decompress=False)
    mesh.on_close(raw.close)
    forwarding = Forwarding(pipeline, raw, guard)
    add_ForwardServiceServicer_to_server(ForwardServicer(forwarding), mesh.server)
    return forwarding


async def serve_http(mesh: Process[ProxySettings], forwarding: Forwarding, door: Door) -> None:
    """Serves Forward as plain HTTP too, beside gRPC, and takes webhooks."""
    settings = mesh.settings
    server = ForwardServer(
        forwarding,
        door,
        mesh.caller_through_envoy,
        mesh.identity,
        settings.identity_dir,
        settings.trust_domain,
        serving=lambda: mesh.serving,
        grace=settings.grace_seconds,
    )
    await server.start(settings.forward_address)
    mesh.on_drain(server.drain)
    mesh.background(server.run())


async def sweep(store: ProxyStore, others: tuple[QuotaStore, BreakerStore], days: int) -> None:
    """Deletes what is too old, for ever."""
    while True:
        deleted = 0
        try:
            deleted = await store.sweep(keys_live=KEY_LIVES, calls_live=days * 86_400.0)
            for other in others:
                deleted += await other.sweep()
        except CordboardError as error:
            logger.warning("old calls were not deleted", extra={"problem": type(error).__name__})
        await asyncio.sleep(SWEEP_PAUSE if deleted else SWEEP_EVERY)


def main() -> None:
    """Runs the service to its end."""
    run("proxy", ProxySettings, start)


if __name__ == "__main__":
    main()
