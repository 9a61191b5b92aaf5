"""Wires the parts of alerts, for Telemetry's `__main__`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.egress import Egress
from cordboard.telemetry.alerts.attention import Attention
from cordboard.telemetry.alerts.channels import Channel, EmailChannel, SlackChannel, WebhookChannel
from cordboard.telemetry.alerts.evidence import Evidence
from cordboard.telemetry.alerts.figures import Figures
from cordboard.telemetry.alerts.message import Wording
from cordboard.telemetry.alerts.rules import RULES
from cordboard.telemetry.alerts.servicer import AlertServicer
from cordboard.telemetry.alerts.silences import Silences
from cordboard.telemetry.alerts.store import AlertStore
from cordboard.telemetry.alerts.telling import Pace, Telling
from cordboard.telemetry.alerts.watch import Watch
from cordboard.telemetry.v1.alert_service_pb2_grpc import add_AlertServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process
    from cordboard.core.times import Clock
    from cordboard.telemetry.settings import TelemetrySettings
    from cordboard.telemetry.store import SpanStore


def start_alerts(mesh: Process[TelemetrySettings], spans: SpanStore, clock: Clock) -> None:
    """Serves alerts, evaluates their rules, and tells people."""
    settings = mesh.settings
    store, figures, evidence = AlertStore(mesh.database()), Figures(mesh.database()), Evidence(spans)
    wording = Wording(settings.public_url, settings.runbook_url)
    pace = Pace(settings.alert_group_seconds, settings.alert_repeat_seconds)
    telling = Telling(store, _channels(settings), wording, clock, pace)
    mesh.on_close(telling.close)
    interval = settings.alert_interval_seconds
    servicer = AlertServicer(
        Attention(store, figures, evidence, clock),
        store,
        Silences(store, mesh.journal(), clock),
        telling,
        wording,
        mesh.journal(),
        interval=interval,
    )
    add_AlertServiceServicer_to_server(servicer, mesh.server)
    mesh.background(Watch(store, figures, evidence, clock, RULES, interval=interval).run())
    mesh.background(telling.run())


def _channels(settings: TelemetrySettings) -> list[Channel]:
    egress = Egress(settings.egress_allowed_networks)
    found: list[Channel] = []
    if settings.alert_webhook_url.get_secret_value():
        found.append(WebhookChannel(settings.alert_webhook_url, egress))
    if settings.alert_slack_url.get_secret_value():
        found.append(SlackChannel(settings.alert_slack_url, egress))
    if settings.alert_email_to:
        found.append(
            EmailChannel(
                settings.alert_smtp_address,
                egress,
                sender=settings.alert_email_from,
                recipients=settings.alert_email_to,
                security=settings.alert_smtp_security,
                user=settings.alert_smtp_user,
                password=settings.alert_smtp_password,
            )
        )
    return found
