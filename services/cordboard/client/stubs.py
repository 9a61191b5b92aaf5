"""The stubs of every public service of the mesh, over one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from cordboard.auth.v1.connect_link_service_pb2_grpc import ConnectLinkServiceStub
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.auth.v1.incident_service_pb2_grpc import IncidentServiceStub
from cordboard.auth.v1.login_service_pb2_grpc import LoginServiceStub
from cordboard.auth.v1.revocation_service_pb2_grpc import RevocationServiceStub
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.auth.v1.vault_service_pb2_grpc import VaultServiceStub
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceStub
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.source_service_pb2_grpc import SourceServiceStub
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.common.v1.audit_service_pb2_grpc import AuditServiceStub
from cordboard.flags.v1.choice_service_pb2_grpc import ChoiceServiceStub
from cordboard.flags.v1.consumer_service_pb2_grpc import FlagConsumerServiceStub
from cordboard.flags.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.history_service_pb2_grpc import FlagHistoryServiceStub
from cordboard.flags.v1.proposal_service_pb2_grpc import ProposalServiceStub
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceStub
from cordboard.flags.v1.tracking_service_pb2_grpc import TrackingServiceStub
from cordboard.proxy.v1.backend_service_pb2_grpc import BackendServiceStub
from cordboard.proxy.v1.batch_service_pb2_grpc import BatchServiceStub
from cordboard.proxy.v1.breaker_service_pb2_grpc import BreakerServiceStub
from cordboard.proxy.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from cordboard.proxy.v1.event_service_pb2_grpc import EventServiceStub
from cordboard.proxy.v1.forward_service_pb2_grpc import ForwardServiceStub
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceStub
from cordboard.proxy.v1.polling_trigger_service_pb2_grpc import PollingTriggerServiceStub
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from cordboard.proxy.v1.quota_service_pb2_grpc import QuotaServiceStub
from cordboard.proxy.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from cordboard.proxy.v1.sealed_input_service_pb2_grpc import SealedInputServiceStub
from cordboard.proxy.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from cordboard.telemetry.v1.alert_service_pb2_grpc import AlertServiceStub
from cordboard.telemetry.v1.log_service_pb2_grpc import LogServiceStub
from cordboard.telemetry.v1.metrics_service_pb2_grpc import MetricsServiceStub
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub
from cordboard.uqi.v1.query_editor_service_pb2_grpc import QueryEditorServiceStub

if TYPE_CHECKING:
    import grpc


class Stubs:
    """One stub for each service, by the name of what it is about."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Takes the channel that all of them use."""
        self._auth(channel)
        self._common(channel)
        self._catalog(channel)
        self._uqi(channel)
        self._flags(channel)
        self._proxy(channel)
        self._telemetry(channel)

    def _auth(self, channel: grpc.aio.Channel) -> None:
        self.workspaces = WorkspaceServiceStub(channel)
        self.tokens = TokenServiceStub(channel)
        self.login = LoginServiceStub(channel)
        self.api_keys = ApiKeyServiceStub(channel)
        self.revocations = RevocationServiceStub(channel)
        self.connect = ConnectServiceStub(channel)
        self.connect_links = ConnectLinkServiceStub(channel)
        self.connections = ConnectionServiceStub(channel)
        self.vault = VaultServiceStub(channel)
        self.incidents = IncidentServiceStub(channel)

    def _common(self, channel: grpc.aio.Channel) -> None:
        self.audit = AuditServiceStub(channel)

    def _catalog(self, channel: grpc.aio.Channel) -> None:
        self.catalog = CatalogServiceStub(channel)
        self.governance = GovernanceServiceStub(channel)
        self.drifts = DriftServiceStub(channel)
        self.sync = SyncServiceStub(channel)
        self.sources = SourceServiceStub(channel)

    def _uqi(self, channel: grpc.aio.Channel) -> None:
        self.forms = FormServiceStub(channel)
        self.query_editors = QueryEditorServiceStub(channel)

    def _flags(self, channel: grpc.aio.Channel) -> None:
        self.flags = FlagServiceStub(channel)
        self.flag_history = FlagHistoryServiceStub(channel)
        self.flag_consumers = FlagConsumerServiceStub(channel)
        self.rollouts = RolloutServiceStub(channel)
        self.choices = ChoiceServiceStub(channel)
        self.proposals = ProposalServiceStub(channel)
        self.experiments = ExperimentServiceStub(channel)
        self.tracking = TrackingServiceStub(channel)

    def _proxy(self, channel: grpc.aio.Channel) -> None:
        self.proxy = ProxyServiceStub(channel)
        self.batches = BatchServiceStub(channel)
        self.sealed_inputs = SealedInputServiceStub(channel)
        self.forwarding = ForwardServiceStub(channel)
        self.jobs = JobServiceStub(channel)
        self.dead_letters = DeadLetterServiceStub(channel)
        self.schedules = ScheduleServiceStub(channel)
        self.events = EventServiceStub(channel)
        self.breakers = BreakerServiceStub(channel)
        self.quotas = QuotaServiceStub(channel)
        self.backends = BackendServiceStub(channel)
        self.subscriptions = SubscriptionServiceStub(channel)
        self.polling_triggers = PollingTriggerServiceStub(channel)

    def _telemetry(self, channel: grpc.aio.Channel) -> None:
        self.metrics = MetricsServiceStub(channel)
        self.alerts = AlertServiceStub(channel)
        self.logs = LogServiceStub(channel)
        self.traces = TraceServiceStub(channel)
