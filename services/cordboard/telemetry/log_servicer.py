"""LogService: a message in, one question to the lines, a message out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.paging import Paging
from cordboard.telemetry.log_lines import to_message
from cordboard.telemetry.log_store import LogSearch
from cordboard.telemetry.redaction import clean_text
from cordboard.telemetry.spans import NANOS, nanoseconds
from cordboard.telemetry.trace_names import trace_id
from cordboard.telemetry.v1 import log_service_pb2 as pb
from cordboard.telemetry.v1.log_service_pb2_grpc import LogServiceServicer
from cordboard.telemetry.windows import DEFAULT_WINDOW_NS, bounded, from_page_key, page_key

if TYPE_CHECKING:
    from cordboard.core.times import Clock
    from cordboard.telemetry.log_store import LogStore

MAX_TEXT: Final = 255


class LogServicer(LogServiceServicer):
    """Answers operators' questions about log lines."""

    def __init__(self, store: LogStore, clock: Clock) -> None:
        """Takes where lines are, and the clock that says what the last hour is."""
        self._store = store
        self._clock = clock

    async def ListLogLines(self, request: pb.ListLogLinesRequest, _context: object) -> pb.ListLogLinesResponse:
        paging = Paging.of(request)
        window, before = from_page_key(paging.after) if paging.after else (self._window(request), None)
        search = self._search(request, window)
        # One more than is shown: it says that there is a next page.
        found = await self._store.lines(search, before=before, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page_key(*window, *page[-1].key)) if len(found) > paging.size else ""
        return pb.ListLogLinesResponse(
            lines=[to_message(hit.row, hit.attributes) for hit in page], next_page_token=token
        )

    def _search(self, request: pb.ListLogLinesRequest, window: tuple[int, int]) -> LogSearch:
        first, end = window
        wrong = []
        if first >= end:
            wrong.append(Violation("end_time", "must be after start_time, which is an hour ago when unset"))
        if request.min_severity not in pb.LogLine.Severity.values():
            wrong.append(Violation("min_severity", "must be a known one"))
        if len(request.text) > MAX_TEXT:
            wrong.append(Violation("text", f"must be at most {MAX_TEXT} characters"))
        if wrong:
            raise InvalidFields(wrong)
        return LogSearch(
            first=first,
            end=end,
            service=clean_text(request.service),
            severity=request.min_severity,
            # As what comes in is cleaned, so is what is looked for.
            text=clean_text(request.text),
            trace_id=trace_id(request.trace, field="trace") if request.trace else None,
        )

    def _window(self, request: pb.ListLogLinesRequest) -> tuple[int, int]:
        now = int(self._clock.now().timestamp() * 1_000_000) * 1000
        first = 0 if request.trace else now - DEFAULT_WINDOW_NS
        if request.HasField("start_time"):
            first = nanoseconds(request.start_time)
        # What was said in this very moment is there: the default end lies behind it.
        end = nanoseconds(request.end_time) if request.HasField("end_time") else now + NANOS
        return bounded(first, end)
