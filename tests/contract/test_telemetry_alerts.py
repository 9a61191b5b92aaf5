"""Alerts from stored figures: raised, told to people by every channel, kept quiet, and shown with their traces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from aiohttp import web
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub as Otlp
from pydantic import SecretStr
from sqlalchemy import text

from cordboard.common.v1 import audit_service_pb2
from cordboard.common.v1.audit_service_pb2_grpc import AuditServiceStub
from cordboard.core.database import Database
from cordboard.core.measures import Measures, Reading
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.alerts.alert import AlertState, advance
from cordboard.telemetry.alerts.rules import BY_NAME
from cordboard.telemetry.alerts.store import AlertStore
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import alert_service_pb2 as pb
from cordboard.telemetry.v1.alert_service_pb2_grpc import AlertServiceStub
from tests.fixtures.mesh import until
from tests.fixtures.otlp import a_span, an_export, exporter
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.fixtures.sites import listening

TRACE: Final = bytes(range(16))
SECRET: Final = "T0P53CR3T"


class Receiver:
    """What messages arrive at: two webhooks and a mail server on one machine."""

    def __init__(self) -> None:
        self.webhook: list[dict[str, Any]] = []
        self.slack: list[dict[str, Any]] = []
        self.mails: list[str] = []
        self.keys: list[str] = []
        self.failures = 0
        """How many requests are answered with 503 before one is taken."""
        self.url, self.mail_port = "", 0
        self.talks: list[asyncio.Task[Any]] = []
        """Who sends mail: nobody does any more when the test ends."""

    async def hook(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["idempotency-key"])
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        (self.slack if request.path.startswith("/slack") else self.webhook).append(await request.json())
        return web.Response()

    async def mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speaks as much of SMTP (RFC 5321) as a sender needs."""
        task = asyncio.current_task()
        assert task is not None
        self.talks.append(task)
        try:
            writer.write(b"220 here\r\n")
            while line := (await reader.readline()).decode().strip():
                if line.upper() == "DATA":
                    writer.write(b"354 go on\r\n")
                    self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                if line.upper() == "QUIT":
                    break
                writer.write(b"250 well\r\n")
            writer.write(b"221 bye\r\n")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{kind}/{secret}", made.hook)
    async with listening(app) as url:
        made.url = url
        mail = await asyncio.start_server(made.mail, "127.0.0.1", 0)
        made.mail_port = mail.sockets[0].getsockname()[1]
        yield made
        mail.close()
        for talk in made.talks:
            talk.cancel()
        await asyncio.gather(*made.talks, return_exceptions=True)


class Telemetry:
    """The running service, as processes and operators use it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.alerts = AlertServiceStub(served.as_role("operator"))
        self._otlp = Otlp(served.channel("proxy"))  # type: ignore[no-untyped-call]
        self._spans = exporter(served.channel("proxy"))

    async def gauge(self, name: str, label: str, states: dict[str, float]) -> None:
        measures = Measures("proxy")
        measures.gauge(name, "1", (label,), lambda: [Reading((one,), state) for one, state in states.items()])
        await self._otlp.Export(measures.collect(), timeout=20)

    async def breaker(self, **states: float) -> None:
        await self.gauge("cordboard.breaker.state", "cordboard.integration", states)

    async def failing_attempts(self, integration: str, count: int, status: int = 503) -> None:
        attributes = {
            "cordboard.integration": integration,
            "url.template": "/deals",
            "http.response.status_code": status,
        }
        spans = [a_span("GET", status=2, kind=3, trace_id=TRACE, attributes=attributes) for _ in range(count)]
        await self._spans.Export(an_export(*spans), timeout=20)

    async def failed_refreshes(self, integration: str, count: int) -> bytes:
        """Tells of refreshes that failed at a vendor; returns the trace of one."""
        measures, trace = Measures("auth"), bytes(range(32, 48))
        durations = measures.histogram("cordboard.refresh.duration", "s", ("cordboard.integration", "error.type"))
        for _ in range(count):
            durations.record(0.1, (integration, "unknown"))
        await self._otlp.Export(measures.collect(), timeout=20)
        span = a_span("refresh", status=2, trace_id=trace, attributes={"cordboard.integration": integration})
        await self._spans.Export(an_export(span, service="auth"), timeout=20)
        return trace

    async def refused_calls(self, integration: str) -> None:
        attributes = {"cordboard.integration": integration, "cordboard.error.reason": "BREAKER_OPEN"}
        span = a_span("Execute", status=2, kind=2, trace_id=bytes(range(16, 32)), attributes=attributes)
        await self._spans.Export(an_export(span), timeout=20)

    async def listed(self, state: pb.Alert.State.ValueType = pb.Alert.STATE_FIRING) -> list[pb.Alert]:
        return list((await self.alerts.ListAlerts(pb.ListAlertsRequest(state=state), timeout=20)).alerts)

    async def attention(self) -> list[pb.AttentionItem]:
        return list((await self.alerts.ListAttention(pb.ListAttentionRequest(), timeout=20)).items)

    async def fires(self, rule: str) -> pb.Alert:
        async def found() -> pb.Alert | None:
            return next((one for one in await self.listed() if one.rule == rule), None)

        alert = await until(found, f"{rule} to fire")
        assert alert is not None
        return alert


def settings(receiver: Receiver, **others: Any) -> dict[str, Any]:
    here = receiver.url
    return {
        "alert_interval_seconds": 0.2,
        "alert_group_seconds": 0.2,
        "alert_webhook_url": SecretStr(f"{here}/hook/{SECRET}"),
        "alert_slack_url": SecretStr(f"{here}/slack/{SECRET}"),
        "alert_email_to": ("night@example.com", "day@example.com"),
        "alert_email_from": "mesh@example.com",
        "alert_smtp_address": f"127.0.0.1:{receiver.mail_port}",
        "alert_smtp_security": "none",
        "egress_allowed_networks": ("127.0.0.0/8",),
        "public_url": "https://mesh.example",
    } | others


Start = Callable[..., Any]


@pytest.fixture
async def telemetry(serving: Serving, database: Databases, receiver: Receiver) -> AsyncIterator[Telemetry]:
    url = database("telemetry").url
    async with serving("telemetry", TelemetrySettings, start, database_url=url, **settings(receiver)) as served:
        yield Telemetry(served)


async def seen(condition: Callable[[], bool]) -> None:
    """Returns when it holds."""

    async def look() -> bool:
        return condition()

    await until(look, "what should have arrived")


def about(found: Sequence[pb.AttentionItem], kind: pb.AttentionItem.Kind.ValueType) -> list[pb.AttentionItem]:
    return [item for item in found if item.kind == kind]


async def test_an_open_breaker_fires_is_told_everywhere_with_its_trace_and_is_resolved(
    telemetry: Telemetry, receiver: Receiver
) -> None:
    await telemetry.failing_attempts("pipedrive", 1)
    # What an open breaker refuses is newer, and shows no cause.
    await telemetry.refused_calls("pipedrive")
    await telemetry.breaker(pipedrive=2.0, zendesk=1.0)
    alert = await telemetry.fires("BreakerOpen")
    assert dict(alert.labels) == {"cordboard_integration": "pipedrive"}
    assert (alert.severity, alert.trace) == (pb.SEVERITY_PAGE, f"traces/{TRACE.hex()}")
    assert alert.runbook == "docs/runbook.md#breakeropen"
    await seen(lambda: bool(receiver.webhook and receiver.slack and receiver.mails))
    [told] = receiver.webhook[0]["alerts"]
    assert (receiver.webhook[0]["status"], told["labels"]["alertname"]) == ("firing", "BreakerOpen")
    assert told["annotations"]["trace"] == f"https://mesh.example/v1/traces/{TRACE.hex()}"
    assert "the breaker of pipedrive is open" in receiver.slack[0]["text"]
    mail = receiver.mails[0]
    assert "Subject: [FIRING] BreakerOpen" in mail
    assert "To: night@example.com, day@example.com" in mail
    assert "runbook: docs/runbook.md#breakeropen" in mail

    await telemetry.breaker(pipedrive=0.0)
    await seen(lambda: any(message["status"] == "resolved" for message in receiver.webhook))
    assert await telemetry.listed() == []
    [over] = await telemetry.listed(pb.Alert.STATE_RESOLVED)
    assert over.name == alert.name
    assert over.HasField("resolve_time")


async def test_refreshes_that_fail_lead_to_the_trace_of_one_though_calls_fail_too(telemetry: Telemetry) -> None:
    trace = await telemetry.failed_refreshes("pipedrive", 3)
    await telemetry.failing_attempts("pipedrive", 1)
    alert = await telemetry.fires("RefreshFailing")
    assert alert.trace == f"traces/{trace.hex()}"
    [item] = [each for each in await telemetry.attention() if each.runbook.endswith("#refreshfailing")]
    assert (item.search.service, dict(item.search.attributes)) == ("auth", {"cordboard.integration": "pipedrive"})


async def test_what_is_not_taken_is_sent_again_under_the_same_key(
    telemetry: Telemetry, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordboard.telemetry.alerts.telling.FIRST_WAIT", 0.1)
    receiver.failures = 3
    await telemetry.breaker(pipedrive=2.0)
    await seen(lambda: bool(receiver.webhook and receiver.slack))
    # Two messages in five requests: three were refused, under the key that was taken in the end.
    assert len(receiver.keys) == 5
    assert len(set(receiver.keys)) == 2


async def test_a_silence_keeps_it_quiet_listed_and_in_the_journal_until_it_ends(
    telemetry: Telemetry, receiver: Receiver
) -> None:
    request = pb.SilenceAlertRequest(
        rule="BreakerOpen",
        labels={"cordboard_integration": "pipedrive"},
        duration=Duration(seconds=3600),
        reason="they move house",
    )
    silence = await telemetry.alerts.SilenceAlert(request, timeout=20)
    await telemetry.breaker(pipedrive=2.0, zendesk=2.0)
    await seen(lambda: bool(receiver.webhook))
    assert "zendesk" in json.dumps(receiver.webhook), "the control: what is not silenced is told"
    assert "pipedrive" not in json.dumps(receiver.webhook)
    alerts = {alert.labels["cordboard_integration"]: alert.silence for alert in await telemetry.listed()}
    assert alerts == {"pipedrive": silence.name, "zendesk": ""}
    shown = about(await telemetry.attention(), pb.AttentionItem.KIND_ALERT)
    assert [(item.resource, item.silenced) for item in shown] == [
        ("integrations/zendesk", False),
        ("integrations/pipedrive", True),
    ]
    [listed] = (await telemetry.alerts.ListSilences(pb.ListSilencesRequest(), timeout=20)).silences
    assert (listed.name, listed.reason) == (silence.name, "they move house")

    await telemetry.alerts.DeleteSilence(pb.DeleteSilenceRequest(name=silence.name), timeout=20)
    await seen(lambda: "pipedrive" in json.dumps(receiver.webhook))
    with pytest.raises(grpc.aio.AioRpcError) as again:
        await telemetry.alerts.DeleteSilence(pb.DeleteSilenceRequest(name=silence.name), timeout=20)
    assert again.value.code() is grpc.StatusCode.NOT_FOUND
    journal = AuditServiceStub(telemetry.served.as_role("operator"))
    entries = (await journal.ListAuditEntries(audit_service_pb2.ListAuditEntriesRequest(), timeout=20)).entries
    actions = ["telemetry.silence.create", "telemetry.silence.delete"]
    assert [(entry.action, entry.resource) for entry in entries] == [(action, silence.name) for action in actions]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"rule": "Nonsense"}, "rule"),
        ({"rule": ""}, "labels"),
        ({"rule": "EdgeStale", "labels": {"a": "\0"}}, "labels"),
        ({"rule": "EdgeStale", "duration": Duration(seconds=0)}, "duration"),
        ({"rule": "EdgeStale", "duration": Duration(seconds=31 * 86_400)}, "duration"),
        ({"rule": "EdgeStale", "reason": " "}, "reason"),
    ],
)
async def test_a_silence_that_cannot_be_meant_is_refused(
    telemetry: Telemetry, fields: dict[str, Any], field: str
) -> None:
    given: dict[str, Any] = {"duration": Duration(seconds=60), "reason": "moving"} | fields
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await telemetry.alerts.SilenceAlert(pb.SilenceAlertRequest(**given), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (refused.value.details() or "").startswith(f"{field}:")


async def test_attention_names_what_is_wrong_before_any_alert_does(telemetry: Telemetry) -> None:
    assert await telemetry.attention() == []
    began = time.monotonic()
    await telemetry.failing_attempts("pipedrive", 5)
    await telemetry.failing_attempts("github", 2)
    await telemetry.failing_attempts("zendesk", 5, status=404)
    [failing] = await telemetry.attention()
    assert time.monotonic() - began < 20
    assert (failing.kind, failing.resource) == (pb.AttentionItem.KIND_INTEGRATION_FAILING, "integrations/pipedrive")
    assert (failing.value, failing.trace) == (5, f"traces/{TRACE.hex()}")
    assert dict(failing.search.attributes) == {"cordboard.integration": "pipedrive"}
    assert failing.search.errors_only

    await telemetry.gauge("cordboard.dead_letters", "cordboard.integration", {"pipedrive": 3.0, "zendesk": 0.0})
    await telemetry.gauge("cordboard.edge.staleness", "cordboard.edge", {"berlin": 3700.0, "paris": 3.0})
    await telemetry.gauge("cordboard.drift.actions", "cordboard.integration", {"github": 2.0, "zendesk": 0.0})
    found = await telemetry.attention()
    [letters] = about(found, pb.AttentionItem.KIND_DEAD_LETTERS)
    assert (letters.summary, letters.trace) == ("3 dead letters of pipedrive wait", f"traces/{TRACE.hex()}")
    [edge] = about(found, pb.AttentionItem.KIND_EDGE_STALE)
    assert (edge.resource, edge.summary) == ("edges/berlin", "the edge berlin is 1h 1m 40s behind")
    assert edge.runbook == "docs/runbook.md#edgestale"
    [drift] = about(found, pb.AttentionItem.KIND_DRIFT)
    assert (drift.resource, drift.value) == ("integrations/github", 2)
    assert drift.runbook == "docs/runbook.md#integrationdrifting"
    urgent = [item.severity for item in found]
    assert urgent == sorted(urgent), "pages come before tickets"


async def test_a_test_reaches_every_channel_and_problems_hold_no_address(
    telemetry: Telemetry, receiver: Receiver
) -> None:
    results = (await telemetry.alerts.TestAlert(pb.TestAlertRequest(), timeout=60)).results
    assert [(one.channel, one.delivered) for one in results] == [("email", True), ("slack", True), ("webhook", True)]
    assert "this is a test" in receiver.slack[0]["text"]
    receiver.failures = 2
    results = (await telemetry.alerts.TestAlert(pb.TestAlertRequest(), timeout=60)).results
    problems = {one.channel: one.problem for one in results}
    assert problems == {"email": "", "slack": "answered 503", "webhook": "answered 503"}


async def test_nothing_is_sent_where_the_egress_rules_do_not_let_it(
    serving: Serving, database: Databases, receiver: Receiver
) -> None:
    url, closed = database("telemetry").url, settings(receiver, egress_allowed_networks=())
    async with serving("telemetry", TelemetrySettings, start, database_url=url, **closed) as served:
        results = (await Telemetry(served).alerts.TestAlert(pb.TestAlertRequest(), timeout=60)).results
    assert [one.delivered for one in results] == [False, False, False]
    assert all(one.problem and SECRET not in one.problem and "127.0.0.1" not in one.problem for one in results)
    assert (receiver.webhook, receiver.slack, receiver.mails) == ([], [], [])


async def test_two_replicas_tell_once_and_evaluate_each_turn_once(
    serving: Serving, database: Databases, receiver: Receiver
) -> None:
    url = database("telemetry").url
    given = settings(receiver, alert_repeat_seconds=3600.0)
    async with AsyncExitStack() as replicas:
        first, _second = [
            await replicas.enter_async_context(
                serving("telemetry", TelemetrySettings, start, database_url=url, **given)
            )
            for _ in range(2)
        ]
        telemetry = Telemetry(first)
        await telemetry.breaker(pipedrive=2.0)
        await seen(lambda: bool(receiver.webhook and receiver.slack and receiver.mails))
        rules = (await telemetry.alerts.ListAlertRules(pb.ListAlertRulesRequest(), timeout=20)).rules
        began = {rule.rule: rule.evaluate_time.ToNanoseconds() for rule in rules}

        async def evaluated_again() -> bool:
            found = (await telemetry.alerts.ListAlertRules(pb.ListAlertRulesRequest(), timeout=20)).rules
            again = {one.rule for one in found if one.evaluate_time.ToNanoseconds() > began[one.rule]}
            return again >= set(began) - {"IntegrationSlower"}

        for _ in range(2):
            await until(evaluated_again, "every rule to be evaluated again")
    # However often both looked: one message to each channel, for nothing changed.
    assert (len(receiver.webhook), len(receiver.slack), len(receiver.mails)) == (1, 1, 1)
    opened = Database(url)
    async with opened.shared() as connection:
        queued = (await connection.execute(text("SELECT count(*) FROM alert_delivery"))).scalar_one()
    await opened.close()
    assert queued == 3


async def test_only_one_turns_a_rule_at_a_time(database: Databases) -> None:
    opened = Database(database("telemetry").url)
    store, now = AlertStore(opened), datetime.now(UTC)
    await store.enter(["A", "B"], now)
    async with opened.shared() as one, opened.shared() as other, opened.shared() as third:
        claimed = [await store.claim(connection, ["A", "B"], now) for connection in (one, other, third)]
        assert claimed == ["A", "B", None]
        await store.evaluated(one, "A", now, now + timedelta(seconds=15))
    async with opened.shared() as connection:
        assert await store.claim(connection, ["A"], now) is None
        assert await store.claim(connection, ["A"], now + timedelta(seconds=15)) == "A"
        assert await store.claim(connection, ["B"], now) == "B", "what was not finished is due again"
    await opened.close()


async def test_an_evaluation_leaves_what_was_told_as_it_was_and_an_alert_anew_was_not_told(database: Databases) -> None:
    opened = Database(database("telemetry").url)
    store, now = AlertStore(opened), datetime.now(UTC)
    rule = BY_NAME["BreakerOpen"]
    [alert] = advance(rule, (), {"pipedrive": 2.0}, now).changed
    async with opened.shared() as connection:
        await store.put(connection, [alert])
        before = await store.of_rule(connection, rule.name)
    async with opened.shared() as connection:
        await store.told(connection, before, now)
    async with opened.shared() as connection:
        # This one was read before it was told.
        await store.put(connection, advance(rule, before, {"pipedrive": 2.0}, now).changed)
        [kept] = await store.of_rule(connection, rule.name)
        assert (kept.told, kept.told_time) == (AlertState.FIRING, now)
        over = advance(rule, [kept], {}, now).changed
        anew = advance(rule, over, {"pipedrive": 2.0}, now + timedelta(seconds=60)).changed
        await store.put(connection, anew)
        [again] = await store.of_rule(connection, rule.name)
        assert again.told == 0
    await opened.close()
