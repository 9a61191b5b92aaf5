"""Traces are found by what one of their spans is, newest first, page by page, and shown whole."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cordboard.core.paging import Paging
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.fixtures.otlp import MILLISECOND, SECOND, a_span, an_attribute, an_export, exporter
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

HOUR = 3600 * SECOND
ERROR = 2


class Telemetry:
    """The running service, as exporters and operators use it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.traces = TraceServiceStub(served.as_role("operator"))
        self._otlp = exporter(served.channel("envoy"))

    async def keep(self, *spans: Span, service: str = "proxy") -> None:
        answer = await self._otlp.Export(an_export(*spans, service=service), timeout=20)
        assert answer.partial_success.rejected_spans == 0

    async def page(self, **conditions: Any) -> pb.ListTracesResponse:
        return await self.traces.ListTraces(pb.ListTracesRequest(**conditions), timeout=20)

    async def found(self, **conditions: Any) -> list[str]:
        """Returns the ids of all traces that fit, page by page."""
        names: list[str] = []
        token = ""
        while True:
            page = await self.page(page_token=token, **conditions)
            names.extend(trace.name.removeprefix("traces/") for trace in page.traces)
            token = page.next_page_token
            if not token:
                return names


Started = Callable[[], contextlib.AbstractAsyncContextManager[Telemetry]]


@pytest.fixture
def started(serving: Serving, database: Databases) -> Started:
    @contextlib.asynccontextmanager
    async def run() -> AsyncIterator[Telemetry]:
        url = database("telemetry").url
        async with serving("telemetry", TelemetrySettings, start, database_url=url) as served:
            yield Telemetry(served)

    return run


@pytest.fixture
async def telemetry(started: Started) -> AsyncIterator[Telemetry]:
    async with started() as running:
        yield running


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, list[str]]:
    """Returns the code, the reason and the wrong fields of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    packed: Any = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for each in status_pb2.Status.FromString(packed).details:
        _ = each.Unpack(info) or each.Unpack(bad)
    return caught.value.code(), info.reason, [violation.field for violation in bad.field_violations]


def at(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)


async def test_links_are_shown_on_both_sides(telemetry: Telemetry) -> None:
    now = time.time_ns() - 20 * SECOND
    submit, run, again, other = (bytes([number]) * 16 for number in (1, 2, 3, 4))
    submitted, ran = b"submitid", b"run---id"

    def linking(name: str, trace: bytes, own: bytes, *links: tuple[bytes, bytes, str], **fields: Any) -> Span:
        made = a_span(name, trace_id=trace, span_id=own, **fields)
        for trace_id, span_id, relation in links:
            made.links.add(
                trace_id=trace_id,
                span_id=span_id,
                attributes=[an_attribute("cordboard.link", relation), an_attribute("note", "token=abcdef")],
            )
        return made

    await telemetry.keep(
        a_span("SubmitJob", trace_id=submit, span_id=submitted, start=now),
        linking("job proxy.run", run, ran, (submit, submitted, "submitted"), start=now + SECOND, status=ERROR),
        linking(
            "job proxy.run", again, b"again-id", (submit, submitted, "submitted"), (run, ran, "attempt"),
            start=now + 2 * SECOND, took=SECOND,
        ),
        # What leads nowhere, and what leads to itself.
        linking("odd", other, b"odd---id", (b"", b"", ""), (b"\x09" * 16, b"12345678", ""), (other, b"odd---id", "")),
    )  # fmt: skip

    async def trace(trace_id: bytes) -> pb.Trace:
        found: pb.Trace = await telemetry.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{trace_id.hex()}"))
        return found

    first, second, third = await trace(submit), await trace(run), await trace(again)
    assert [(one.trace, one.relation, one.status) for one in first.linked_from] == [
        (f"traces/{run.hex()}", "submitted", pb.Span.STATUS_ERROR),
        (f"traces/{again.hex()}", "submitted", pb.Span.STATUS_UNSPECIFIED),
    ]
    assert [(one.span_id, one.target_span_id) for one in second.linked_from] == [(b"again-id".hex(), ran.hex())]
    assert (second.linked_from[0].name, second.linked_from[0].duration) == ("job proxy.run", Duration(seconds=1))
    [span] = third.spans
    assert [(link.trace, link.span_id, link.relation) for link in span.links] == [
        (f"traces/{submit.hex()}", submitted.hex(), "submitted"),
        (f"traces/{run.hex()}", ran.hex(), "attempt"),
    ]
    assert dict(span.links[0].attributes) == {"note": "token=[redacted]"}
    assert not third.linked_from
    odd = await trace(other)
    assert [link.trace for link in odd.spans[0].links] == [f"traces/{'09' * 16}", f"traces/{other.hex()}"]
    assert not odd.linked_from
    [listed] = (await telemetry.page(operation="SubmitJob")).traces
    assert not listed.linked_from


async def test_a_trace_is_shown_whole_and_in_order_of_start(telemetry: Telemetry) -> None:
    now, trace = time.time_ns() - 10 * SECOND, b"\xab" * 16
    root, hop, leaf = b"root-id-", b"hop--id-", b"leaf-id-"
    late = a_span("send", trace_id=trace, span_id=leaf, parent_span_id=hop, start=now + 30, took=SECOND, status=ERROR)
    middle = a_span("Execute", trace_id=trace, span_id=hop, parent_span_id=root, start=now, took=SECOND)
    first = a_span("ingress", trace_id=trace, span_id=root, start=now, took=2 * SECOND)
    # Children are exported before their parents, which end after them.
    await telemetry.keep(late, middle)
    await telemetry.keep(first, service="envoy")
    found = await telemetry.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{trace.hex()}"))
    assert [span.name for span in found.spans] == ["ingress", "Execute", "send"]
    assert [span.parent_span_id for span in found.spans] == ["", root.hex(), hop.hex()]
    assert (found.root_name, found.root_service, found.span_count, found.error_count) == ("ingress", "envoy", 3, 1)
    assert sorted(found.services) == ["envoy", "proxy"]
    assert found.start_time.ToNanoseconds() == now
    assert found.duration.ToNanoseconds() == 2 * SECOND
    (listed,) = (await telemetry.page()).traces
    del found.spans[:]
    assert listed == found


async def test_the_root_of_a_trace_is_its_earliest_span_until_the_real_one_comes(telemetry: Telemetry) -> None:
    now, trace = time.time_ns() - SECOND, b"t" * 16
    await telemetry.keep(a_span("child", trace_id=trace, parent_span_id=b"12345678", start=now))
    assert [found.root_name for found in (await telemetry.page()).traces] == ["child"]
    await telemetry.keep(a_span("parent", trace_id=trace, span_id=b"12345678", start=now + 5))
    assert [found.root_name for found in (await telemetry.page()).traces] == ["parent"]


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
async def test_the_case_of_a_trace_id_does_not_matter(telemetry: Telemetry, case: Callable[[str], str]) -> None:
    await telemetry.keep(a_span(trace_id=b"\xab\xcd" * 8))
    found = await telemetry.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{case('abcd' * 8)}"))
    assert found.name == f"traces/{'abcd' * 8}"


@pytest.mark.parametrize(
    "name",
    ["", "x", "traces/", "traces/123", f"traces/{'g' * 32}", f"trace/{'a' * 32}", f"traces/{'a' * 33}", "traces/-"],
)
async def test_a_malformed_name_is_an_invalid_field(telemetry: Telemetry, name: str) -> None:
    assert await refusal(telemetry.traces.GetTrace(pb.GetTraceRequest(name=name))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELDS",
        ["name"],
    )


async def test_a_trace_that_nobody_sent_is_not_found(telemetry: Telemetry) -> None:
    await telemetry.keep(a_span())
    code, reason, _ = await refusal(telemetry.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{'a' * 32}")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize("role", ["reader", "member", "workspace-admin", "publisher"])
async def test_only_operators_see_traces(telemetry: Telemetry, role: str) -> None:
    await telemetry.keep(a_span(trace_id=b"t" * 16))
    stub = TraceServiceStub(telemetry.served.as_role(role, workspace="acme"))
    for call in (
        stub.GetTrace(pb.GetTraceRequest(name=f"traces/{b't'.hex() * 16}")),
        stub.ListTraces(pb.ListTracesRequest()),
    ):
        code, reason, _ = await refusal(call)
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
    assert len((await telemetry.page()).traces) == 1


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, "abc"),
        ({"service": "auth"}, "b"),
        ({"service": "Auth"}, ""),
        ({"operation": "lease"}, "b"),
        ({"operation": "EXEC"}, "ac"),
        ({"operation": "%"}, ""),
        ({"operation": "a\0"}, ""),
        ({"attributes": {"cordboard.workspace": "acme"}}, "ab"),
        ({"attributes": {"cordboard.workspace": "acme", "attempt": "2"}}, "a"),
        ({"attributes": {"cordboard.workspace": "globex", "attempt": "2"}}, ""),
        ({"attributes": {"cordboard.workspace": ""}}, ""),
        ({"errors_only": True}, "c"),
        ({"min_duration": Duration(nanos=20 * MILLISECOND)}, "bc"),
        ({"min_duration": Duration(nanos=20 * MILLISECOND), "operation": "execute"}, "c"),
        ({"errors_only": True, "service": "auth"}, ""),
    ],
    ids=str,
)
async def test_all_conditions_must_hold_for_one_span(
    telemetry: Telemetry, conditions: dict[str, Any], fits: str
) -> None:
    now = time.time_ns() - SECOND
    ids = {letter: letter.encode() * 16 for letter in "abc"}
    await telemetry.keep(
        a_span("Execute", trace_id=ids["a"], attributes={"cordboard.workspace": "acme", "attempt": 2}, start=now - 3),
        a_span("Execute", trace_id=ids["c"], status=ERROR, took=30 * MILLISECOND, start=now - 1),
        # Each has what the other lacks: together they fit nothing that one span has to be.
        a_span("send", trace_id=ids["c"], attributes={"attempt": 2}, start=now - 1),
        a_span("admit", trace_id=ids["c"], attributes={"cordboard.workspace": "globex"}, start=now - 1),
    )
    await telemetry.keep(
        a_span(
            "Lease",
            trace_id=ids["b"],
            attributes={"cordboard.workspace": "acme"},
            took=20 * MILLISECOND,
            start=now - 2,
        ),
        service="auth",
    )
    assert await telemetry.found(**conditions) == [ids[letter].hex() for letter in reversed(fits)]


async def test_a_list_without_times_is_of_the_last_hour(telemetry: Telemetry) -> None:
    now = time.time_ns()
    recent, older, oldest = (a_span(start=now - age) for age in (SECOND, 2 * HOUR, 30 * HOUR))
    await telemetry.keep(oldest, recent, older)
    assert await telemetry.found() == [recent.trace_id.hex()]
    assert await telemetry.found(start_time=at(now - 3 * HOUR)) == [recent.trace_id.hex(), older.trace_id.hex()]
    assert await telemetry.found(start_time=at(0), end_time=at(now - HOUR)) == [
        older.trace_id.hex(),
        oldest.trace_id.hex(),
    ]


async def test_the_ends_of_a_window_are_first_inclusive_and_last_exclusive(telemetry: Telemetry) -> None:
    begin = time.time_ns() - SECOND
    await telemetry.keep(a_span(start=begin))
    assert len(await telemetry.found(start_time=at(begin), end_time=at(begin + 1))) == 1
    assert await telemetry.found(start_time=at(begin + 1)) == []
    assert await telemetry.found(start_time=at(begin - 1), end_time=at(begin)) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListTracesRequest(page_size=-1), "page_size"),
        (pb.ListTracesRequest(page_token="x"), "page_token"),
        (pb.ListTracesRequest(min_duration=Duration(seconds=-1)), "min_duration"),
        (pb.ListTracesRequest(start_time=Timestamp(seconds=9), end_time=Timestamp(seconds=9)), "end_time"),
        (pb.ListTracesRequest(end_time=Timestamp(seconds=9)), "end_time"),
        (pb.ListTracesRequest(start_time=Timestamp(seconds=1 << 62)), "end_time"),
        (pb.ListTracesRequest(attributes={str(number): "" for number in range(33)}), "attributes"),
    ],
    ids=str,
)
async def test_a_wrong_field_is_named(telemetry: Telemetry, request_: pb.ListTracesRequest, field: str) -> None:
    assert await refusal(telemetry.traces.ListTraces(request_)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELDS",
        [field],
    )


async def test_a_token_continues_its_own_list_only(telemetry: Telemetry) -> None:
    await telemetry.keep(a_span(), a_span())
    token = (await telemetry.page(page_size=1)).next_page_token
    assert len((await telemetry.page(page_size=1, page_token=token)).traces) == 1
    other = telemetry.page(page_size=1, page_token=token, service="proxy")
    assert (await refusal(other))[2] == ["page_token"]


async def test_traces_that_begin_between_two_pages_do_not_move_the_second(telemetry: Telemetry) -> None:
    now = time.time_ns() - SECOND
    spans = [a_span(start=now - index) for index in range(6)]
    await telemetry.keep(*spans)
    first = await telemetry.page(page_size=3)
    await telemetry.keep(a_span(start=time.time_ns()))
    # A parent that ends after its children comes in late, and began before them.
    await telemetry.keep(a_span(trace_id=spans[0].trace_id, start=now - 10))
    second = await telemetry.page(page_size=3, page_token=first.next_page_token)
    assert [trace.name for page in (first, second) for trace in page.traces] == [
        f"traces/{span.trace_id.hex()}" for span in spans
    ]


async def test_more_spans_than_one_step_of_the_search_are_no_hindrance(telemetry: Telemetry) -> None:
    now, large = time.time_ns() - SECOND, b"l" * 16
    small = a_span(start=now - 5000)
    await telemetry.keep(*(a_span(trace_id=large, start=now - index) for index in range(2500)), small)
    assert await telemetry.found(page_size=1) == [large.hex(), small.trace_id.hex()]


async def test_a_token_with_other_content_is_refused(telemetry: Telemetry) -> None:
    binding = Paging.of(pb.ListTracesRequest())
    for after in ("1:2:3", "1:2:3:x", "a:b:c:d", f"1:2:-3:{'a' * 32}", f"1:{1 << 70}:3:{'a' * 32}"):
        assert (await refusal(telemetry.page(page_token=binding.token(after))))[2] == ["page_token"]


drawn = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 8), st.sampled_from(["proxy", "auth"]), st.booleans()), max_size=25
)


def test_pages_are_the_list_cut_in_pieces(started: Started) -> None:
    """The model: each trace stands where its newest fitting span stands."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        telemetry = runner.run(stack.enter_async_context(started()))
        clock = [time.time_ns() - 50 * 60 * SECOND]

        async def check(spans: list[tuple[int, int, str, bool]], size: int, service: str, errors_only: bool) -> None:
            # Each example has a second of its own, and traces of its own.
            clock[0] += SECOND
            base, salt = clock[0], clock[0].to_bytes(8, "big")
            newest: dict[str, int] = {}
            for trace, moment, sender, failed in spans:
                span = a_span(trace_id=salt + trace.to_bytes(8, "big"), start=base + moment, status=ERROR * failed)
                await telemetry.keep(span, service=sender)
                if service in {"", sender} and failed >= errors_only:
                    name = span.trace_id.hex()
                    newest[name] = max(newest.get(name, 0), moment)
            expected = sorted(newest, key=lambda name: (newest[name], name), reverse=True)
            window = {"start_time": at(base), "end_time": at(base + SECOND)}
            found = await telemetry.found(page_size=size, service=service, errors_only=errors_only, **window)
            assert found == expected

        try:
            lists = given(drawn, st.integers(1, 4), st.sampled_from(["", "proxy", "auth"]), st.booleans())
            settings(max_examples=40, deadline=None)(
                lists(lambda spans, size, service, errors: runner.run(check(spans, size, service, errors)))
            )()
        finally:
            runner.run(stack.aclose())


def test_no_list_request_is_a_fault(started: Started) -> None:
    words, seconds, nanos = st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)
    requests = st.builds(
        pb.ListTracesRequest,
        page_size=st.integers(-(2**31), 2**31 - 1),
        page_token=words,
        service=words,
        operation=words,
        attributes=st.dictionaries(words, words, max_size=3),
        errors_only=st.booleans(),
        min_duration=st.builds(Duration, seconds=seconds, nanos=nanos),
        start_time=st.builds(Timestamp, seconds=seconds, nanos=nanos),
        end_time=st.builds(Timestamp, seconds=seconds),
    )
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        telemetry = runner.run(stack.enter_async_context(started()))
        runner.run(telemetry.keep(a_span()))

        async def check(request: pb.ListTracesRequest) -> None:
            try:
                await telemetry.traces.ListTraces(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

        try:
            settings(max_examples=300, deadline=None)(given(requests)(lambda request: runner.run(check(request))))()
        finally:
            runner.run(stack.aclose())


async def test_what_is_rare_is_found_over_days_in_order_and_page_by_page(telemetry: Telemetry) -> None:
    now, wanted = time.time_ns() - SECOND, []
    for number in range(36):
        given = {"cordboard.integration": "desk", "http.response.status_code": 503, "number": number % 3}
        span = a_span(trace_id=bytes([number + 1]) * 16, start=now - number * 4 * HOUR, attributes=given)
        noise = a_span(start=now - number * 4 * HOUR - HOUR, attributes={"cordboard.integration": "other"})
        await telemetry.keep(span, noise)
        wanted.append((number % 3, span.trace_id.hex()))
    everything: dict[str, Any] = {"start_time": at(now - 7 * 24 * HOUR), "page_size": 5}
    cases: list[tuple[dict[str, str], set[int]]] = [
        ({"http.response.status_code": "503"}, {0, 1, 2}),
        ({"number": "1"}, {1}),
        ({"cordboard.integration": "desk", "number": "2"}, {2}),
        ({"cordboard.integration": "desk"}, {0, 1, 2}),
        ({"cordboard.integration": "other", "number": "2"}, set()),
        ({"cordboard.workspace": "nobody"}, set()),
    ]
    for attributes, fitting in cases:
        found = await telemetry.found(attributes=attributes, **everything)
        assert found == [trace for number, trace in wanted if number in fitting], attributes
