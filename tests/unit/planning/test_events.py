"""Items out of answers that come in pieces, wherever they are cut."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.decoders import Undecodable
from cordboard.planning.events import MAX_ITEM, reader_of

EVENTS, LINES, BYTES = pb.STREAM_KIND_SERVER_SENT_EVENTS, pb.STREAM_KIND_JSON_LINES, pb.STREAM_KIND_BYTES


def read(kind: int, *pieces: bytes) -> list[Any]:
    reader = reader_of(kind)
    return [item for piece in pieces for item in reader.read(piece)] + reader.end()


def message(data: Any, **members: str) -> dict[str, Any]:
    return {"event": "message", "data": data} | members


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: hello\n\n", [message("hello")]),
        ("data:hello\n\n", [message("hello")]),
        ("data:  two\n\n", [message(" two")]),
        ('data: {"a":1}\n\n', [message({"a": 1})]),
        ("data: [DONE]\n\n", [message("[DONE]")]),
        ("data: a\ndata: b\n\n", [message("a\nb")]),
        ("data\n\n", [message("")]),
        ("event: add\ndata: 1\n\n", [{"event": "add", "data": 1}]),
        ("event: add\n\ndata: 1\n\n", [message(1)]),
        ("id: 7\ndata: 1\n\ndata: 2\n\n", [message(1, id="7"), message(2, id="7")]),
        ("id: 7\ndata: 1\n\nid\ndata: 2\n\n", [message(1, id="7"), message(2)]),
        ("id: a\x00b\ndata: 1\n\n", [message(1)]),
        (": ping\n\nretry: 5\n\nother: x\n\n", []),
        ("\ufeffdata: 1\r\n\r\ndata: 2\r\rdata: 3\n\n", [message(1), message(2), message(3)]),
        ("data: 1\n\ndata: cut off", [message(1)]),
        ("data: 1\n\ndata: cut off\n", [message(1)]),
        ("data: ä€\n\n", [message("ä€")]),
    ],
)
def test_events_are_read_as_the_standard_says(text: str, expected: list[Any]) -> None:
    assert read(EVENTS, text.encode()) == expected
    assert read(EVENTS, *(bytes([one]) for one in text.encode())) == expected


@given(st.text(st.sampled_from("data:ievn 1{}\r\n\ufeff"), max_size=80), st.lists(st.integers(0, 80), max_size=6))
def test_it_does_not_matter_where_events_are_cut(text: str, cuts: list[int]) -> None:
    body = text.encode()
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[begin:end] for begin, end in pairwise(places)]
    assert read(EVENTS, *pieces) == read(EVENTS, body)


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2), max_size=5), st.integers(1, 20))
def test_lines_of_json_come_out_as_they_went_in(values: list[Any], size: int) -> None:
    body = b"\n".join(map(orjson.dumps, values))
    assert read(LINES, *(body[at : at + size] for at in range(0, len(body), size))) == values


def test_a_line_that_is_not_json_is_told() -> None:
    with pytest.raises(Undecodable):
        read(LINES, b'{"a":1}\nrubbish\n')
    with pytest.raises(Undecodable):
        read(LINES, b'{"a":1}\n{"cut')


def test_bytes_are_given_as_they_come() -> None:
    assert read(BYTES, b"\x00\xff", b"", b"a") == [base64.b64encode(one).decode() for one in (b"\x00\xff", b"a")]


@pytest.mark.parametrize(
    ("kind", "begin", "more"),
    [
        (EVENTS, b"data: ", b"x" * 65_536),
        (EVENTS, b"", b"data: xxxxxxxxxxxxxxxx\n" * 4096),
        (LINES, b'"', b"x" * 65_536),
    ],
)
def test_an_item_that_never_ends_is_cut_off(kind: int, begin: bytes, more: bytes) -> None:
    reader = reader_of(kind)
    reader.read(begin)
    fed = 0
    with pytest.raises(Undecodable, match="larger than is taken"):
        while fed < 2 * MAX_ITEM:
            reader.read(more)
            fed += len(more)
    assert fed <= 2 * MAX_ITEM
