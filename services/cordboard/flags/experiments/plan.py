"""What an experiment asks, and what makes it one that can be answered."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import Violation
from cordboard.flags.content import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_HYPOTHESIS_LENGTH: Final = 2_000
MAX_GUARD_METRICS: Final = 10
LEAST_EXPECTED: Final = 10
MOST_EXPECTED: Final = 100_000
_EVENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Kind(StrEnum):
    """What a metric measures of a workspace."""

    CONVERSION = "conversion"
    TOTAL = "total"
    CALL_FAILURES = "call_failures"
    CALL_MILLISECONDS = "call_milliseconds"


BY_EVENT: Final = frozenset({Kind.CONVERSION, Kind.TOTAL})


@dataclass(frozen=True)
class Metric:
    """Something that is measured of each workspace."""

    kind: Kind
    event: str = ""
    decrease: bool = False
    """Whether less of it is better."""


@dataclass(frozen=True)
class Plan:
    """A question about a flag."""

    flag: str
    """The flag's key."""
    hypothesis: str
    metrics: tuple[Metric, ...]
    """The primary one, and then those that may not get worse."""
    control: str = ""
    rule: int = 0
    expected: int = 1_000
    false_alarms: int = 500
    """In hundredths of a percent."""

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as JSON, for keeping."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Returns the plan that `to_json` wrote."""
        metrics = tuple(Metric(Kind(each["kind"]), each["event"], each["decrease"]) for each in document["metrics"])
        return cls(**{**document, "metrics": metrics})


def is_event(text: str) -> bool:
    """Tells whether `text` can be the name of a tracked event."""
    return _EVENT.fullmatch(text) is not None


def violations(plan: Plan) -> Iterator[Violation]:
    """Yields what is wrong with a plan, with paths as in StartExperimentRequest."""
    if not plan.hypothesis.strip():
        yield Violation("experiment.hypothesis", "must say what is expected, and why", "REQUIRED")
    if len(plan.hypothesis) > MAX_HYPOTHESIS_LENGTH or "\0" in plan.hypothesis:
        text = f"must be text of at most {MAX_HYPOTHESIS_LENGTH} characters"
        yield Violation("experiment.hypothesis", text, "TOO_LONG")
    if len(plan.metrics) > 1 + MAX_GUARD_METRICS:
        yield Violation("experiment.guard_metrics", f"must be at most {MAX_GUARD_METRICS}", "TOO_MANY")
        return
    for index, metric in enumerate(plan.metrics):
        path = f"experiment.guard_metrics[{index - 1}]" if index else "experiment.primary_metric"
        if metric.kind in BY_EVENT and not is_event(metric.event):
            text = "must be 1 to 100 letters, digits, dots, underscores and hyphens"
            yield Violation(f"{path}.event", text)
        if metric.kind not in BY_EVENT and metric.event:
            yield Violation(f"{path}.event", "must be empty: calls are measured by the Proxy", "AMBIGUOUS")
        if metric.kind not in BY_EVENT and not plan.flag.startswith("version."):
            text = "must be of events: the Proxy measures calls of flags `version.*` alone"
            yield Violation(f"{path}.kind", text, "WRONG_KEY")
        if (metric.kind, metric.event) in {(each.kind, each.event) for each in plan.metrics[:index]}:
            yield Violation(path, "is a metric of this experiment already", "DUPLICATE")
    if not LEAST_EXPECTED <= plan.expected <= MOST_EXPECTED:
        text = f"must be from {LEAST_EXPECTED} to {MOST_EXPECTED}"
        yield Violation("experiment.expected_subjects", text, "OUT_OF_RANGE")
    if not 0 < plan.false_alarms <= WHOLE // 2:
        yield Violation("experiment.false_alarm_percent", "must be above 0, at most 50", "OUT_OF_RANGE")
