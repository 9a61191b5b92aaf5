"""Rates, errors and durations of services, integrations, versions and workspaces; and usage by the hour."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cordboard.telemetry.metric_store import Figures, MetricStore

RPC: Final = "rpc.server.call.duration"
CALL: Final = "cordboard.call.duration"
SIZE: Final = "cordboard.call.response.size"
MINUTES_KEPT_APART: Final = 6 * 60
"""A longer time is added up from hours."""
OTHER: Final = "(other)"
"""What stands for series that were too many to be told apart."""


class Dimension(Enum):
    """What figures are told apart by: the label's name."""

    SERVICE = ""
    METHOD = "rpc.method"
    WORKSPACE = "cordboard.workspace"
    INTEGRATION = "cordboard.integration"
    ACTION = "cordboard.action"
    VERSION = "cordboard.definition.version"
    FLAG = "feature_flag.key"
    VARIANT = "feature_flag.result.variant"

    @property
    def of_calls(self) -> bool:
        """Tells whether actions' calls have it; the others are of services' RPCs."""
        return self not in (Dimension.SERVICE, Dimension.METHOD)


@dataclass
class Rate:
    """Calls over a time, of what the key names. Durations are seconds."""

    calls: int = 0
    errors: int = 0
    total: float = 0.0
    high: float = 0.0
    received: int = 0
    """Bytes that vendors sent."""
    reasons: Counter[str] = field(default_factory=Counter)
    buckets: dict[float, int] = field(default_factory=lambda: defaultdict(int))
    exemplars: list[tuple[float, str]] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)

    def add(self, figures: Figures) -> None:
        """Takes the figures of one series of durations."""
        self.calls += figures.count
        self.total += figures.total
        self.high = max(self.high, figures.high)
        for bound, count in zip((*figures.bounds, float("inf")), figures.buckets, strict=True):
            self.buckets[bound] += count
        reason = figures.attributes.get("error.type", "")
        if reason:
            self.errors += figures.count
            self.reasons[reason] += figures.count
            self.failures.extend(figures.exemplars)
        self.exemplars.extend(figures.exemplars)

    def quantile(self, share: float) -> float:
        """Returns the duration that this share of the calls stayed below, as exact as buckets are."""
        wanted, below, passed = share * self.calls, 0.0, 0
        for bound in sorted(self.buckets):
            count = self.buckets[bound]
            if count and passed + count >= wanted:
                upper = min(bound, self.high)
                return below + (upper - below) * (wanted - passed) / count if upper > below else upper
            passed += count
            below = bound
        return self.high


Key = tuple[str, ...]


class Rates:
    """Adds up figures."""

    def __init__(self, store: MetricStore) -> None:
        """Takes where the metrics are."""
        self._store = store

    async def rates(
        self,
        dimensions: Sequence[Dimension],
        conditions: dict[Dimension, str],
        *,
        first: int,
        end: int,
        hourly: bool = False,
    ) -> dict[Key, Rate]:
        """Returns the rates of what the dimensions tell apart, from the minute `first` (since 1970) to before `end`.

        `hourly` has each hour apart: its beginning, in minutes, is the first of the key.
        """
        of_calls = any(each.of_calls for each in (*dimensions, *conditions))
        hours = hourly or end - first > MINUTES_KEPT_APART
        labels = {each.value: value for each, value in conditions.items() if each.value}
        service = conditions.get(Dimension.SERVICE, "")
        found: dict[Key, Rate] = defaultdict(Rate)
        names = [CALL] if of_calls else [RPC]
        for figures in await self._store.figures(
            names, first=first, end=end, conditions=labels, service=service, hours=hours, each=hourly
        ):
            found[_key(figures, dimensions, hourly)].add(figures)
        if of_calls:
            for figures in await self._store.figures(
                [SIZE], first=first, end=end, conditions=labels, service=service, hours=hours, each=hourly
            ):
                found[_key(figures, dimensions, hourly)].received += round(figures.total)
        return dict(found)


def largest(exemplars: Iterable[tuple[float, str]], most: int = 3) -> list[tuple[float, str]]:
    """Returns the exemplars of the largest values, each trace once."""
    by_trace: dict[str, float] = {}
    for value, trace in exemplars:
        by_trace[trace] = max(value, by_trace.get(trace, 0.0))
    return sorted(((value, trace) for trace, value in by_trace.items()), reverse=True)[:most]


def _key(figures: Figures, dimensions: Sequence[Dimension], hourly: bool) -> Key:
    other = OTHER if "otel.metric.overflow" in figures.attributes else ""
    values = [
        figures.service if each is Dimension.SERVICE else figures.attributes.get(each.value, other)
        for each in dimensions
    ]
    return (str(figures.at), *values) if hourly else tuple(values)
