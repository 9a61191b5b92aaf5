"""FlagConsumerService: messages in, one call of the domain, messages out."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.paging import Paging
from cordboard.core.times import to_duration, to_timestamp
from cordboard.flags.consumers.consumers import EDGE, SERVICE, Report
from cordboard.flags.v1 import consumer_service_pb2 as pb
from cordboard.flags.v1.consumer_service_pb2_grpc import FlagConsumerServiceServicer

if TYPE_CHECKING:
    from datetime import datetime

    from cordboard.core.times import Clock
    from cordboard.flags.consumers.consumers import Consumers
    from cordboard.flags.consumers.store import ConsumerRecord

MAX_REPORTS: Final = 1_000
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class FlagConsumerServicer(FlagConsumerServiceServicer):
    """Serves what is known of who follows the flags."""

    def __init__(self, consumers: Consumers, clock: Clock) -> None:
        """Takes what knows them, and the time."""
        self._consumers = consumers
        self._clock = clock

    async def ListFlagConsumers(
        self, request: pb.ListFlagConsumersRequest, _context: Any
    ) -> pb.ListFlagConsumersResponse:
        paging = Paging.of(request)
        found = await self._consumers.page(after=_after(paging.after), limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].id) if len(found) > len(page) else ""
        now, newest = self._clock.now(), self._consumers.newest
        return pb.ListFlagConsumersResponse(
            flag_consumers=[_message(each, newest, now) for each in page], next_page_token=token
        )

    async def ReportFlagConsumers(
        self, request: pb.ReportFlagConsumersRequest, _context: Any
    ) -> pb.ReportFlagConsumersResponse:
        if len(request.reports) > MAX_REPORTS:
            raise InvalidFields.one("reports", f"must be at most {MAX_REPORTS}", "TOO_MANY")
        peer = current_caller().peer
        for found in [_report(each, f"reports[{index}]", peer) for index, each in enumerate(request.reports)]:
            self._consumers.report(found)
        return pb.ReportFlagConsumersResponse()


def _after(key: str) -> str:
    if key and not _ID.fullmatch(key):
        raise InvalidFields.one("page_token", "is not a token of this list")
    return key


def _report(report: pb.FlagConsumerReport, path: str, peer: str) -> Report:
    kind = EDGE if report.consumer.startswith(f"{EDGE}-") and peer == "catalog" else SERVICE
    if not _ID.fullmatch(report.consumer) or not (kind == EDGE or report.consumer.startswith(f"{peer}-")):
        raise InvalidFields.one(
            f"{path}.consumer", "must be the name of who reports, a hyphen, and lower-case letters, digits and hyphens"
        )
    if report.sequence < 0:
        raise InvalidFields.one(f"{path}.sequence", "must not be negative", "OUT_OF_RANGE")
    return Report(report.consumer, kind, report.sequence, _fresh(report, path))


def _fresh(report: pb.FlagConsumerReport, path: str) -> datetime | None:
    if not report.HasField("fresh_time"):
        return None
    try:
        return report.fresh_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidFields.one(f"{path}.fresh_time", "must be a time from year 1 to year 9999") from None


def _message(record: ConsumerRecord, newest: int, now: datetime) -> pb.FlagConsumer:
    fresh = record.fresh_time
    return pb.FlagConsumer(
        name=f"flagConsumers/{record.id}",
        kind=pb.FlagConsumer.Kind.Value(f"KIND_{record.kind.upper()}"),
        protocol=record.protocol,
        workspace=record.workspace_id,
        sequence=record.sequence,
        newest_sequence=newest,
        ack_time=None if record.ack_time is None else to_timestamp(record.ack_time),
        fresh_time=None if fresh is None else to_timestamp(fresh),
        report_time=to_timestamp(record.report_time),
        age=None if fresh is None else to_duration(max((now - fresh).total_seconds(), 0.0)),
    )
