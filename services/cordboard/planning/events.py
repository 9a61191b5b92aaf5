"""Items out of an answer that comes piece by piece: server-sent events, lines of JSON, bytes. Pure."""

from __future__ import annotations

import base64
from typing import Any, Final, Protocol

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.decoders import Undecodable, json_line

MAX_ITEM: Final = 4 * 1024 * 1024
"""Bytes of a single item."""

_TOO_LARGE: Final = "has an item that is larger than is taken"


class Reader(Protocol):
    """Reads one answer; raises Undecodable."""

    def read(self, piece: bytes) -> list[Any]:
        """Returns the items that are whole with this piece."""
        ...

    def end(self) -> list[Any]:
        """Returns the items that were left when the answer ended."""
        ...


def reader_of(kind: int) -> Reader:
    """Returns a reader of a StreamKind other than UNSPECIFIED."""
    if kind == pb.STREAM_KIND_SERVER_SENT_EVENTS:
        return _Events()
    return _JsonLines() if kind == pb.STREAM_KIND_JSON_LINES else _Bytes()


class _Lines:
    """Cuts pieces into lines."""

    def __init__(self, *, bare_returns: bool) -> None:
        """`bare_returns` tells that a carriage return alone ends a line too."""
        self._bare_returns = bare_returns
        self._pieces: list[bytes] = []
        self._size = 0
        self._after_return = False

    def cut(self, piece: bytes) -> list[bytes]:
        """Returns the lines that are whole with this piece, without their ends."""
        if self._bare_returns:
            # A line feed right after a carriage return belongs to it, in the next piece too.
            if self._after_return:
                piece = piece.removeprefix(b"\n")
                self._after_return = not piece
            if piece:
                self._after_return = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = piece.split(b"\n")
        if not whole:
            self._keep(rest)
            return []
        self._keep(whole[0])
        lines = [b"".join(self._pieces), *whole[1:]]
        self._pieces, self._size = [], 0
        self._keep(rest)
        return lines

    def left(self) -> bytes:
        """Returns what has no end yet."""
        return b"".join(self._pieces)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_ITEM:
            raise Undecodable(_TOO_LARGE)
        if piece:
            self._pieces.append(piece)


class _Events:
    """Server-sent events, as the HTML standard (section 9.2.6) has them read."""

    def __init__(self) -> None:
        self._lines = _Lines(bare_returns=True)
        self._begun = False
        self._id = ""
        self._clear()

    def read(self, piece: bytes) -> list[Any]:
        found = []
        for raw in self._lines.cut(piece):
            line = raw if self._begun else raw.removeprefix(b"\xef\xbb\xbf")
            self._begun = True
            if line:
                self._take(line)
            else:
                if self._data:
                    found.append(self._event())
                self._clear()
        return found

    def end(self) -> list[Any]:
        # What no empty line has ended was cut off.
        return []

    def _take(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._size += len(value) + 1
            if self._size > MAX_ITEM:
                raise Undecodable(_TOO_LARGE)
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _event(self) -> dict[str, Any]:
        text = "\n".join(self._data)
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError:
            data = text
        event: dict[str, Any] = {"event": self._type or "message", "data": data}
        return {**event, "id": self._id} if self._id else event

    def _clear(self) -> None:
        self._data: list[str] = []
        self._size = 0
        self._type = ""


class _JsonLines:
    def __init__(self) -> None:
        self._lines = _Lines(bare_returns=False)

    def read(self, piece: bytes) -> list[Any]:
        return [json_line(line) for line in self._lines.cut(piece) if line.strip()]

    def end(self) -> list[Any]:
        left = self._lines.left()
        return [json_line(left)] if left.strip() else []


class _Bytes:
    def read(self, piece: bytes) -> list[Any]:
        return [base64.b64encode(piece).decode()] if piece else []

    def end(self) -> list[Any]:
        return []
