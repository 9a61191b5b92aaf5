"""What the process counts of itself: durations and sizes as histograms, states as readings, sent by OTLP as deltas.

A call is counted in a dictionary, and nothing else happens on its way; batches leave in a job of their own. How many
combinations of labels one measure takes is bounded: what comes beyond them is counted together.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    from cordboard.core.channel import Channels

logger = logging.getLogger(__name__)

EXPORT_EVERY: Final = 10.0
EXPORT_SECONDS: Final = 5.0
MOST_SERIES: Final = 2000
"""Combinations of labels of one measure between two exports."""
MOST_WAITING: Final = 30
"""Exports that wait while Telemetry is away; the oldest go first."""
SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
)  # fmt: skip
"""The borders of the buckets of durations."""
BYTES: Final = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)
"""The borders of the buckets of sizes."""
OVERFLOW: Final = "otel.metric.overflow"
ERROR_TYPE: Final = "error.type"


@dataclass(frozen=True, slots=True)
class Reading:
    """A state at the moment: the values of a gauge's labels, and the number."""

    labels: tuple[str, ...]
    value: float


class _Cell:
    __slots__ = ("buckets", "count", "high", "low", "span_id", "total", "trace_id")

    def __init__(self, buckets: int) -> None:
        self.count = 0
        self.total = 0.0
        self.low = float("inf")
        self.high = -1.0
        self.buckets = [0] * buckets
        self.trace_id = self.span_id = 0


class Histogram:
    """One measure of how long or how large. A value that is not known has the empty text as its label."""

    def __init__(self, name: str, unit: str, labels: tuple[str, ...], bounds: tuple[float, ...] = SECONDS) -> None:
        """Takes the name and unit of the convention, the names of the labels, and the borders of its buckets."""
        self.name = name
        self.unit = unit
        self.labels = labels
        self.bounds = bounds
        self._error = labels.index(ERROR_TYPE) if ERROR_TYPE in labels else None
        self._cells: dict[tuple[str, ...], _Cell] = {}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        """Counts one value; of the largest of each series the trace is kept as its exemplar."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._new(labels)
        cell.count += 1
        cell.total += value
        cell.buckets[bisect.bisect_left(self.bounds, value)] += 1
        cell.low = min(cell.low, value)
        if value > cell.high:
            cell.high = value
            span = trace.get_current_span()
            context = span.get_span_context()
            # What failed is kept though its trace was not picked; of the others nobody could open one that was not.
            if context.trace_flags.sampled or (self._failed(labels) and span.is_recording()):
                cell.trace_id, cell.span_id = context.trace_id, context.span_id

    def taken(self, began: int, now: int) -> otlp.Metric | None:
        """Returns what was counted since the last time, and begins anew; None when that is nothing."""
        if not self._cells:
            return None
        cells, self._cells = self._cells, {}
        metric = otlp.Metric(name=self.name, unit=self.unit)
        metric.histogram.aggregation_temporality = otlp.AGGREGATION_TEMPORALITY_DELTA
        for labels, cell in cells.items():
            point = metric.histogram.data_points.add(
                start_time_unix_nano=began,
                time_unix_nano=now,
                count=cell.count,
                sum=cell.total,
                bucket_counts=cell.buckets,
                explicit_bounds=self.bounds,
                min=cell.low,
                max=cell.high,
            )
            _label(point.attributes, self.labels, labels)
            if cell.trace_id:
                point.exemplars.add(
                    time_unix_nano=now,
                    as_double=cell.high,
                    trace_id=cell.trace_id.to_bytes(16, "big"),
                    span_id=cell.span_id.to_bytes(8, "big"),
                )
        return metric

    def _failed(self, labels: tuple[str, ...]) -> bool:
        return self._error is not None and bool(labels[self._error])

    def _new(self, labels: tuple[str, ...]) -> _Cell:
        if len(self._cells) >= MOST_SERIES:
            labels = (OVERFLOW,)
        return self._cells.setdefault(labels, _Cell(len(self.bounds) + 1))


class Measures:
    """The measures of this process, and the job that sends them."""

    def __init__(self, service: str) -> None:
        """Takes the service's name."""
        self._service = service
        self._histograms: list[Histogram] = []
        self._gauges: list[tuple[str, str, tuple[str, ...], Callable[[], Iterable[Reading]]]] = []
        self._began = time.time_ns()
        self._waiting: deque[ExportMetricsServiceRequest] = deque(maxlen=MOST_WAITING)
        self._away = False

    def histogram(self, name: str, unit: str, labels: Sequence[str], bounds: tuple[float, ...] = SECONDS) -> Histogram:
        """Returns a new measure whose values are sent from now on."""
        made = Histogram(name, unit, tuple(labels), bounds)
        self._histograms.append(made)
        return made

    def gauge(self, name: str, unit: str, labels: Sequence[str], read: Callable[[], Iterable[Reading]]) -> None:
        """Has `read` asked at every export, and what it gives sent."""
        self._gauges.append((name, unit, tuple(labels), read))

    def collect(self) -> ExportMetricsServiceRequest | None:
        """Returns what there is to send, and begins anew; None when that is nothing."""
        now = time.time_ns()
        metrics = [metric for each in self._histograms if (metric := each.taken(self._began, now)) is not None]
        metrics += [gauge for each in self._gauges if (gauge := _gauge(*each, now)).gauge.data_points]
        self._began = now
        if not metrics:
            return None
        request = ExportMetricsServiceRequest()
        batch = request.resource_metrics.add()
        _label(batch.resource.attributes, ("service.name", "service.namespace"), (self._service, "cordboard"))
        batch.scope_metrics.add(metrics=metrics).scope.name = "cordboard"
        return request

    async def run(self, channels: Channels) -> None:
        """Sends to Telemetry every ten seconds, for ever."""
        while True:
            await asyncio.sleep(EXPORT_EVERY)
            await self.export(channels)

    async def export(self, channels: Channels) -> None:
        """Sends what there is. What cannot be sent waits for the next time: Telemetry takes the same export once."""
        collected = self.collect()
        if collected is not None:
            self._waiting.append(collected)
        stub = MetricsServiceStub(channels.to("telemetry"))  # type: ignore[no-untyped-call]
        while self._waiting:
            try:
                await stub.Export(self._waiting[0], timeout=EXPORT_SECONDS)
            except grpc.aio.AioRpcError as error:
                if not self._away:
                    self._away = True
                    logger.warning("measures could not be sent", extra={"code": error.code().name})
                return
            self._away = False
            self._waiting.popleft()


def _gauge(
    name: str, unit: str, labels: tuple[str, ...], read: Callable[[], Iterable[Reading]], now: int
) -> otlp.Metric:
    metric = otlp.Metric(name=name, unit=unit)
    for number, reading in enumerate(read()):
        if number == MOST_SERIES:
            break
        point = metric.gauge.data_points.add(time_unix_nano=now, as_double=reading.value)
        _label(point.attributes, labels, reading.labels)
    return metric


def _label(attributes: object, names: Iterable[str], values: tuple[str, ...]) -> None:
    added: list[KeyValue] = attributes  # type: ignore[assignment]
    if values == (OVERFLOW,):
        added.add(key=OVERFLOW).value.bool_value = True  # type: ignore[attr-defined]
        return
    for name, value in zip(names, values, strict=True):
        if value:
            added.add(key=name).value.string_value = value  # type: ignore[attr-defined]
