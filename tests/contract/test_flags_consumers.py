"""FlagConsumerService: who follows the flags, and which change each has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import FlagSyncServiceStub

from cordboard.core.flag_copy import FlagCopy
from cordboard.core.settings import MAX_STALENESS
from cordboard.core.structs import to_value
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import consumer_service_pb2 as pb
from cordboard.flags.v1.consumer_service_pb2_grpc import FlagConsumerServiceStub
from cordboard.flags.v1.flag_service_pb2 import Flag, PutFlagRequest
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.fixtures.ways import ways

BOUND = 40.0
Kind = pb.FlagConsumer.Kind


@pytest.fixture
async def served(serving: Serving, database: Databases) -> AsyncIterator[Served]:
    async with serving("flags", FlagsSettings, start, database_url=database("flags").url) as running:
        yield running


async def put(served: Served, value: int, key: str = "desk") -> None:
    """Puts a flag, as soon as Flags is ready."""
    stub: Any = FlagServiceStub(served.as_role("operator"))
    flag = Flag(name=f"flags/{key}", variants={"it": to_value(value)}, default_variant="it")
    await stub.PutFlag(PutFlagRequest(flag=flag))


async def listed(served: Served, **fields: Any) -> list[pb.FlagConsumer]:
    stub: Any = FlagConsumerServiceStub(served.as_role("operator"))
    return list((await stub.ListFlagConsumers(pb.ListFlagConsumersRequest(**fields))).flag_consumers)


async def until(served: Served, holds: Callable[[list[pb.FlagConsumer]], bool]) -> list[pb.FlagConsumer]:
    """Returns the list once it is as it should be."""
    async with asyncio.timeout(BOUND):
        while not holds(found := await listed(served)):  # noqa: ASYNC110 - what it looks at is in a database
            await asyncio.sleep(0.05)
    return found


@contextlib.asynccontextmanager
async def copying(served: Served, service: str) -> AsyncIterator[FlagCopy]:
    """Follows the flags as a service does."""
    way = ways(served.channel(service))
    copy = FlagCopy(way, service, max_staleness=MAX_STALENESS)
    task = asyncio.create_task(copy.run())
    try:
        yield copy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_services_say_which_change_they_have(served: Served) -> None:
    await put(served, 1)
    assert await listed(served) == []
    async with copying(served, "proxy"), copying(served, "catalog"):
        found = await until(served, lambda all_of_them: [each.sequence for each in all_of_them] == [1, 1])
        assert [each.name.partition("-")[0] for each in found] == ["flagConsumers/catalog", "flagConsumers/proxy"]
        assert all(each.kind == Kind.KIND_SERVICE and each.newest_sequence == 1 for each in found)
        first = found[0].ack_time.ToNanoseconds()
        await put(served, 2)
        found = await until(served, lambda all_of_them: [each.sequence for each in all_of_them] == [2, 2])
        assert all(each.ack_time.ToNanoseconds() > first and each.HasField("age") for each in found)


async def test_who_falls_behind_grows_old(served: Served) -> None:
    stub: Any = FlagConsumerServiceStub(served.channel("proxy"))
    await put(served, 1)

    def says(sequence: int) -> pb.ReportFlagConsumersRequest:
        return pb.ReportFlagConsumersRequest(reports=[pb.FlagConsumerReport(consumer="proxy-1", sequence=sequence)])

    await stub.ReportFlagConsumers(says(1))
    [before] = await listed(served)
    await put(served, 2)
    await stub.ReportFlagConsumers(says(1))
    [after] = await listed(served)
    # It was heard again, and has nothing newer.
    assert after.report_time.ToNanoseconds() > before.report_time.ToNanoseconds()
    assert (after.sequence, after.newest_sequence) == (1, 2)
    assert (after.fresh_time, after.ack_time) == (before.fresh_time, before.ack_time)
    assert after.age.ToTimedelta() > before.age.ToTimedelta()
    # The control: with the newest one it is fresh.
    await stub.ReportFlagConsumers(says(2))
    [caught_up] = await listed(served)
    assert caught_up.fresh_time.ToNanoseconds() > after.fresh_time.ToNanoseconds()


async def test_the_catalog_says_what_edges_have(served: Served) -> None:
    stub: Any = FlagConsumerServiceStub(served.channel("catalog"))
    await put(served, 1)
    heard = Timestamp()
    heard.FromJsonString("2026-01-05T12:00:00Z")
    await stub.ReportFlagConsumers(
        pb.ReportFlagConsumersRequest(
            reports=[
                pb.FlagConsumerReport(consumer="edge-shop", sequence=1, fresh_time=heard),
                pb.FlagConsumerReport(consumer="edge-new"),
            ]
        )
    )
    new, shop = await listed(served)
    assert (shop.kind, shop.sequence, shop.fresh_time) == (Kind.KIND_EDGE, 1, heard)
    assert (new.kind, new.sequence, new.HasField("age")) == (Kind.KIND_EDGE, 0, False)
    # What an edge that is on its way has is not known: the one that was known stays.
    await stub.ReportFlagConsumers(pb.ReportFlagConsumersRequest(reports=[pb.FlagConsumerReport(consumer="edge-shop")]))
    _, shop = await listed(served)
    assert (shop.sequence, shop.fresh_time) == (1, heard)


async def test_clients_streams_are_there_while_they_are_open(served: Served) -> None:
    await put(served, 1)
    member = served.as_role("member", workspace="acme")
    sync: Any = FlagSyncServiceStub(member)
    events: Any = ServiceStub(member)
    streams = [sync.SyncFlags(sync_pb2.SyncFlagsRequest()), events.EventStream(v2.EventStreamRequest())]
    async with asyncio.timeout(BOUND):
        for stream in streams:
            await stream.read()
    found = await until(served, lambda all_of_them: [each.sequence for each in all_of_them] == [1, 1])
    assert {each.protocol for each in found} == {"flagd.sync.v1", "flagd.evaluation"}
    assert {(each.kind, each.workspace) for each in found} == {(Kind.KIND_CLIENT, "acme")}
    await put(served, 2)
    async with asyncio.timeout(BOUND):
        for stream in streams:
            await stream.read()
    await until(served, lambda all_of_them: [each.sequence for each in all_of_them] == [2, 2])
    for stream in streams:
        stream.cancel()
    await until(served, lambda all_of_them: not all_of_them)


async def test_consumers_come_page_by_page(served: Served) -> None:
    await put(served, 1)
    catalog: Any = FlagConsumerServiceStub(served.channel("catalog"))
    names = [f"edge-{number:02}" for number in range(5)]
    reports = [pb.FlagConsumerReport(consumer=name, sequence=1) for name in reversed(names)]
    await catalog.ReportFlagConsumers(pb.ReportFlagConsumersRequest(reports=reports))
    stub: Any = FlagConsumerServiceStub(served.as_role("operator"))
    found, token = [], ""
    while True:
        page = await stub.ListFlagConsumers(pb.ListFlagConsumersRequest(page_size=2, page_token=token))
        found += [each.name.partition("/")[2] for each in page.flag_consumers]
        token = page.next_page_token
        if not token:
            break
    assert found == names


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (pb.FlagConsumerReport(), "reports[0].consumer"),
        (pb.FlagConsumerReport(consumer="catalog-1"), "reports[0].consumer"),
        (pb.FlagConsumerReport(consumer="edge-shop"), "reports[0].consumer"),
        (pb.FlagConsumerReport(consumer="proxy-A"), "reports[0].consumer"),
        (pb.FlagConsumerReport(consumer="proxy-" + "a" * 100), "reports[0].consumer"),
        (pb.FlagConsumerReport(consumer="proxy-1", sequence=-1), "reports[0].sequence"),
        (
            pb.FlagConsumerReport(consumer="proxy-1", fresh_time=Timestamp(seconds=10**15)),
            "reports[0].fresh_time",
        ),
    ],
)
async def test_a_report_of_somebody_else_or_without_sense_is_refused(
    served: Served, report: pb.FlagConsumerReport, field: str
) -> None:
    await put(served, 1)
    stub: Any = FlagConsumerServiceStub(served.channel("proxy"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ReportFlagConsumers(pb.ReportFlagConsumersRequest(reports=[report]))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field.encode() in dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]
    # The control: under its own name it is taken.
    own = pb.FlagConsumerReport(consumer="proxy-1", sequence=1)
    await stub.ReportFlagConsumers(pb.ReportFlagConsumersRequest(reports=[own]))
