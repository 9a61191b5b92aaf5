"""The traces that show what is wrong: which to open, and how to find the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from cordboard.telemetry.spans import NANOS
from cordboard.telemetry.store import Search

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cordboard.telemetry.store import SpanStore

BACK_SECONDS: Final = 3600
RECENT_SECONDS: Final = 300
FEWEST_FAILURES: Final = 3
"""Failed attempts within RECENT_SECONDS that need somebody's attention: one is what retries are there for."""
REFRESHES: Final = "RefreshFailing"
_INTEGRATION: Final = "cordboard_integration"

# Attempts at vendors that failed by no fault of the caller: transport errors, and what the vendor calls its own fault.
_FAILED: Final = """
    status = 2 AND kind = 3 AND start_ns >= :first AND attributes ? 'url.template'
      AND coalesce(attributes->>'http.response.status_code', '5') >= '5'"""
_FAILURES = text(f"""
    SELECT attributes->>'cordboard.integration' AS integration, count(*) AS failures, min(start_ns) AS first,
           (array_agg(trace_id ORDER BY start_ns DESC))[1] AS trace
    FROM span
    WHERE {_FAILED} AND attributes ? 'cordboard.integration'
    GROUP BY 1 ORDER BY 2 DESC LIMIT 100""")  # noqa: S608 - of constants
_NEWEST = text(f"""
    SELECT trace_id FROM span WHERE {_FAILED} AND attributes->>'cordboard.integration' = :integration
    ORDER BY start_ns DESC LIMIT 1""")  # noqa: S608 - of constants


@dataclass(frozen=True)
class Lead:
    """How the traces of something wrong are found."""

    service: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    errors_only: bool = True


@dataclass(frozen=True)
class Failures:
    """An integration whose attempts failed of late: how many, since when (nanoseconds), and the newest trace."""

    integration: str
    count: int
    first: int
    trace: str


def lead_of(labels: Mapping[str, str], rule: str = "") -> Lead:
    """Returns how the traces of an alert of a rule with these labels are found."""
    if _INTEGRATION in labels:
        # What fails is Auth's, and the vendor's token endpoint; calls may go well meanwhile.
        service = "auth" if rule == REFRESHES else ""
        return Lead(service, attributes=(("cordboard.integration", labels[_INTEGRATION]),))
    if "service_name" in labels:
        return Lead(service=labels["service_name"])
    if "cordboard_edge" in labels:
        return Lead(service="catalog")
    return Lead()


class Evidence:
    """Finds traces for what is wrong."""

    def __init__(self, spans: SpanStore) -> None:
        """Takes the spans."""
        self._spans = spans

    async def trace(self, lead: Lead, now: datetime) -> str:
        """Returns the newest trace of the last hour, in hex: a failed one where there is one; empty: none.

        Of an integration it is one in which the vendor was asked: a call that a breaker refused shows no cause.
        """
        integration = dict(lead.attributes).get("cordboard.integration")
        if integration is not None and lead.errors_only and not lead.service:
            first = (int(now.timestamp()) - BACK_SECONDS) * NANOS
            async with self._spans.database.shared() as connection:
                found = await connection.execute(_NEWEST, {"first": first, "integration": integration})
                newest = found.scalar_one_or_none()
            if newest is not None:
                return str(newest.hex)
        end = int(now.timestamp()) * NANOS + NANOS
        for errors_only in (True, False) if lead.errors_only else (False,):
            search = Search(
                first=end - BACK_SECONDS * NANOS,
                end=end,
                service=lead.service,
                attributes=lead.attributes,
                errors_only=errors_only,
            )
            for hit in await self._spans.hits(search, before=None, limit=1):
                return hit.trace_id.hex
        return ""

    async def failures(self, now: datetime) -> list[Failures]:
        """Returns the integrations whose attempts fail now, those that fail most first."""
        first = (int(now.timestamp()) - RECENT_SECONDS) * NANOS
        async with self._spans.database.shared() as connection:
            found = await connection.execute(_FAILURES, {"first": first})
            return [
                Failures(row.integration, row.failures, row.first, row.trace.hex)
                for row in found
                if row.failures >= FEWEST_FAILURES
            ]
