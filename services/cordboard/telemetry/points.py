"""A metric's points: OTLP as they come in, rows as they are kept."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import orjson
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from cordboard.telemetry.spans import MAX_NAME, NANOS, UNKNOWN_SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar as OtlpExemplar

    from cordboard.telemetry.redaction import Redaction
    from cordboard.telemetry.spans import Window

SUM, GAUGE, HISTOGRAM = 1, 2, 3
MAX_LABELS: Final = 16
MAX_BOUNDS: Final = 64
MAX_EXEMPLARS: Final = 4
"""Exemplars of one series and minute that are kept: those of the largest values."""
MINUTE_NS: Final = 60 * NANOS


class Series(NamedTuple):
    """What figures belong to: a measure of a service, with the values of its labels."""

    hash: UUID
    service: str
    name: str
    unit: str
    kind: int
    bounds: tuple[float, ...]
    attributes: str
    """JSON text of an object of texts."""


@dataclass
class Point:
    """The figures of one series in one minute. A gauge's total is its newest value; its count is 1."""

    at: int
    """Minutes since 1970."""
    count: int
    total: float
    low: float
    high: float
    buckets: list[int]
    exemplars: list[tuple[float, str]] = field(default_factory=list)
    """Values and the traces (in hex) in which they were measured, the largest first."""

    def add(self, other: Point, kind: int) -> None:
        """Takes the figures of another point of the same series and minute."""
        if kind == GAUGE:
            self.total = other.total
        else:
            self.count += other.count
            self.total += other.total
            self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.exemplars = sorted({*self.exemplars, *other.exemplars}, reverse=True)[:MAX_EXEMPLARS]


@dataclass
class Measured:
    """What one export brought: points by series and minute, and how many were refused for which reason."""

    series: dict[UUID, Series] = field(default_factory=dict)
    points: dict[tuple[UUID, int], Point] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def problem(self) -> str:
        """Returns what was refused and why, in words; empty when nothing was."""
        return ", ".join(f"{count} refused: {reason}" for reason, count in sorted(self.refused.items()))

    def keep(self, series: Series, point: Point) -> None:
        """Takes a point."""
        self.series[series.hash] = series
        known = self.points.get((series.hash, point.at))
        if known is None:
            self.points[series.hash, point.at] = point
        else:
            known.add(point, series.kind)


# Envoy tells four hundred things of itself. These are kept: answers, times, connections, health, limits, memory.
_OF_ENVOY: Final = re.compile(
    r"envoy\.(?:"
    r"cluster\.(?:upstream_rq_(?:xx|time|timeout|retry|pending_overflow)|upstream_cx_(?:active|connect_fail)"
    r"|membership_(?:healthy|total)|outlier_detection\.ejections_active"
    r"|ssl\.certificate\.expiration_unix_time_seconds)"
    r"|http\.(?:downstream_rq_(?:xx|time|active)|downstream_cx_active|jwt_authn\.(?:allowed|denied|jwks_fetch_failed))"
    r"|(?:http_local_rate_limit|\w+\.http_local_rate_limit)\.rate_limited"
    r"|server\.(?:memory_allocated|uptime|live))"
)
ENVOY: Final = "envoy"


class _Unfit(Exception):
    pass


@dataclass(frozen=True)
class _Origin:
    service: str
    metric: otlp.Metric
    window: Window
    redaction: Redaction


def measured(batches: Iterable[otlp.ResourceMetrics], window: Window, redaction: Redaction) -> Measured:
    """Returns the points of an export, redacted. Refused and counted are points outside `window`, with numbers that
    are none or negative counts, with too many labels or borders, and sums and histograms that are not deltas.
    """
    result = Measured()
    for batch in batches:
        resource, _ = redaction.attributes(batch.resource.attributes)
        service = resource.get("service.name", "")[:MAX_NAME] or UNKNOWN_SERVICE
        for scope in batch.scope_metrics:
            for metric in scope.metrics:
                _take(_Origin(service, metric, window, redaction), result)
    return result


def _take(origin: _Origin, result: Measured) -> None:
    metric = origin.metric
    if metric.name.startswith("envoy."):
        if not _OF_ENVOY.fullmatch(metric.name):
            return
        # Its sink names no service.
        origin = replace(origin, service=ENVOY)
    which = metric.WhichOneof("data")
    if which is None:
        return
    if which not in {"sum", "gauge", "histogram"} or not metric.name or len(metric.name) > MAX_NAME:
        result.refused["only sums, gauges and histograms with a name of up to 255 characters are taken"] += 1
        return
    data = getattr(metric, which)
    delta = which == "gauge" or data.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_DELTA
    kind = {"sum": SUM, "gauge": GAUGE, "histogram": HISTOGRAM}[which]
    if which == "sum" and not delta and not data.is_monotonic:
        # What goes up and down says how much there is: a state.
        kind, delta = GAUGE, True
    if not delta:
        result.refused["sums and histograms have to be deltas"] += len(data.data_points)
        return
    for given in data.data_points:
        try:
            point = _histogram(given, origin) if kind == HISTOGRAM else _number(given, kind, origin)
            if point is not None:
                bounds = tuple(given.explicit_bounds) if kind == HISTOGRAM else ()
                result.keep(_series(given, kind, bounds, origin), point)
        except _Unfit as problem:
            result.refused[str(problem)] += 1


def _series(
    given: otlp.NumberDataPoint | otlp.HistogramDataPoint, kind: int, bounds: tuple[float, ...], origin: _Origin
) -> Series:
    if len(given.attributes) > MAX_LABELS:
        raise _Unfit(f"a point has at most {MAX_LABELS} attributes")
    labels, _ = origin.redaction.attributes(given.attributes)
    labels = {key: value[:MAX_NAME] for key, value in labels.items()}
    attributes = orjson.dumps(labels, option=orjson.OPT_SORT_KEYS).decode()
    name, unit = origin.redaction.text(origin.metric.name), origin.redaction.text(origin.metric.unit[:63])
    identity = orjson.dumps([origin.service, name, unit, kind, bounds, attributes])
    digest = UUID(bytes=hashlib.sha256(identity).digest()[:16])
    return Series(digest, origin.service, name, unit, kind, bounds, attributes)


def _minute(moment: int, window: Window) -> int:
    if not window.holds(moment, moment):
        raise _Unfit("the time is older than the retention, or in the future")
    return moment // MINUTE_NS


def _number(given: otlp.NumberDataPoint, kind: int, origin: _Origin) -> Point | None:
    value = float(given.as_int) if given.HasField("as_int") else given.as_double
    if not math.isfinite(value):
        raise _Unfit("a value has to be a finite number")
    if kind == SUM and not value:
        return None
    at = _minute(given.time_unix_nano, origin.window)
    return Point(at, 1, value, value, value, [], _exemplars(given.exemplars))


def _histogram(given: otlp.HistogramDataPoint, origin: _Origin) -> Point | None:
    bounds, buckets = list(given.explicit_bounds), list(given.bucket_counts)
    if len(bounds) > MAX_BOUNDS or bounds != sorted(bounds) or not all(map(math.isfinite, [*bounds, given.sum])):
        raise _Unfit(f"a histogram has up to {MAX_BOUNDS} finite borders in order, and a finite sum")
    if len(buckets) != len(bounds) + 1 or sum(buckets) != given.count or given.count >= 1 << 53:
        raise _Unfit("the buckets of a histogram do not add up to its count")
    if not given.count:
        return None
    low = given.min if given.HasField("min") else 0.0
    high = given.max if given.HasField("max") else (bounds[-1] if bounds else given.sum)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise _Unfit("a value has to be a finite number")
    at = _minute(given.time_unix_nano, origin.window)
    return Point(at, given.count, given.sum, low, high, buckets, _exemplars(given.exemplars))


def _exemplars(given: Sequence[OtlpExemplar]) -> list[tuple[float, str]]:
    found = {
        (float(each.as_int) if each.HasField("as_int") else each.as_double, each.trace_id.hex())
        for each in given
        if len(each.trace_id) == 16 and math.isfinite(each.as_double)
    }
    return sorted(found, reverse=True)[:MAX_EXEMPLARS]
