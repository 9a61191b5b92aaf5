"""Starts Flags."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from openfeature.schemas.protobuf.flagd.evaluation.v1.evaluation_pb2_grpc import (
    add_ServiceServicer_to_server as add_evaluation_v1_to_server,
)
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import (
    add_ServiceServicer_to_server as add_evaluation_v2_to_server,
)
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import add_FlagSyncServiceServicer_to_server

from cordboard.core.database import Changes
from cordboard.core.hub_age import HubAge
from cordboard.core.server import run
from cordboard.core.times import SystemClock
from cordboard.flags.approvals import ApprovalRule, Approvals
from cordboard.flags.choices.choices import Choices, Parts
from cordboard.flags.choices.hub import Hub
from cordboard.flags.choices.servicer import ChoiceServicer
from cordboard.flags.choices.store import ChoiceStore
from cordboard.flags.consumers.consumers import Consumers
from cordboard.flags.consumers.servicer import FlagConsumerServicer
from cordboard.flags.consumers.store import ConsumerStore
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.experiments.experiments import Experiments
from cordboard.flags.experiments.exposures import Exposures
from cordboard.flags.experiments.running import RunningExperiments
from cordboard.flags.experiments.servicer import ExperimentServicer
from cordboard.flags.experiments.store import ExperimentStore
from cordboard.flags.experiments.tracking_servicer import TrackingServicer
from cordboard.flags.flags import Flags
from cordboard.flags.history import History
from cordboard.flags.history_servicer import FlagHistoryServicer
from cordboard.flags.openfeature.connect_json_servicer import ConnectJsonServicer
from cordboard.flags.openfeature.evaluation_servicer import EvaluationV1, EvaluationV2
from cordboard.flags.openfeature.events import Events
from cordboard.flags.openfeature.ofrep_events import OfrepEvents
from cordboard.flags.openfeature.ofrep_servicer import OfrepServicer
from cordboard.flags.openfeature.sync_servicer import FlagSync
from cordboard.flags.openfeature.tickets import Tickets
from cordboard.flags.proposals.acts import Acts
from cordboard.flags.proposals.proposals import Proposals
from cordboard.flags.proposals.servicer import ProposalServicer
from cordboard.flags.proposals.store import ProposalStore
from cordboard.flags.replica import Replica
from cordboard.flags.replica_servicer import FlagReplicaServicer
from cordboard.flags.rollouts.guards import Guards
from cordboard.flags.rollouts.outcome_servicer import OutcomeServicer
from cordboard.flags.rollouts.rollouts import Rollouts
from cordboard.flags.rollouts.servicer import RolloutServicer
from cordboard.flags.rollouts.store import RolloutStore
from cordboard.flags.rollouts.targets import Targets
from cordboard.flags.servicer import FlagServicer
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.store import CHANNEL, FlagStore
from cordboard.flags.v1.choice_service_pb2_grpc import add_ChoiceServiceServicer_to_server
from cordboard.flags.v1.connect_json_service_pb2_grpc import add_ConnectJsonServiceServicer_to_server
from cordboard.flags.v1.consumer_service_pb2_grpc import add_FlagConsumerServiceServicer_to_server
from cordboard.flags.v1.experiment_service_pb2_grpc import add_ExperimentServiceServicer_to_server
from cordboard.flags.v1.flag_service_pb2_grpc import add_FlagServiceServicer_to_server
from cordboard.flags.v1.history_service_pb2_grpc import add_FlagHistoryServiceServicer_to_server
from cordboard.flags.v1.ofrep_service_pb2_grpc import add_OfrepServiceServicer_to_server
from cordboard.flags.v1.outcome_service_pb2_grpc import add_OutcomeServiceServicer_to_server
from cordboard.flags.v1.proposal_service_pb2_grpc import add_ProposalServiceServicer_to_server
from cordboard.flags.v1.replica_service_pb2_grpc import add_FlagReplicaServiceServicer_to_server
from cordboard.flags.v1.rollout_service_pb2_grpc import add_RolloutServiceServicer_to_server
from cordboard.flags.v1.tracking_service_pb2_grpc import add_TrackingServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process

# Far longer than a report may be on its way.
REPORTERS_LIVE: Final = timedelta(days=1)


async def start(mesh: Process[FlagsSettings]) -> None:
    """Wires the parts of Flags."""
    database = mesh.database()
    store = FlagStore(database)
    live = LiveFlags(store, max_staleness=mesh.settings.flag_max_staleness_seconds)
    changes = Changes(database, CHANNEL)
    approvals = Approvals(map(ApprovalRule.parse, mesh.settings.approvals))
    flags = Flags(store, mesh.journal(), live, SystemClock(), approvals)
    trials = ExperimentStore(database)
    running = RunningExperiments(trials, store)
    exposures = Exposures(trials, running, live, SystemClock(), reporters_live=REPORTERS_LIVE)
    experiments = Experiments(trials, flags, running, mesh.journal(), SystemClock())
    add_ExperimentServiceServicer_to_server(ExperimentServicer(experiments), mesh.server)
    add_TrackingServiceServicer_to_server(TrackingServicer(live, exposures), mesh.server)
    add_FlagServiceServicer_to_server(FlagServicer(flags, live, exposures), mesh.server)
    add_FlagReplicaServiceServicer_to_server(FlagReplicaServicer(Replica(flags, live)), mesh.server)
    plans, clock = RolloutStore(database), SystemClock()
    catalog = (lambda: mesh.channels.to("catalog")) if mesh.settings.catalog_address else None
    rollouts = Rollouts(plans, flags, mesh.journal(), clock, tiers=mesh.settings.tiers, targets=Targets(catalog))
    choices = Choices(Parts(ChoiceStore(database), flags, store, plans, mesh.journal(), Hub(catalog)))
    add_ChoiceServiceServicer_to_server(ChoiceServicer(choices), mesh.server)
    history = History(store)
    add_FlagHistoryServiceServicer_to_server(FlagHistoryServicer(history), mesh.server)
    proposals = Proposals(ProposalStore(database), Acts(flags, rollouts), history, mesh.journal(), clock)
    add_ProposalServiceServicer_to_server(ProposalServicer(proposals), mesh.server)
    guards = Guards(plans, rollouts, clock, reporters_live=REPORTERS_LIVE)
    add_OutcomeServiceServicer_to_server(OutcomeServicer(guards, exposures), mesh.server)
    add_RolloutServiceServicer_to_server(RolloutServicer(rollouts), mesh.server)
    consumers = Consumers(ConsumerStore(database), live, clock)
    add_FlagConsumerServiceServicer_to_server(FlagConsumerServicer(consumers, clock), mesh.server)
    _serve_openfeature(mesh, store, live, consumers, exposures)
    mesh.add_check("flags", live.check)
    mesh.copies.add(live.copy)
    mesh.background(changes.run())
    mesh.background(live.run(changes))
    mesh.background(running.run(changes))
    mesh.background(consumers.run())
    mesh.background(exposures.run())
    mesh.background(rollouts.run())
    if catalog is not None:
        mesh.background(HubAge(catalog, mesh.copies, clock).run())


def _serve_openfeature(
    mesh: Process[FlagsSettings], store: FlagStore, live: LiveFlags, consumers: Consumers, exposures: Exposures
) -> None:
    events, tickets = Events(live, consumers), Tickets(store, SystemClock())
    # Read before the first call: who asks for all flags gets a ticket, and the database may be away by then.
    mesh.add_check("tickets", tickets.check)
    first, second = EvaluationV1(live, events, exposures), EvaluationV2(live, events, exposures)
    add_evaluation_v1_to_server(first, mesh.server)
    add_evaluation_v2_to_server(second, mesh.server)
    add_ConnectJsonServiceServicer_to_server(ConnectJsonServicer(first, second), mesh.server)
    add_FlagSyncServiceServicer_to_server(FlagSync(live, consumers), mesh.server)
    news = OfrepEvents(live, consumers, tickets, SystemClock())
    add_OfrepServiceServicer_to_server(OfrepServicer(live, exposures, tickets, news), mesh.server)


def main() -> None:
    """Runs the service to its end."""
    run("flags", FlagsSettings, start)


if __name__ == "__main__":
    main()
