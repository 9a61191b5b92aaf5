"""Traces as a Jaeger has them, by its HTTP query API: for meshes whose spans are kept there.

Version 3 of that API gives OTLP. What it answers is redacted and judged as what comes in here is: others may send to
that Jaeger too. It finds traces by service, and names of operations only as a whole; what a search asks for beyond that
is looked for in its answers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import aiohttp
import orjson
from google.protobuf import json_format
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from cordboard.core.egress import ResponseTooLarge, read_limited
from cordboard.core.errors import DependencyUnavailable, EgressDenied, NotFound
from cordboard.telemetry.redaction import Redaction
from cordboard.telemetry.spans import NANOS, Window, harvest
from cordboard.telemetry.store import Dependency, Hit, StoredSpan, Summary
from cordboard.telemetry.traces import MAX_DEPENDENCIES, MAX_SPANS, Page, WholeTrace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import SecretStr

    from cordboard.core.egress import Egress
    from cordboard.telemetry.spans import SpanRow
    from cordboard.telemetry.store import Search

logger = logging.getLogger(__name__)

SECONDS: Final = 20.0
MAX_BYTES: Final = 64 * 1024**2
"""The largest answer that is read."""
MAX_SERVICES: Final = 50
"""Services that a search without a service asks for, one by one: the API finds traces by service."""
AT_ONCE: Final = 4
MAX_ROUNDS: Final = 5
"""How often a search goes further back, where what Jaeger found does not fit."""
_EVER: Final = Window(0, 1 << 63)
_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})
_NONE: Final = UUID(int=0)


class JaegerTraces:
    """Finds traces in a Jaeger."""

    def __init__(self, url: str, token: SecretStr, egress: Egress) -> None:
        """Takes the address of its query API, without `/api`; the bearer token that it asks for; the way out."""
        self._url = url.rstrip("/")
        self._token = token
        self._session = egress.session(timeout=SECONDS, connections=AT_ONCE)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Lets go of connections."""
        await self._session.close()

    async def trace(self, trace_id: UUID) -> WholeTrace:
        """Returns a trace; raises NotFound."""
        found = await self._spans(f"/api/v3/traces/{trace_id.hex}", {"raw_traces": "true"})
        rows = found.get(trace_id)
        if not rows:
            raise NotFound(f"traces/{trace_id.hex}")
        return WholeTrace(_summary(trace_id, rows), [StoredSpan(row.service, row.body) for row in rows[:MAX_SPANS]])

    async def dependencies(self, first: int, end: int) -> Sequence[Dependency]:
        """Returns who called whom in the time, in nanoseconds, as Jaeger counts it: neither failures nor durations."""
        times = {"startTime": _rfc3339(first), "endTime": _rfc3339(end)}
        found = await self._get("/api/v3/dependencies", times)
        if found is None:
            # Versions before have it in the API of Jaeger's own page alone.
            lookback = {"endTs": str(end // 1_000_000), "lookback": str((end - first) // 1_000_000)}
            found = await self._get("/api/dependencies", lookback)
        links = (found or {}).get("dependencies") or (found or {}).get("data") or []
        try:
            rows = [Dependency(str(one["parent"]), str(one["child"]), int(one["callCount"]), 0, None) for one in links]
        except (KeyError, TypeError, ValueError):
            raise _unreadable("links") from None
        rows.sort(key=lambda one: -one.calls)
        return sorted(rows[:MAX_DEPENDENCIES], key=lambda one: (one.caller, one.callee))

    async def page(self, search: Search, *, before: Hit | None, size: int) -> Page:
        """Returns the next `size` traces that have a span that fits, newest first; fewer where many do not fit.

        A trace stands where its newest span that fits stands.
        """
        services = [search.service] if search.service else await self._services()
        end = search.end if before is None else min(search.end, before.start_ns + 1)
        found: dict[UUID, _Found] = {}
        for _ in range(MAX_ROUNDS):
            horizon = await self._look(search, services, end, size, found)
            whole = horizon is None or horizon <= search.first
            # Above the horizon nothing is missing.
            sure = sorted(
                (one for one in found.values() if before is None or one.hit < before),
                key=lambda one: one.hit,
                reverse=True,
            )
            sure = [one for one in sure if horizon is None or one.hit.start_ns >= horizon]
            if horizon is None or whole or len(sure) > size:
                break
            end = min(horizon, end - 1)
        page = [one.summary for one in sure[:size]]
        if len(sure) > size:
            return Page(page, sure[size - 1].hit)
        return Page(page, None if whole else Hit(end, _NONE))

    async def _look(
        self, search: Search, services: Sequence[str], end: int, size: int, found: dict[UUID, _Found]
    ) -> int | None:
        """Takes what Jaeger has before `end`; returns from which time on that is all, None: it is all there is."""
        depth = size + 1
        answers = await asyncio.gather(*(self._found(search, service, end, depth) for service in services))
        oldest: list[int] = []
        for service, traces in zip(services, answers, strict=True):
            for trace_id, rows in traces.items():
                fitting = [row.start_ns for row in rows if _fits(row, search)]
                if fitting:
                    found[trace_id] = _Found(Hit(max(fitting), trace_id), _summary(trace_id, rows))
            if len(traces) >= depth:
                oldest.append(min(_place(rows, service, end) for rows in traces.values()))
        return max(oldest) if oldest else None

    async def _found(self, search: Search, service: str, end: int, depth: int) -> Mapping[UUID, Sequence[SpanRow]]:
        wanted = dict(search.attributes)
        if search.errors_only:
            wanted["error"] = "true"
        asked = {
            "query.service_name": service,
            "query.start_time_min": _rfc3339(search.first),
            "query.start_time_max": _rfc3339(end),
            "query.search_depth": str(depth),
            "query.raw_traces": "true",
        }
        if wanted:
            asked["query.attributes"] = orjson.dumps(wanted).decode()
        if search.min_duration:
            asked["query.duration_min"] = _seconds(search.min_duration)
        if search.max_duration is not None:
            asked["query.duration_max"] = _seconds(search.max_duration)
        return await self._spans("/api/v3/traces", asked)

    async def _services(self) -> list[str]:
        found = (await self._get("/api/v3/services", {}) or {}).get("services") or []
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise _unreadable("services")
        if len(found) > MAX_SERVICES:
            logger.warning("Jaeger has more services than a search asks for", extra={"services": len(found)})
        return sorted(found)[:MAX_SERVICES]

    async def _spans(self, path: str, asked: Mapping[str, str]) -> dict[UUID, list[SpanRow]]:
        """Returns traces by id, each in order of start."""
        answer = await self._get(path, asked)
        if answer is None:
            return {}
        result = answer.get("result", answer)
        # Reading megabytes of JSON takes its time; other questions go on.
        return await asyncio.to_thread(_traces, result)

    async def _get(self, path: str, asked: Mapping[str, str]) -> dict[str, Any] | None:
        """Returns an answer; None: there is no such thing. Raises DependencyUnavailable."""
        headers = {"accept": "application/json"}
        if self._token.get_secret_value():
            headers["authorization"] = f"Bearer {self._token.get_secret_value()}"
        try:
            async with (
                self._turns,
                self._session.get(
                    self._url + path, params=dict(asked), headers=headers, allow_redirects=False
                ) as response,
            ):
                if response.status == 404:
                    return None
                if response.status != 200:
                    logger.warning("Jaeger refused a question", extra={"path": path, "status": response.status})
                    raise DependencyUnavailable("jaeger")
                body = await read_limited(response, MAX_BYTES)
        except EgressDenied:
            logger.warning("the egress rules refuse the address of Jaeger")
            raise DependencyUnavailable("jaeger") from None
        except ResponseTooLarge:
            logger.warning("Jaeger's answer is too large: ask for fewer traces", extra={"path": path})
            raise DependencyUnavailable("jaeger") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            logger.warning("Jaeger does not answer", extra={"path": path, "problem": type(error).__name__})
            raise DependencyUnavailable("jaeger") from None
        return _document(body)


@dataclass(frozen=True)
class _Found:
    hit: Hit
    summary: Summary


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except ValueError:
        raise _unreadable("JSON") from None
    if not isinstance(found, dict):
        raise _unreadable("JSON")
    return found


def _traces(result: Any) -> dict[UUID, list[SpanRow]]:
    try:
        _take_ids(result)
        data = json_format.ParseDict(result, otlp.TracesData(), ignore_unknown_fields=True, max_recursion_depth=64)
    except (json_format.ParseError, ValueError, TypeError, binascii.Error, RecursionError):
        raise _unreadable("OTLP") from None
    found: defaultdict[UUID, list[SpanRow]] = defaultdict(list)
    seen: set[tuple[UUID, int]] = set()
    for row in harvest(data.resource_spans, _EVER, Redaction()).rows:
        # Some of its stores have a span twice that was sent twice.
        if (row.trace_id, row.span_id) not in seen:
            seen.add((row.trace_id, row.span_id))
            found[row.trace_id].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: (row.start_ns, -row.duration_ns, row.span_id))
    return found


def _take_ids(value: Any) -> None:
    """Makes protobuf's JSON of OTLP's, which has ids in hex."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            for key, inner in item.items():
                if key in _IDS and isinstance(inner, str):
                    item[key] = base64.b64encode(bytes.fromhex(inner)).decode()
                else:
                    stack.append(inner)


def _fits(row: SpanRow, search: Search) -> bool:
    if not search.first <= row.start_ns < search.end or (search.service and row.service != search.service):
        return False
    if search.operation and search.operation.lower() not in row.name.lower():
        return False
    if search.errors_only and row.status != 2:
        return False
    if row.duration_ns < search.min_duration or (
        search.max_duration is not None and row.duration_ns > search.max_duration
    ):
        return False
    if not search.attributes:
        return True
    attributes = orjson.loads(row.attributes)
    return all(attributes.get(name) == value for name, value in search.attributes)


def _place(rows: Sequence[SpanRow], service: str, end: int) -> int:
    """Returns where a trace stands among those that a service's spans before `end` found: at the newest of them."""
    return max(
        (row.start_ns for row in rows if row.service == service and row.start_ns < end), default=rows[0].start_ns
    )


def _summary(trace_id: UUID, rows: Sequence[SpanRow]) -> Summary:
    root = min(rows, key=lambda row: (row.parent_id is not None, row.start_ns, row.span_id))
    start = min(row.start_ns for row in rows)
    return Summary(
        trace_id,
        start,
        max(row.start_ns + row.duration_ns for row in rows) - start,
        root.name,
        root.service,
        len(rows),
        sum(row.status == 2 for row in rows),
        _sorted({row.service for row in rows}),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, NANOS)
    return f"{datetime.fromtimestamp(min(seconds, 253_402_300_799), UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def _seconds(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, NANOS)
    return f"{seconds}.{rest:09}s"


def _unreadable(what: str) -> DependencyUnavailable:
    logger.warning("Jaeger's answer cannot be read", extra={"wanted": what})
    return DependencyUnavailable("jaeger")
