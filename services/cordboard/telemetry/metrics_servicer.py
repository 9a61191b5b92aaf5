"""MetricsService: messages in, one question to the figures, messages out."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import orjson

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.paging import Paging
from cordboard.core.times import to_duration
from cordboard.telemetry.rates import Dimension, largest
from cordboard.telemetry.spans import timestamp
from cordboard.telemetry.v1 import metrics_service_pb2 as pb
from cordboard.telemetry.v1.metrics_service_pb2_grpc import MetricsServiceServicer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from cordboard.core.times import Clock
    from cordboard.telemetry.prices import PriceList
    from cordboard.telemetry.rates import Key, Rate, Rates
    from cordboard.telemetry.readings import Reading, Readings

RECENT: Final = timedelta(minutes=5)
DAY: Final = timedelta(days=1)
MAX_NAMES: Final = 32
MAX_TEXT: Final = 255
MINUTE_NS: Final = 60_000_000_000
_LAST_MINUTE: Final = (1 << 31) - 61

_DIMENSIONS: Final = {
    pb.DIMENSION_SERVICE: Dimension.SERVICE,
    pb.DIMENSION_METHOD: Dimension.METHOD,
    pb.DIMENSION_WORKSPACE: Dimension.WORKSPACE,
    pb.DIMENSION_INTEGRATION: Dimension.INTEGRATION,
    pb.DIMENSION_ACTION: Dimension.ACTION,
    pb.DIMENSION_VERSION: Dimension.VERSION,
    pb.DIMENSION_FLAG: Dimension.FLAG,
    pb.DIMENSION_VARIANT: Dimension.VARIANT,
}
_OF_USAGE: Final = (Dimension.WORKSPACE, Dimension.INTEGRATION, Dimension.ACTION, Dimension.VERSION)

Item = TypeVar("Item")


class MetricsServicer(MetricsServiceServicer):
    """Answers operators' questions about rates, usage and states."""

    def __init__(self, rates: Rates, readings: Readings, prices: PriceList, clock: Clock) -> None:
        """Takes the figures, the readings, what calls cost, and the clock that says what the last five minutes are."""
        self._rates = rates
        self._readings = readings
        self._prices = prices
        self._clock = clock

    async def ListRates(self, request: pb.ListRatesRequest, _context: object) -> pb.ListRatesResponse:
        paging = Paging.of(request)
        first, end = self._window(request, RECENT)
        dimensions = _dimensions(request.dimensions)
        found = await self._rates.rates(dimensions, _conditions(request.filter, dimensions), first=first, end=end)
        page, token = _page(sorted(found.items()), paging)
        seconds = (end - first) * 60
        return pb.ListRatesResponse(
            rates=[_rate(key, dimensions, rate, seconds) for key, rate in page], next_page_token=token
        )

    async def ListUsage(self, request: pb.ListUsageRequest, _context: object) -> pb.ListUsageResponse:
        paging = Paging.of(request)
        first, end = self._window(request, DAY)
        conditions = _conditions(request.filter, _OF_USAGE)
        found = await self._rates.rates(_OF_USAGE, conditions, first=first // 60 * 60, end=end, hourly=True)
        # Hours have as many digits as one another for the next centuries: their texts sort as their numbers do.
        page, token = _page(sorted(found.items()), paging)
        prices = await self._prices.current()
        usage = [
            pb.Usage(
                hour=timestamp(int(key[0]) * MINUTE_NS),
                rate=_rate(key[1:], _OF_USAGE, rate, 3600),
                cost_units=prices.cost(int(key[0]), key[2], key[3], rate),
            )
            for key, rate in page
        ]
        return pb.ListUsageResponse(usage=usage, next_page_token=token)

    async def ListReadings(self, request: pb.ListReadingsRequest, _context: object) -> pb.ListReadingsResponse:
        paging = Paging.of(request)
        if not 1 <= len(request.metrics) <= MAX_NAMES or any(len(name) > MAX_TEXT for name in request.metrics):
            raise InvalidFields.one("metrics", f"must be 1 to {MAX_NAMES} names of at most {MAX_TEXT} characters")
        _check_texts({"metrics": "".join(request.metrics)})
        found = {
            (each.metric, each.service, _labels(each)): each for each in await self._readings.newest(request.metrics)
        }
        page, token = _page(sorted(found.items()), paging)
        return pb.ListReadingsResponse(readings=[_reading(each) for _, each in page], next_page_token=token)

    def _window(self, request: pb.ListRatesRequest | pb.ListUsageRequest, recent: timedelta) -> tuple[int, int]:
        now = self._clock.now().astimezone(UTC)
        first = _minute(request.start_time) if request.HasField("start_time") else int((now - recent).timestamp()) // 60
        end = -(-_second(request.end_time) // 60) if request.HasField("end_time") else int(now.timestamp()) // 60 + 1
        first, end = (max(0, min(each, _LAST_MINUTE)) for each in (first, end))
        if first >= end:
            raise InvalidFields.one("end_time", "must be after start_time")
        return first, end


def _second(moment: Timestamp) -> int:
    return moment.seconds + (1 if moment.nanos else 0)


def _minute(moment: Timestamp) -> int:
    return moment.seconds // 60


def _dimensions(given: Sequence[pb.Dimension.ValueType]) -> tuple[Dimension, ...]:
    wanted = tuple(_DIMENSIONS[each] for each in given if each in _DIMENSIONS)
    if len(wanted) != len(given) or len(set(wanted)) != len(wanted):
        raise InvalidFields.one("dimensions", "must be known ones, each once")
    return wanted or (Dimension.SERVICE,)


def _conditions(given: pb.Subject, dimensions: Sequence[Dimension]) -> dict[Dimension, str]:
    conditions = {each: str(getattr(given, each.name.lower())) for each in Dimension}
    conditions = {each: value for each, value in conditions.items() if value}
    _check_texts({f"filter.{each.name.lower()}": value for each, value in conditions.items()})
    used = {*dimensions, *conditions}
    if any(each.of_calls for each in used) and Dimension.METHOD in used:
        raise InvalidFields.one("dimensions", "RPCs and actions' calls are counted apart: ask for one of them")
    return conditions


def _check_texts(texts: dict[str, str]) -> None:
    wrong = [Violation(field, "must not hold NUL") for field, value in texts.items() if "\0" in value]
    if wrong:
        raise InvalidFields(wrong)


def _labels(reading: Reading) -> str:
    return orjson.dumps(dict(reading.attributes), option=orjson.OPT_SORT_KEYS).decode()


def _page(found: list[tuple[Key, Item]], paging: Paging) -> tuple[list[tuple[Key, Item]], str]:
    after: Key = ()
    if paging.after:
        try:
            after = tuple(map(str, orjson.loads(paging.after)))
        except (ValueError, TypeError):
            raise InvalidFields.one("page_token", "is not a token of this list") from None
    rest = [item for item in found if item[0] > after] if after else found
    page = rest[: paging.size]
    token = paging.token(orjson.dumps(page[-1][0]).decode()) if len(rest) > paging.size else ""
    return page, token


def _rate(key: Key, dimensions: Sequence[Dimension], rate: Rate, seconds: int) -> pb.Rate:
    named = {each.name.lower(): value for each, value in zip(dimensions, key, strict=True)}
    return pb.Rate(
        subject=pb.Subject(**named),
        calls=rate.calls,
        errors=rate.errors,
        calls_per_second=rate.calls / seconds,
        mean=to_duration(rate.total / rate.calls if rate.calls else 0.0),
        p50=to_duration(rate.quantile(0.5)),
        p95=to_duration(rate.quantile(0.95)),
        p99=to_duration(rate.quantile(0.99)),
        longest=to_duration(rate.high),
        received_bytes=rate.received,
        failures=dict(rate.reasons),
        slow_exemplars=[_exemplar(*each) for each in largest(rate.exemplars)],
        failed_exemplars=[_exemplar(*each) for each in largest(rate.failures)],
    )


def _exemplar(value: float, trace: str) -> pb.Exemplar:
    return pb.Exemplar(trace=f"traces/{trace}", duration=to_duration(value))


def _reading(reading: Reading) -> pb.Reading:
    return pb.Reading(
        metric=reading.metric,
        service=reading.service,
        attributes=dict(reading.attributes),
        value=reading.value,
        lowest=reading.lowest,
        highest=reading.highest,
    )
