"""The rules, by the names and with the bounds that deploy/prometheus/rules.yaml has; a test holds both together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cordboard.telemetry.alerts.conditions import (
    DAY,
    HOUR,
    Above,
    Accumulated,
    Below,
    Condition,
    Failed,
    FailedShare,
    Grown,
    Slower,
)
from cordboard.telemetry.alerts.figures import SERVICE
from cordboard.telemetry.rates import CALL, RPC

PAGE, TICKET = "page", "ticket"
INTEGRATION: Final = "cordboard.integration"
EDGE: Final = "cordboard.edge"
STATE: Final = "cordboard.state"
BREAKER: Final = "cordboard.breaker.state"
STALENESS: Final = "cordboard.edge.staleness"
DEAD_LETTERS: Final = "cordboard.dead_letters"
DRIFT: Final = "cordboard.drift.actions"
OPEN: Final = 2.0
STALE_SECONDS: Final = 600.0
SLOW_INTERVAL: Final = 600.0


@dataclass(frozen=True)
class Rule:
    """What raises an alert, and how it reads."""

    name: str
    severity: str
    meaning: str
    condition: Condition
    summary: str
    """With `{subject}`, the label's value, and `{percent}` or `{duration}`, what was found."""
    hold: float = 0.0
    """Seconds that it has to be broken before it fires."""
    interval: float = 0.0
    """Seconds between two evaluations, for what changes slowly and costs much; 0: as often as all."""

    def labels(self, subject: str) -> dict[str, str]:
        """Returns the labels of the alert, as Prometheus would have them."""
        return {self.condition.label.replace(".", "_"): subject} if subject else {}

    def told(self, subject: str, value: float) -> str:
        """Returns what is said about a breach."""
        return self.summary.format(subject=subject, percent=percent(value), duration=duration(value))


RULES: Final = (
    Rule(
        "IntegrationFailing",
        PAGE,
        "more than 14 of 100 calls fail by the vendor's fault or the mesh's, over 5 minutes and over an hour",
        FailedShare(CALL, INTEGRATION, 14.4 * 0.01, (5, HOUR)),
        "calls of {subject} fail: {percent}",
    ),
    Rule(
        "IntegrationErrorBudget",
        TICKET,
        "more than 6 of 100 calls fail, over half an hour and over six hours",
        FailedShare(CALL, INTEGRATION, 6 * 0.01, (30, 6 * HOUR)),
        "{subject} uses its error budget six times too fast",
    ),
    Rule(
        "BreakerOpen",
        PAGE,
        "a breaker is open: calls of the integration are refused",
        Above(BREAKER, INTEGRATION, OPEN, or_equal=True),
        "the breaker of {subject} is open: its calls are refused",
    ),
    Rule(
        "DeadLettersGrowing",
        TICKET,
        "more dead letters wait than a quarter of an hour ago",
        Accumulated(DEAD_LETTERS, INTEGRATION, 15),
        "dead letters of {subject} grow",
    ),
    Rule(
        "RefreshFailing",
        PAGE,
        "three refreshes of credentials failed within a quarter of an hour",
        Failed("cordboard.refresh.duration", INTEGRATION, 3, 15),
        "credentials of {subject} are not refreshed",
    ),
    Rule(
        "EdgeStale",
        TICKET,
        "an edge has taken nothing from its hub for ten minutes",
        Above(STALENESS, EDGE, STALE_SECONDS),
        "the edge {subject} is {duration} behind",
        hold=60.0,
    ),
    Rule(
        "CertificateExpiring",
        PAGE,
        "a service serves a certificate that ends within two hours",
        Below("cordboard.certificate.remaining", SERVICE, 7200.0),
        "the certificate of {subject} ends in {duration}",
    ),
    Rule(
        "ServiceFailing",
        PAGE,
        "a service of the mesh answers more than 5 of 100 RPCs with a fault of its own",
        FailedShare(RPC, SERVICE, 0.05, (5,)),
        "{subject} fails {percent} of its calls",
        hold=60.0,
    ),
    Rule(
        "TelemetryShedding",
        TICKET,
        "Telemetry refused or lost spans within five minutes",
        Grown("cordboard.telemetry.items", STATE, 5, frozenset({"shed", "failed"})),
        "Telemetry refuses spans: traces have holes",
    ),
    Rule(
        "IntegrationSlower",
        TICKET,
        "calls of an integration take a fifth longer over a week than over the week before",
        Slower(CALL, INTEGRATION, 1.2, 100),
        "{subject} takes a fifth longer than the week before",
        interval=SLOW_INTERVAL,
    ),
    Rule(
        "IntegrationDrifting",
        TICKET,
        "a vendor does not answer, or does not do, as the integration's definition says",
        Above(DRIFT, INTEGRATION, 0.0),
        "{subject} is not any more as its definition says",
        hold=60.0,
    ),
)
BY_NAME: Final[Mapping[str, Rule]] = {rule.name: rule for rule in RULES}
REACH_DAYS: Final = 14 * DAY // DAY
"""Days of figures by the hour that rules look back."""


def percent(share: float) -> str:
    """Returns a share as Prometheus's humanizePercentage writes it."""
    return f"{share * 100:.4g}%"


def duration(seconds: float) -> str:
    """Returns a time span as Prometheus's humanizeDuration writes it, from a second on."""
    sign, whole = ("-" if seconds < 0 else ""), int(abs(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {rest}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {rest}s"
    if minutes:
        return f"{sign}{minutes}m {rest}s"
    return f"{seconds:.4g}s"
