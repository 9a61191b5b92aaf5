"""AlertService: messages in, one question or change, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from google.protobuf.empty_pb2 import Empty

from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import to_duration, to_seconds, to_timestamp
from cordboard.telemetry.alerts.alert import AlertState
from cordboard.telemetry.alerts.attention import Kind
from cordboard.telemetry.alerts.rules import BY_NAME, PAGE
from cordboard.telemetry.v1 import alert_service_pb2 as pb
from cordboard.telemetry.v1.alert_service_pb2_grpc import AlertServiceServicer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cordboard.core.audit import Journal
    from cordboard.telemetry.alerts.alert import Alert
    from cordboard.telemetry.alerts.attention import Attention, Item
    from cordboard.telemetry.alerts.message import Wording
    from cordboard.telemetry.alerts.rules import Rule
    from cordboard.telemetry.alerts.silences import Silences
    from cordboard.telemetry.alerts.store import AlertStore, Silence
    from cordboard.telemetry.alerts.telling import Telling

_FIRST: Final = ("", UUID(int=0))
_KINDS: Final = {
    Kind.ALERT: pb.AttentionItem.KIND_ALERT,
    Kind.INTEGRATION_FAILING: pb.AttentionItem.KIND_INTEGRATION_FAILING,
    Kind.BREAKER_OPEN: pb.AttentionItem.KIND_BREAKER_OPEN,
    Kind.DEAD_LETTERS: pb.AttentionItem.KIND_DEAD_LETTERS,
    Kind.EDGE_STALE: pb.AttentionItem.KIND_EDGE_STALE,
    Kind.DRIFT: pb.AttentionItem.KIND_DRIFT,
}
_STATES: Final = {
    AlertState.PENDING: pb.Alert.STATE_PENDING,
    AlertState.FIRING: pb.Alert.STATE_FIRING,
    AlertState.RESOLVED: pb.Alert.STATE_RESOLVED,
}


class AlertServicer(AlertServiceServicer):
    """Answers AlertService."""

    def __init__(
        self,
        attention: Attention,
        store: AlertStore,
        silences: Silences,
        telling: Telling,
        wording: Wording,
        journal: Journal,
        *,
        interval: float,
    ) -> None:
        """Takes what answers, and how often rules are evaluated that do not say."""
        self._attention = attention
        self._store = store
        self._silences = silences
        self._telling = telling
        self._wording = wording
        self._journal = journal
        self._interval = interval

    async def ListAttention(self, _request: pb.ListAttentionRequest, _context: object) -> pb.ListAttentionResponse:
        return pb.ListAttentionResponse(items=[self._item(item) for item in await self._attention.items()])

    async def ListAlerts(self, request: pb.ListAlertsRequest, _context: object) -> pb.ListAlertsResponse:
        paging = Paging.of(request)
        _check_rule(request.rule)
        found = await self._store.page(
            after=_after(paging.after), state=request.state, rule=request.rule, limit=paging.size + 1
        )
        silences, now = await self._silences.holding()
        page = found[: paging.size]
        token = paging.token(f"{page[-1].rule}:{page[-1].id.hex}") if len(found) > paging.size else ""
        return pb.ListAlertsResponse(alerts=[self._alert(one, silences, now) for one in page], next_page_token=token)

    async def ListAlertRules(self, _request: pb.ListAlertRulesRequest, _context: object) -> pb.ListAlertRulesResponse:
        turns = await self._store.turns()
        rules = (self._rule(rule, turns.get(rule.name)) for _, rule in sorted(BY_NAME.items()))
        return pb.ListAlertRulesResponse(rules=rules)

    async def SilenceAlert(self, request: pb.SilenceAlertRequest, _context: object) -> pb.Silence:
        seconds = to_seconds(request.duration)
        return _silence(await self._silences.silence(request.rule, dict(request.labels), seconds, request.reason))

    async def ListSilences(self, request: pb.ListSilencesRequest, _context: object) -> pb.ListSilencesResponse:
        paging = Paging.of(request)
        found = await self._silences.listed(before=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].id) if len(found) > paging.size else ""
        return pb.ListSilencesResponse(silences=map(_silence, found[: paging.size]), next_page_token=token)

    async def DeleteSilence(self, request: pb.DeleteSilenceRequest, _context: object) -> Empty:
        (silence,) = parse(request.name, "silences/*")
        await self._silences.end(silence)
        return Empty()

    async def TestAlert(self, _request: pb.TestAlertRequest, _context: object) -> pb.TestAlertResponse:
        problems = await self._telling.test()
        await self._journal.append_batched(Entry("telemetry.alert.test", "alerts", details=problems))
        results = [
            pb.TestAlertResponse.Result(channel=channel, delivered=not problem, problem=problem)
            for channel, problem in sorted(problems.items())
        ]
        return pb.TestAlertResponse(results=results)

    def _item(self, item: Item) -> pb.AttentionItem:
        message = pb.AttentionItem(
            kind=_KINDS[item.kind],
            severity=_severity(item.severity),
            summary=item.summary,
            resource=item.resource,
            value=item.value,
            trace=f"traces/{item.trace}" if item.trace else "",
            search=pb.TraceSearch(
                service=item.lead.service, attributes=dict(item.lead.attributes), errors_only=item.lead.errors_only
            ),
            runbook=self._wording.runbook(item.rule),
            alert=f"alerts/{item.alert}" if item.alert else "",
            silenced=item.silenced,
        )
        if item.since is not None:
            message.start_time.CopyFrom(to_timestamp(item.since))
        return message

    def _alert(self, alert: Alert, silences: Sequence[Silence], now: datetime) -> pb.Alert:
        rule = BY_NAME.get(alert.rule)
        message = pb.Alert(
            name=f"alerts/{alert.id.hex}",
            rule=alert.rule,
            state=_STATES[alert.state],
            severity=_severity(rule.severity) if rule else pb.SEVERITY_UNSPECIFIED,
            labels=dict(alert.labels),
            summary=alert.summary,
            value=alert.value,
            trace=f"traces/{alert.trace}" if alert.trace else "",
            runbook=self._wording.runbook(alert.rule),
            start_time=to_timestamp(alert.start_time),
            silence=next((f"silences/{one.id}" for one in silences if one.covers(alert, now)), ""),
        )
        if alert.fire_time is not None:
            message.fire_time.CopyFrom(to_timestamp(alert.fire_time))
        if alert.resolve_time is not None:
            message.resolve_time.CopyFrom(to_timestamp(alert.resolve_time))
        return message

    def _rule(self, rule: Rule, evaluated: datetime | None) -> pb.AlertRule:
        message = pb.AlertRule(
            rule=rule.name,
            severity=_severity(rule.severity),
            meaning=rule.meaning,
            hold_duration=to_duration(rule.hold),
            interval_duration=to_duration(rule.interval or self._interval),
            runbook=self._wording.runbook(rule.name),
        )
        if evaluated is not None:
            message.evaluate_time.CopyFrom(to_timestamp(evaluated))
        return message


def _severity(name: str) -> pb.Severity.ValueType:
    return pb.SEVERITY_PAGE if name == PAGE else pb.SEVERITY_TICKET


def _check_rule(rule: str) -> None:
    if rule and rule not in BY_NAME:
        raise InvalidFields.one("rule", f"must be one of {', '.join(sorted(BY_NAME))}")


def _after(token: str) -> tuple[str, UUID]:
    if not token:
        return _FIRST
    rule, _, number = token.partition(":")
    try:
        return rule, UUID(hex=number)
    except ValueError:
        raise InvalidFields.one("page_token", "is not a token of this list") from None


def _silence(silence: Silence) -> pb.Silence:
    return pb.Silence(
        name=f"silences/{silence.id}",
        rule=silence.rule,
        labels=dict(silence.labels),
        reason=silence.reason,
        start_time=to_timestamp(silence.start_time),
        end_time=to_timestamp(silence.end_time),
        creator=silence.creator,
    )
