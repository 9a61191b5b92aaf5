"""What needs somebody now: firing alerts, and what will be one soon."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from cordboard.telemetry.alerts.evidence import Evidence, Lead, lead_of
from cordboard.telemetry.alerts.rules import (
    BREAKER,
    BY_NAME,
    DEAD_LETTERS,
    DRIFT,
    EDGE,
    INTEGRATION,
    OPEN,
    PAGE,
    STALE_SECONDS,
    STALENESS,
    TICKET,
    duration,
)
from cordboard.telemetry.spans import NANOS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.core.times import Clock
    from cordboard.telemetry.alerts.figures import Figures
    from cordboard.telemetry.alerts.store import AlertStore

MAX_ITEMS: Final = 500


class Kind(IntEnum):
    """What is wrong."""

    ALERT = 1
    INTEGRATION_FAILING = 2
    BREAKER_OPEN = 3
    DEAD_LETTERS = 4
    EDGE_STALE = 5
    DRIFT = 6


@dataclass(frozen=True)
class Item:
    """One thing that is wrong now."""

    kind: Kind
    severity: str
    summary: str
    resource: str
    value: float
    lead: Lead
    rule: str
    """Whose part of the runbook has what to do."""
    since: datetime | None = None
    trace: str = ""
    alert: str = ""
    silenced: bool = field(default=False)


class Attention:
    """Collects what is wrong."""

    def __init__(self, store: AlertStore, figures: Figures, evidence: Evidence, clock: Clock) -> None:
        """Takes the alerts, the figures and the traces."""
        self._store = store
        self._figures = figures
        self._evidence = evidence
        self._clock = clock

    async def items(self) -> list[Item]:
        """Returns what is wrong now, the most urgent first, what is silenced last."""
        now = self._clock.now()
        parts = await asyncio.gather(self._alerts(now), self._failing(now), self._standing(now))
        items = [item for part in parts for item in part]
        items.sort(key=lambda one: (one.silenced, one.severity != PAGE, one.kind, one.resource, one.rule))
        return items[:MAX_ITEMS]

    async def _alerts(self, now: datetime) -> list[Item]:
        silences = await self._store.silences(at=now)
        return [
            Item(
                Kind.ALERT,
                BY_NAME[alert.rule].severity,
                alert.summary,
                resource_of(alert.labels),
                alert.value,
                lead_of(alert.labels, alert.rule),
                alert.rule,
                alert.start_time,
                alert.trace,
                alert.id.hex,
                any(silence.covers(alert, now) for silence in silences),
            )
            for alert in await self._store.firing()
            if alert.rule in BY_NAME
        ]

    async def _failing(self, now: datetime) -> list[Item]:
        return [
            Item(
                Kind.INTEGRATION_FAILING,
                PAGE,
                f"{one.count} attempts at {one.integration} failed within five minutes",
                f"integrations/{one.integration}",
                float(one.count),
                lead_of({"cordboard_integration": one.integration}),
                "IntegrationFailing",
                datetime.fromtimestamp(one.first // NANOS, UTC),
                one.trace,
            )
            for one in await self._evidence.failures(now)
        ]

    async def _standing(self, now: datetime) -> list[Item]:
        end = int(now.timestamp()) // 60 + 1
        items = []
        for slug, state in (await self._figures.states(BREAKER, INTEGRATION, end=end)).items():
            if state.high >= OPEN:
                text = f"the breaker of {slug} is open: its calls are refused"
                items.append(await self._item(Kind.BREAKER_OPEN, PAGE, text, slug, state.high, now))
        for slug, state in (await self._figures.states(DEAD_LETTERS, INTEGRATION, end=end)).items():
            if state.high > 0:
                text = f"{state.high:.0f} dead letters of {slug} wait"
                items.append(await self._item(Kind.DEAD_LETTERS, TICKET, text, slug, state.high, now))
        for edge, state in (await self._figures.states(STALENESS, EDGE, end=end)).items():
            if state.high > STALE_SECONDS:
                text = f"the edge {edge} is {duration(state.high)} behind"
                items.append(await self._item(Kind.EDGE_STALE, TICKET, text, edge, state.high, now))
        for slug, state in (await self._figures.states(DRIFT, INTEGRATION, end=end)).items():
            if state.high > 0:
                text = f"{state.high:.0f} actions of {slug} are not any more as its definition says"
                items.append(await self._item(Kind.DRIFT, TICKET, text, slug, state.high, now))
        return items

    async def _item(self, kind: Kind, severity: str, summary: str, subject: str, value: float, now: datetime) -> Item:
        labels = {"cordboard_edge" if kind is Kind.EDGE_STALE else "cordboard_integration": subject}
        lead = lead_of(labels)
        rule = _RULES[kind]
        trace = await self._evidence.trace(lead, now)
        return Item(kind, severity, summary, resource_of(labels), value, lead, rule, trace=trace)


_RULES: Final = {
    Kind.BREAKER_OPEN: "BreakerOpen",
    Kind.DEAD_LETTERS: "DeadLettersGrowing",
    Kind.EDGE_STALE: "EdgeStale",
    Kind.DRIFT: "IntegrationDrifting",
}


def resource_of(labels: Mapping[str, str]) -> str:
    """Returns the name of what an alert with these labels is about; empty: the mesh."""
    for label, collection in (
        ("cordboard_integration", "integrations"),
        ("cordboard_edge", "edges"),
        ("service_name", "services"),
    ):
        if label in labels:
            return f"{collection}/{labels[label]}"
    return ""
