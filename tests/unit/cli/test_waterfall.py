from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from rich.console import Console, RenderableType

from cordboard.cli.waterfall import colour_of, length, table, waterfall
from cordboard.telemetry.v1 import trace_service_pb2 as pb

BEGAN = 1_795_230_245_123_456_789
MILLISECOND = 1_000_000
BLOCKS = "█▐▏▎▍▌▋▊▉"


def printed(picture: RenderableType, *, width: int = 120, colours: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=colours, color_system="truecolor" if colours else None).print(picture)
    return out.getvalue()


def a_trace(*spans: pb.Span, **fields: Any) -> pb.Trace:
    given: dict[str, Any] = {
        "name": f"traces/{'4bf9' * 8}",
        "root_name": "ingress",
        "root_service": "envoy",
        "span_count": len(spans),
        "services": ["envoy", "proxy"],
        "spans": spans,
    } | fields
    trace = pb.Trace(**given)
    trace.start_time.FromNanoseconds(BEGAN)
    trace.duration.FromNanoseconds(100 * MILLISECOND)
    return trace


def a_span(
    number: int, parent: int = 0, name: str = "", *, begin: float = 0, took: float = 100, **fields: Any
) -> pb.Span:
    """Makes a span by numbers; times are milliseconds since the trace began."""
    span = pb.Span(
        **{
            "span_id": f"{number:016x}",
            "parent_span_id": f"{parent:016x}" if parent else "",
            "service": "proxy",
            "name": name or f"span-{number}",
        }
        | fields
    )
    span.start_time.FromNanoseconds(BEGAN + int(begin * MILLISECOND))
    span.duration.FromNanoseconds(int(took * MILLISECOND))
    return span


def rows(text: str) -> list[str]:
    lines = text.splitlines()
    return lines[next(index for index, line in enumerate(lines) if line.startswith("service")) + 1 :]


def names(text: str) -> list[str]:
    """Returns the tree: indents and names."""
    found = [re.match(r"\S+ +([│├└╴⋯ ]*(?:✗ )?span-\d+)", row) for row in rows(text)]
    return [match[1] for match in found if match]


def bar(row: str) -> tuple[int, int]:
    """Returns the columns at which a row's bar begins and ends."""
    cells = [index for index, letter in enumerate(row) if letter in BLOCKS]
    assert cells == list(range(cells[0], cells[-1] + 1)), "a bar is one piece"
    return cells[0], cells[-1] + 1


def test_spans_stand_below_their_parents_in_order_of_start() -> None:
    trace = a_trace(
        a_span(4, 2, begin=60, took=10),
        a_span(3, 2, begin=20, took=30),
        a_span(5, 3, begin=25, took=5),
        a_span(1),
        a_span(6, 1, begin=95, took=5),
        a_span(2, 1, begin=5, took=80),
    )
    assert names(printed(waterfall(trace))) == [
        "span-1",
        "├╴span-2",
        "│ ├╴span-3",
        "│ │ └╴span-5",
        "│ └╴span-4",
        "└╴span-6",
    ]


def test_bars_are_on_one_scale_of_time() -> None:
    trace = a_trace(
        a_span(1),
        a_span(2, 1, begin=25, took=25),
        a_span(3, 1, begin=50, took=50),
        a_span(4, 1, begin=99.9, took=0.001),
    )
    whole, quarter, half, last = (bar(row) for row in rows(printed(waterfall(trace), width=160)))
    width = whole[1] - whole[0]
    assert width > 30
    assert quarter == pytest.approx((whole[0] + width / 4, whole[0] + width / 2), abs=1)
    assert half == pytest.approx((whole[0] + width / 2, whole[1]), abs=1)
    # However short a span is, it can be seen, and inside the scale.
    assert last == (whole[1] - 1, whole[1])


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_row_is_broken_or_wider_than_the_terminal(width: int) -> None:
    trace = a_trace(a_span(1, name="n" * 300, attributes={"cordboard.action": "a" * 300}), a_span(2, 1))
    text = printed(waterfall(trace), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert len(rows(text)) == 2


def test_a_row_tells_service_duration_and_what_matters() -> None:
    attributes = {
        "http.response.status_code": "503",
        "rpc.response.status_code": "14",
        "cordboard.integration": "acme-desk",
        "cordboard.action": "list_tickets",
        "cordboard.error.reason": "VENDOR_ERROR",
        "thread.id": "7",
    }
    span = a_span(
        1, took=30.26, service="auth", attributes=attributes, status=pb.Span.STATUS_ERROR, status_message="down"
    )
    (row,) = rows(printed(waterfall(a_trace(span, error_count=1)), width=200))
    assert row.startswith("auth ")
    assert "✗ span-1" in row
    assert "30.3 ms" in row
    assert row.rstrip().endswith("503 · UNAVAILABLE · acme-desk · list_tickets · VENDOR_ERROR · down")


def test_a_call_that_went_well_is_no_news() -> None:
    (row,) = rows(printed(waterfall(a_trace(a_span(1, attributes={"rpc.response.status_code": "0"})))))
    assert "✗" not in row
    assert "OK" not in row


def test_the_heading_says_which_trace_and_how_it_went() -> None:
    heading = printed(waterfall(a_trace(a_span(1), a_span(2, 1), error_count=1))).splitlines()[:2]
    assert heading[0] == f"{'4bf9' * 8}  2026-11-21 03:04:05.123 UTC"
    assert heading[1] == "envoy ingress  100 ms  2 spans in envoy proxy  1 failed"


def test_a_span_whose_parent_did_not_come_is_a_root_and_is_counted() -> None:
    text = printed(waterfall(a_trace(a_span(1), a_span(2, 99, begin=5), a_span(3, 2, begin=6))))
    assert names(text) == ["span-1", "span-2", "└╴span-3"]
    assert "1 of the roots above name a parent that did not come" in text


def test_several_roots_stand_side_by_side_and_are_no_orphans() -> None:
    text = printed(waterfall(a_trace(a_span(2, begin=50), a_span(1))))
    assert names(text) == ["span-1", "span-2"]
    assert "did not come" not in text


@pytest.mark.parametrize(
    "ring",
    [
        [a_span(1, 1)],
        [a_span(1, 2), a_span(2, 1, begin=1)],
        [a_span(1, 3), a_span(2, 1, begin=1), a_span(3, 2, begin=2), a_span(4, 2, begin=3)],
        [a_span(1, 2), a_span(2, 1), a_span(3, 4), a_span(4, 3), a_span(5)],
        [a_span(1), a_span(1), a_span(2, 1), a_span(2, 1)],
    ],
    ids=["itself", "two", "three", "two rings", "twice"],
)
def test_every_span_is_shown_once_whatever_the_parents_say(ring: list[pb.Span]) -> None:
    shown = names(printed(waterfall(a_trace(*ring))))
    assert sorted(name.lstrip("│├└╴ ") for name in shown) == sorted(span.name for span in ring)


def test_a_chain_of_thousands_is_drawn_without_a_stack_overflow() -> None:
    chain = [a_span(number, number - 1, begin=number / 100) for number in range(1, 3001)]
    begun = time.perf_counter()
    text = printed(waterfall(a_trace(*chain), most=100))
    assert time.perf_counter() - begun < 10
    assert len(names(text)) == 100
    assert "2900 more spans are not shown" in text


def test_spans_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[red]x[/red]\nnext\x9b31m"
    trace = a_trace(
        a_span(1, name=evil, service=evil, attributes={"error.type": evil}), root_name=evil, services=[evil]
    )
    text = printed(waterfall(trace), width=200) + printed(table([trace]), width=200)
    assert "[red]x[/red]" in text
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert len(rows(printed(waterfall(trace), width=200))) == 1


def test_each_service_has_its_colour_and_errors_alone_are_red() -> None:
    mesh = ["envoy", "proxy", "auth", "catalog", "uqi", "flags", "telemetry", "sandbox"]
    assert len({colour_of(service) for service in mesh}) == len(mesh)
    assert not [service for service in mesh if "red" in colour_of(service)]
    assert colour_of("billing") == colour_of("billing")
    red = "\x1b[1;31m"
    assert red not in printed(waterfall(a_trace(a_span(1))), colours=True)
    assert red in printed(waterfall(a_trace(a_span(1, status=pb.Span.STATUS_ERROR))), colours=True)


def test_a_trace_without_spans_has_its_heading() -> None:
    text = printed(waterfall(a_trace()))
    assert "envoy ingress" in text
    assert rows(text) == []


def test_spans_without_any_length_are_drawn() -> None:
    assert len(rows(printed(waterfall(a_trace(a_span(1, took=0), a_span(2, 1, took=0)))))) == 2


def test_a_terminal_without_unicode_gets_other_letters() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    Console(file=out, width=100).print(waterfall(a_trace(a_span(1), a_span(2, 1, begin=50, took=50))))
    out.seek(0)
    text = out.read()
    assert text.count("#") > 20


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"), (999, "999 ns"), (1_500, "1.50 µs"), (850_000, "850 µs"), (12_345_678, "12.3 ms"),
        (999_400_000, "999 ms"), (1_236_000_000, "1.24 s"), (59_900_000_000, "59.9 s"), (123_000_000_000, "2 m 03 s"),
    ],
)  # fmt: skip
def test_durations_have_three_digits_and_the_unit_that_fits(nanoseconds: int, text: str) -> None:
    duration = Duration()
    duration.FromNanoseconds(nanoseconds)
    assert length(duration) == text


def test_the_list_has_a_line_for_each_trace_in_the_order_they_come() -> None:
    first = a_trace(span_count=14, error_count=2)
    second = a_trace(name=f"traces/{'ab' * 16}", span_count=3, root_name="/cordboard.proxy.v1.ProxyService/Execute")
    heading, *lines = printed(table([first, second]), width=160).splitlines()
    assert heading.split() == ["trace", "began", "(UTC)", "took", "spans", "failed", "root", "services"]
    assert lines[0].split() == [
        "4bf9" * 8, "2026-11-21", "03:04:05.123", "100", "ms", "14", "2", "envoy", "ingress", "envoy", "proxy",
    ]  # fmt: skip
    assert lines[1].split()[5:] == ["3", "-", "envoy", "ProxyService/Execute", "envoy", "proxy"]


def test_what_happened_in_a_span_stands_below_it_at_its_moment() -> None:
    call = a_span(1)
    call.events.add(name="proxy.resolve", time=call.start_time)
    text = printed(waterfall(a_trace(call)))
    row = next(line for line in text.splitlines() if "proxy.resolve" in line)
    assert "╴proxy.resolve" in row
    assert " ns" not in row


def test_a_trace_names_the_others_of_its_story() -> None:
    before, after = "ab" * 16, "cd" * 16
    link = pb.SpanLink(trace=f"traces/{before}", span_id="1" * 16, relation="submitted")
    trace = a_trace(a_span(1, name="job proxy.run", links=[link]))
    trace.linked_from.add(
        trace=f"traces/{after}", relation="attempt", service="proxy", name="job proxy.run", status=pb.Span.STATUS_ERROR
    ).duration.FromNanoseconds(12 * MILLISECOND)
    lines = [line.strip() for line in printed(waterfall(trace), width=160).splitlines()]
    assert f"← job proxy.run was submitted by {before}" in lines
    assert f"→ tried again in {after} proxy job proxy.run  12.0 ms  failed" in lines
    assert "other traces of this story" not in printed(waterfall(a_trace(a_span(1))))
