"""A trace as a picture for the terminal: the tree of its spans beside bars on one scale of time."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from cordboard.telemetry.v1 import trace_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.console import RenderableType

MOST_ROWS: Final = 500
MOST_EVENTS: Final = 32
"""Spans of one picture; whoever wants more reads JSON."""

# One colour per service, the same in every trace and for every viewer. Red is for errors alone.
COLOURS: Final = {
    "envoy": "cyan",
    "proxy": "green",
    "auth": "magenta",
    "catalog": "blue",
    "uqi": "yellow",
    "flags": "bright_magenta",
    "telemetry": "bright_black",
    "sandbox": "bright_yellow",
}
_OTHER_COLOURS: Final = ("bright_cyan", "bright_green", "bright_blue", "white")
_ERROR: Final = "bold red"
# By number, as some senders give them.
_GRPC_CODES: Final = tuple(code.name for code in sorted(grpc.StatusCode, key=lambda code: code.value[0]))
# What a person wants to know of a span beside its name, in this order.
_NOTES: Final = (
    "http.response.status_code",
    "rpc.response.status_code",
    "rpc.grpc.status_code",
    "cordboard.stage",
    "cordboard.integration",
    "cordboard.action",
    "cordboard.workspace",
    "cordboard.error.reason",
    "error.type",
)
MOST_LINKS: Final = 50
# What the other trace is to this one, and this one to the other.
_BACK: Final = {
    "submitted": "was submitted by",
    "attempt": "was tried before in",
    "replayed": "was replayed by",
    "taken": "came in with",
}
_ON: Final = {"submitted": "ran in", "attempt": "tried again in", "replayed": "ran again in", "taken": "was told in"}
_MAX_INDENT: Final = 24
_WIDEST_BAR: Final = 80
# C0 and C1: a span's name comes from whoever sent it, and must not steer the terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GRPC_METHOD: Final = re.compile(r"/?(?:\w+\.)+(\w+/\w+)")
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def waterfall(trace: pb.Trace, *, most: int = MOST_ROWS) -> RenderableType:
    """Returns the picture of a trace with its spans: a heading, a row for each span, and what is amiss."""
    rows = list(_rows(trace.spans))
    return Group(_heading(trace), Text(), _Picture(rows[:most], trace.spans), *_footnotes(rows, most), *_links(trace))


def table(traces: Iterable[pb.Trace], *, heading: bool = True) -> Table:
    """Returns a compact table of traces, in the order they come."""
    listed = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", show_header=heading)
    listed.add_column("trace", no_wrap=True)
    listed.add_column("began (UTC)", no_wrap=True)
    listed.add_column("took", no_wrap=True, justify="right")
    listed.add_column("spans", no_wrap=True, justify="right")
    listed.add_column("failed", no_wrap=True, justify="right")
    listed.add_column("root", no_wrap=True, overflow="ellipsis", ratio=2)
    listed.add_column("services", no_wrap=True, overflow="ellipsis", ratio=1)
    for trace in traces:
        root = Text(f"{_printable(trace.root_service)} ", style=colour_of(trace.root_service))
        root.append(_title(trace.root_name), style="default")
        errors = Text(str(trace.error_count), style=_ERROR) if trace.error_count else Text("-", style="dim")
        listed.add_row(
            trace.name.removeprefix("traces/"),
            _clock(trace.start_time),
            length(trace.duration),
            str(trace.span_count),
            errors,
            root,
            _services(trace.services),
        )
    return listed


def length(duration: Duration) -> str:
    """Returns a time span in three digits and the unit that fits: `850 µs`, `12.3 ms`, `1.24 s`, `2 m 03 s`."""
    nanoseconds = duration.seconds * 1_000_000_000 + duration.nanos
    for size, unit in ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")):
        if nanoseconds >= size * 60 and unit == "s":
            minutes, seconds = divmod(round(nanoseconds / size), 60)
            return f"{minutes} m {seconds:02d} s"
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{nanoseconds} ns"


def colour_of(service: str) -> str:
    """Returns the colour of a service; one that is not of the mesh gets one of a few, always the same."""
    known = COLOURS.get(service.removeprefix("cordboard-"))
    return known or _OTHER_COLOURS[zlib.crc32(service.encode()) % len(_OTHER_COLOURS)]


@dataclass(frozen=True)
class _Row:
    span: pb.Span
    prefix: str
    is_orphan: bool


@dataclass(frozen=True)
class _Picture:
    """The rows, with the room of the terminal shared out between names, bars and notes."""

    rows: Sequence[_Row]
    spans: Sequence[pb.Span]
    """All of the trace's, which make the scale of time."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        begin = min((_start(span) for span in self.spans), default=0)
        total = max((_end(span) for span in self.spans), default=begin) - begin
        names, notes = [_name(row) for row in self.rows], [_notes(row.span) for row in self.rows]
        service = min(14, max((len(row.span.service) for row in self.rows), default=0))
        room = max(0, options.max_width - max(7, service) - 8 - 8)
        name = min(room * 2 // 5, max(map(len, names), default=0))
        longest = max(map(len, notes), default=0)
        bars = min(_WIDEST_BAR, room - name - min(room * 3 // 10, longest))
        note = min(longest, room - name - bars)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for heading, width in (("service", max(7, service)), ("span", name), (_Scale(total), bars)):
            table.add_column(heading, no_wrap=True, overflow="ellipsis", width=max(1, width))
        table.add_column("took", no_wrap=True, justify="right", width=8)
        table.add_column("", no_wrap=True, overflow="ellipsis", width=max(1, note))
        for row, title, noted in zip(self.rows, names, notes, strict=True):
            span, colour = row.span, colour_of(row.span.service)
            style = _ERROR if _failed(span) else colour
            bar = _Bar(_start(span) - begin, _end(span) - begin, total, style)
            took = length(span.duration) if span.span_id else ""
            table.add_row(Text(_printable(span.service), style=colour), title, bar, took, noted)
        yield table


@dataclass(frozen=True)
class _Bar:
    """A bar from `begin` to `end` on a scale from 0 to `total`, all in nanoseconds; as wide as there is room."""

    begin: int
    end: int
    total: int
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        style = Style.parse(self.style)
        if options.ascii_only:
            first, last = self._cells(width, 1)
            yield Segment(" " * first + "#" * max(1, last - first), style)
            return
        first, last = self._cells(width, 8)
        cell, inside = divmod(first, 8)
        if last - first < 8 - inside:
            # Within one cell: blocks grow from the left, so that is where the sliver stands.
            yield Segment(" " * cell + _EIGHTHS[max(1, last - first)], style)
            return
        yield Segment(" " * cell, style)
        if inside:
            # Of the blocks that grow from the right there is only the half, and reverse video is lost in a pipe.
            yield Segment("▐" if inside >= 4 else "█", style)
            cell += 1
        full, rest = divmod(last - cell * 8, 8)
        yield Segment("█" * full + (_EIGHTHS[rest] if rest else ""), style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(12, options.max_width)

    def _cells(self, width: int, parts: int) -> tuple[int, int]:
        room = width * parts
        if not self.total:
            return 0, room
        first = min(room - 1, self.begin * room // self.total)
        return first, max(first + 1, min(room, -(-self.end * room // self.total)))


@dataclass(frozen=True)
class _Scale:
    """The heading over the bars: 0 at the left, the whole time at the right."""

    total: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = length(_duration(self.total))
        yield Text("0" + whole.rjust(max(len(whole) + 1, options.max_width - 1)), style="dim", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(12, options.max_width)


def _rows(spans: Sequence[pb.Span]) -> Iterator[_Row]:
    ids = {span.span_id for span in spans}
    children: defaultdict[str, list[pb.Span]] = defaultdict(list)
    roots = []
    for span in sorted(spans, key=lambda one: (_start(one), -_end(one))):
        if span.parent_span_id in ids and span.parent_span_id != span.span_id:
            children[span.parent_span_id].append(span)
        else:
            roots.append(span)
    for span in spans:
        if span.events:
            # What happened in a span stands below it, among its children, at its moment.
            children[span.span_id] += [_moment(span, event) for event in span.events[:MOST_EVENTS]]
            children[span.span_id].sort(key=_start)
    for root in roots:
        yield from _below(root, children)
    # Whatever is left hangs in a ring of parents: the earliest of each ring stands for its root.
    while children:
        ring = min((span for group in children.values() for span in group), key=_start)
        children[ring.parent_span_id].remove(ring)
        yield from _below(ring, children)
        for parent in [parent for parent, group in children.items() if not group]:
            del children[parent]


def _moment(span: pb.Span, event: pb.SpanEvent) -> pb.Span:
    return pb.Span(name=event.name, service=span.service, start_time=event.time, attributes=event.attributes)


def _below(root: pb.Span, children: dict[str, list[pb.Span]]) -> Iterator[_Row]:
    # A stack and no recursion: a chain of thousands of spans is a trace like any other.
    stack = [(root, "", "")]
    while stack:
        span, prefix, inherited = stack.pop()
        yield _Row(span, _short(prefix), is_orphan=span is root and bool(span.parent_span_id))
        below = children.pop(span.span_id, [])
        last = len(below) - 1
        stack.extend(
            (child, inherited + ("└╴" if index == last else "├╴"), inherited + ("  " if index == last else "│ "))
            for index, child in reversed(list(enumerate(below)))
        )


def _short(prefix: str) -> str:
    return prefix if len(prefix) <= _MAX_INDENT else "⋯ " + prefix[2 - _MAX_INDENT :]


def _heading(trace: pb.Trace) -> Text:
    heading = Text()
    heading.append(trace.name.removeprefix("traces/"), style="bold")
    heading.append(f"  {_clock(trace.start_time)} UTC", style="dim")
    heading.append(f"\n{_printable(trace.root_service)}", style=colour_of(trace.root_service))
    heading.append(f" {_title(trace.root_name)}  {length(trace.duration)}")
    heading.append(f"  {trace.span_count} spans in ")
    heading.append_text(_services(trace.services))
    if trace.error_count:
        heading.append(f"  {trace.error_count} failed", style=_ERROR)
    return heading


def _footnotes(rows: Sequence[_Row], most: int) -> Iterator[Text]:
    orphans = sum(row.is_orphan for row in rows)
    if orphans:
        yield Text(f"{orphans} of the roots above name a parent that did not come", style="dim italic")
    if len(rows) > most:
        yield Text(f"{len(rows) - most} more spans are not shown", style="dim italic")


def _links(trace: pb.Trace) -> Iterator[Text]:
    """Tells which other traces this one goes back to, and which go back to it; `trace show` follows them."""
    back = [(span, link) for span in trace.spans for link in span.links]
    if back or trace.linked_from:
        yield Text("\nother traces of this story", style="dim")
    for span, link in back[:MOST_LINKS]:
        told = Text("  ← ").append(_title(span.name))
        told.append(f" {_BACK.get(link.relation, 'goes back to')} ", style="dim")
        yield told.append(link.trace.removeprefix("traces/"))
    for one in trace.linked_from[:MOST_LINKS]:
        told = Text("  → ").append(f"{_ON.get(one.relation, 'is followed by')} ", style="dim")
        told.append(one.trace.removeprefix("traces/")).append(f" {_printable(one.service)} ", colour_of(one.service))
        told.append(f"{_title(one.name)}  {length(one.duration)}")
        yield told.append("  failed" if one.status == pb.Span.STATUS_ERROR else "", style=_ERROR)


def _services(services: Iterable[str]) -> Text:
    return Text(" ").join(Text(_printable(service), style=colour_of(service)) for service in services)


def _failed(span: pb.Span) -> bool:
    return span.status == pb.Span.STATUS_ERROR


def _name(row: _Row) -> Text:
    name = Text(row.prefix, style="dim")
    name.append("✗ " if _failed(row.span) else "", style=_ERROR)
    return name.append(_title(row.span.name), style=_ERROR if _failed(row.span) else "default")


def _notes(span: pb.Span) -> Text:
    notes: list[str] = []
    for key in _NOTES:
        value = span.attributes.get(key, "")
        if key.endswith("grpc.status_code") or key == "rpc.response.status_code":
            value = _grpc_code(value)
        if value and value not in notes:
            notes.append(_printable(value))
    if _failed(span) and span.status_message:
        notes.append(_printable(span.status_message))
    return Text(" · ".join(notes), style="red" if _failed(span) else "dim")


def _grpc_code(value: str) -> str:
    name = _GRPC_CODES[int(value)] if value.isascii() and value.isdigit() and int(value) < len(_GRPC_CODES) else value
    return "" if name == "OK" else name


def _title(name: str) -> str:
    method = _GRPC_METHOD.fullmatch(name)
    return method[1] if method else _printable(name)


def _printable(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _clock(moment: Timestamp) -> str:
    return moment.ToDatetime().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _start(span: pb.Span) -> int:
    return span.start_time.seconds * 1_000_000_000 + span.start_time.nanos


def _end(span: pb.Span) -> int:
    return _start(span) + span.duration.seconds * 1_000_000_000 + span.duration.nanos


def _duration(nanoseconds: int) -> Duration:
    made = pb.Span().duration
    made.FromNanoseconds(nanoseconds)
    return made
