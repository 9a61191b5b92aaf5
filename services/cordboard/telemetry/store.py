"""Spans in PostgreSQL, one partition for each day of their start, and the queries on them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from cordboard.telemetry.by_day import ByDay, steps_back
from cordboard.telemetry.spans import DAY_NS, LinkRow, Resource, SpanRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

MAX_KNOWN_RESOURCES: Final = 1024
# Attributes that have a column, which has an index in the order of searches.
_COLUMNS_OF_ATTRIBUTES: Final = {"cordboard.integration": "integration", "cordboard.workspace": "workspace"}

_PUT_RESOURCES = text("""
    INSERT INTO resource (hash, service, attributes, last_day)
    SELECT * FROM unnest(
        CAST(:hashes AS uuid[]), CAST(:services AS text[]), CAST(:attributes AS jsonb[]), CAST(:days AS int[]))
    ON CONFLICT (hash) DO UPDATE SET last_day = greatest(resource.last_day, excluded.last_day)
    RETURNING hash, id""")

_PUT_SPANS = text("""
    INSERT INTO span (trace_id, span_id, parent_id, start_ns, duration_ns, kind, status,
                      resource_id, service, name, attributes, body)
    SELECT * FROM unnest(
        CAST(:trace_ids AS uuid[]), CAST(:span_ids AS bigint[]), CAST(:parent_ids AS bigint[]),
        CAST(:starts AS bigint[]), CAST(:durations AS bigint[]),
        CAST(:kinds AS smallint[]), CAST(:statuses AS smallint[]),
        CAST(:resource_ids AS int[]), CAST(:services AS text[]), CAST(:names AS text[]),
        CAST(:attributes AS jsonb[]), CAST(:bodies AS bytea[]))
    ON CONFLICT DO NOTHING""")

_SPANS_OF_TRACE = text("""
    SELECT service, body FROM span WHERE trace_id = :trace_id
    ORDER BY start_ns, duration_ns DESC, span_id LIMIT :limit""")

# A trace's first span is its earliest root; a trace whose root did not come has its earliest span in its place.
_SUMMARIES = text("""
    SELECT trace_id, min(start_ns) AS start_ns, max(start_ns + duration_ns) AS end_ns, count(*) AS spans,
           count(*) FILTER (WHERE status = 2) AS errors,
           (array_agg(ARRAY[name, service] ORDER BY (parent_id IS NOT NULL), start_ns, span_id))[1:1] AS root,
           array_agg(DISTINCT service) AS services
    FROM span WHERE trace_id = ANY(CAST(:trace_ids AS uuid[])) GROUP BY trace_id""")

# Who called whom: a span whose parent is another service's, and an attempt that the Proxy sent to a vendor.
_DEPENDENCIES = text("""
    SELECT caller, callee, count(*) AS calls, count(*) FILTER (WHERE status = 2) AS errors,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns) AS p95
    FROM (
        SELECT parent.service AS caller, child.service AS callee, child.status, child.duration_ns
        FROM span child JOIN span parent ON parent.trace_id = child.trace_id AND parent.span_id = child.parent_id
        WHERE child.start_ns >= :first AND child.start_ns < :end AND parent.service <> child.service
        UNION ALL
        SELECT service, 'integrations/' || (attributes->>'cordboard.integration'), status, duration_ns
        FROM span
        WHERE start_ns >= :first AND start_ns < :end AND kind = 3 AND attributes ? 'url.template'
          AND attributes ? 'cordboard.integration'
    ) AS call GROUP BY caller, callee ORDER BY calls DESC LIMIT :limit""")

_PUT_LINKS = text("""
    INSERT INTO span_link (linked_trace, linked_span, trace_id, span_id, start_ns, relation)
    SELECT * FROM unnest(
        CAST(:linked_traces AS uuid[]), CAST(:linked_spans AS bigint[]), CAST(:trace_ids AS uuid[]),
        CAST(:span_ids AS bigint[]), CAST(:starts AS bigint[]), CAST(:relations AS text[]))
    ON CONFLICT DO NOTHING""")
_LINKED_FROM = text("""
    SELECT link.trace_id, link.span_id, link.linked_span, link.relation,
           span.service, span.name, span.start_ns, span.duration_ns, span.status
    FROM span_link link JOIN span USING (trace_id, span_id, start_ns)
    WHERE link.linked_trace = :trace_id AND link.trace_id <> :trace_id
    ORDER BY link.start_ns, link.span_id LIMIT :limit""")
_DROP_LINKS = text("DELETE FROM span_link WHERE start_ns < :first")

_DROP_RESOURCES = text("DELETE FROM resource WHERE last_day < :day")


@dataclass(frozen=True)
class Search:
    """Conditions that one and the same span must meet; times are nanoseconds, `first` inclusive, `end` exclusive."""

    first: int
    end: int
    service: str = ""
    operation: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    errors_only: bool = False
    min_duration: int = 0
    max_duration: int | None = None


@dataclass(frozen=True, order=True)
class Hit:
    """A span that was found: its start in nanoseconds and its trace. Hits are ordered as lists are, oldest first."""

    start_ns: int
    trace_id: UUID


@dataclass(frozen=True)
class Summary:
    """A trace without its spans."""

    trace_id: UUID
    start_ns: int
    duration_ns: int
    root_name: str
    root_service: str
    spans: int
    errors: int
    services: tuple[str, ...]


@dataclass(frozen=True)
class StoredSpan:
    """A kept span: the service that sent it and the OTLP span."""

    service: str
    body: bytes


class Linking(NamedTuple):
    """A span of another trace that links to a span of this one, and what this one is to it."""

    trace_id: UUID
    span_id: int
    target: int
    relation: str
    service: str
    name: str
    start_ns: int
    duration_ns: int
    status: int


@dataclass(frozen=True)
class Dependency:
    """One service's calls of another, or of `integrations/{slug}`; `p95` is nanoseconds, None where it is not known."""

    caller: str
    callee: str
    calls: int
    errors: int
    p95: int | None


class SpanStore(ByDay):
    """Keeps spans and finds them."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        super().__init__(database, "span", keep="keep_day", drop="drop_day")
        self._resource_ids: OrderedDict[tuple[UUID, int], int] = OrderedDict()

    async def put(self, rows: Sequence[SpanRow], resources: Mapping[UUID, Resource]) -> None:
        """Stores spans in one transaction; one that is there already stays as it is."""
        if not rows:
            return
        days = {row.start_ns // DAY_NS for row in rows}
        await self.keep_new(days)
        try:
            async with self.database.shared() as connection:
                ids = await self._put_resources(connection, resources, max(days))
                await connection.execute(_PUT_SPANS, _columns(rows, ids))
                if links := [(row, link) for row in rows for link in row.links]:
                    await connection.execute(_PUT_LINKS, _link_columns(links))
        except BaseException:
            self.forget_days()
            self._resource_ids.clear()
            raise

    async def spans(self, trace_id: UUID, *, limit: int) -> list[StoredSpan]:
        """Returns the first `limit` spans of a trace in order of start; parents come before what starts with them."""
        async with self.database.shared() as connection:
            found = await connection.execute(_SPANS_OF_TRACE, {"trace_id": trace_id, "limit": limit})
            return [StoredSpan(row.service, row.body) for row in found]

    async def linked_from(self, trace_id: UUID, *, limit: int) -> list[Linking]:
        """Returns the first `limit` spans of other traces that link to spans of this one, in order of start."""
        async with self.database.shared() as connection:
            found = await connection.execute(_LINKED_FROM, {"trace_id": trace_id, "limit": limit})
            return [Linking(*row) for row in found]

    async def hits(self, search: Search, *, before: Hit | None, limit: int) -> list[Hit]:
        """Returns up to `limit` spans that fit, newest first, that are older than `before`."""
        last = search.end if before is None else min(search.end, before.start_ns + 1)
        found: list[Hit] = []
        for number, (first, end) in enumerate(steps_back(search.first, last)):
            part = replace(search, first=first, end=end)
            found += await self._hits(part, before=before, limit=limit - len(found), gathers=number > 0)
            if len(found) >= limit:
                break
        return found

    async def _hits(self, search: Search, *, before: Hit | None, limit: int, gathers: bool) -> list[Hit]:
        """Returns the newest spans that fit; `gathers`: all that fit are found first, and put in order then.

        That is for attributes and long durations in longer steps: what the step before did not have enough of is rare,
        and is found by its index in no time, while the planner would look at every span of the step in the order of
        time.
        """
        conditions, values = _conditions(search)
        gathers = gathers and not {"attributes", "min_duration"}.isdisjoint(values)
        if before is not None:
            # The first condition is there for the planner: it leaves out the days after it.
            conditions += ["start_ns <= :start", "(start_ns, trace_id) < (:start, CAST(:trace AS uuid))"]
            values |= {"start": before.start_ns, "trace": before.trace_id}
        fitting = f"SELECT start_ns, trace_id FROM span WHERE {' AND '.join(conditions)}"  # noqa: S608 - fixed texts only
        if gathers:
            fitting = f"WITH fitting AS MATERIALIZED ({fitting}) SELECT start_ns, trace_id FROM fitting"  # noqa: S608
        statement = text(f"{fitting} ORDER BY start_ns DESC, trace_id DESC LIMIT :limit")
        async with self.database.shared() as connection:
            found = await connection.execute(statement, {**values, "limit": limit})
            return [Hit(row.start_ns, row.trace_id) for row in found]

    async def shown(self, search: Search, trace_ids: Collection[UUID], *, since: Hit) -> set[UUID]:
        """Returns which of the traces have a span that fits at or after `since` in the order of hits."""
        conditions, values = _conditions(search)
        statement = text(
            f"SELECT DISTINCT trace_id FROM span WHERE {' AND '.join(conditions)} "  # noqa: S608 - fixed texts only
            "AND trace_id = ANY(CAST(:ids AS uuid[])) AND (start_ns, trace_id) >= (:start, CAST(:trace AS uuid))"
        )
        values |= {"ids": list(trace_ids), "start": since.start_ns, "trace": since.trace_id}
        async with self.database.shared() as connection:
            return set((await connection.execute(statement, values)).scalars())

    async def summaries(self, trace_ids: Collection[UUID]) -> dict[UUID, Summary]:
        """Returns the traces that exist, each over all of its spans."""
        async with self.database.shared() as connection:
            found = await connection.execute(_SUMMARIES, {"trace_ids": list(trace_ids)})
            return {
                row.trace_id: Summary(
                    row.trace_id,
                    row.start_ns,
                    row.end_ns - row.start_ns,
                    row.root[0][0],
                    row.root[0][1],
                    row.spans,
                    row.errors,
                    tuple(row.services),
                )
                for row in found
            }

    async def dependencies(self, first: int, end: int, *, limit: int) -> list[Dependency]:
        """Returns who called whom in spans that began in the time, in nanoseconds, by caller and callee."""
        async with self.database.shared() as connection:
            found = await connection.execute(_DEPENDENCIES, {"first": first, "end": end, "limit": limit})
            rows = [Dependency(row.caller, row.callee, row.calls, row.errors, round(row.p95)) for row in found]
        return sorted(rows, key=lambda one: (one.caller, one.callee))

    async def drop_links(self, *, before: int) -> None:
        """Forgets the links of spans that began before the day `before`."""
        async with self.database.shared() as connection:
            await connection.execute(_DROP_LINKS, {"first": before * DAY_NS})

    async def drop_resources(self, *, before: int) -> None:
        """Forgets the senders that sent nothing on or after the day `before`."""
        async with self.database.shared() as connection:
            await connection.execute(_DROP_RESOURCES, {"day": before})

    async def _put_resources(
        self, connection: AsyncConnection, resources: Mapping[UUID, Resource], day: int
    ) -> dict[UUID, int]:
        ids = {key: known for key in resources if (known := self._resource_ids.get((key, day))) is not None}
        # In one order, so that two writers never wait for each other's rows.
        unknown = sorted((resource for key, resource in resources.items() if key not in ids), key=lambda one: one.hash)
        if unknown:
            found = await connection.execute(
                _PUT_RESOURCES,
                {
                    "hashes": [resource.hash for resource in unknown],
                    "services": [resource.service for resource in unknown],
                    "attributes": [resource.attributes for resource in unknown],
                    "days": [day] * len(unknown),
                },
            )
            for row in found:
                ids[row.hash] = self._resource_ids[row.hash, day] = row.id
        while len(self._resource_ids) > MAX_KNOWN_RESOURCES:
            self._resource_ids.popitem(last=False)
        return ids


def _columns(rows: Sequence[SpanRow], resource_ids: Mapping[UUID, int]) -> dict[str, Any]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    names = SpanRow._fields
    of = dict(zip(names, columns, strict=True))
    return {
        "trace_ids": of["trace_id"],
        "span_ids": of["span_id"],
        "parent_ids": of["parent_id"],
        "starts": of["start_ns"],
        "durations": of["duration_ns"],
        "kinds": of["kind"],
        "statuses": of["status"],
        "resource_ids": [resource_ids[key] for key in of["resource"]],
        "services": of["service"],
        "names": of["name"],
        "attributes": of["attributes"],
        "bodies": of["body"],
    }


def _link_columns(links: Sequence[tuple[SpanRow, LinkRow]]) -> dict[str, Any]:
    return {
        "linked_traces": [link.trace_id for _, link in links],
        "linked_spans": [link.span_id for _, link in links],
        "trace_ids": [row.trace_id for row, _ in links],
        "span_ids": [row.span_id for row, _ in links],
        "starts": [row.start_ns for row, _ in links],
        "relations": [link.relation for _, link in links],
    }


def _conditions(search: Search) -> tuple[list[str], dict[str, Any]]:
    conditions = ["start_ns >= :first", "start_ns < :end"]
    values: dict[str, Any] = {"first": search.first, "end": search.end}
    if search.service:
        conditions.append("service = :service")
        values["service"] = search.service
    if search.operation:
        # strpos and not LIKE: what people type has no wildcards.
        conditions.append("strpos(lower(name), lower(:operation)) > 0")
        values["operation"] = search.operation
    attributes = dict(search.attributes)
    for name, column in _COLUMNS_OF_ATTRIBUTES.items():
        if name in attributes:
            conditions.append(f"{column} = :{column}")
            values[column] = attributes.pop(name)
    if attributes:
        conditions.append("attributes @> CAST(:attributes AS jsonb)")
        values["attributes"] = orjson.dumps(attributes).decode()
    if search.errors_only:
        conditions.append("status = 2")
    if search.min_duration:
        conditions.append("duration_ns >= :min_duration")
        values["min_duration"] = search.min_duration
    if search.max_duration is not None:
        conditions.append("duration_ns <= :max_duration")
        values["max_duration"] = search.max_duration
    return conditions, values
