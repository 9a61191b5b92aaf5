"""How bytes become values, and which bytes do not."""

from __future__ import annotations

import base64
import csv
import gzip
import io
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning import decoders
from cordboard.planning.decoders import MAX_BYTES, MAX_VALUES, Undecodable, decode, unpacked
from cordboard.planning.xml_documents import MAX_DEPTH

JSON, LINES, CSV, XML, TEXT, BINARY = (
    pb.DECODER_JSON, pb.DECODER_JSON_LINES, pb.DECODER_CSV, pb.DECODER_XML, pb.DECODER_TEXT, pb.DECODER_BINARY,
)  # fmt: skip
BOMB = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;">]><b>&c;</b>"""
FILE = b"""<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>"""


@pytest.mark.parametrize(
    ("decoder", "body", "expected"),
    [
        (JSON, b'{"a":1}', {"a": 1}),
        (JSON, b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (JSON, b" \n", None),
        (LINES, b'{"a":1}\n\n[2]\r\n"x"', [{"a": 1}, [2], "x"]),
        (LINES, b"", []),
        (CSV, b"a,b\r\n1,2\r\n\r\n3,\r\n", [{"a": "1", "b": "2"}, {"a": "3", "b": ""}]),
        (CSV, b'\xef\xbb\xbfname,note\n"Ada, L.","a ""b""\nc"\n', [{"name": "Ada, L.", "note": 'a "b"\nc'}]),
        (CSV, b"a,b\n1\n", [{"a": "1"}]),
        (CSV, b"a,b\n", []),
        (CSV, b"", []),
        (TEXT, "häh".encode(), "häh"),
        (TEXT, b"", ""),
        (BINARY, b"\x00\xff", "AP8="),
        (XML, b"", None),
        (XML, b"<a/>", {"a": None}),
        (XML, b"<a>t</a>", {"a": "t"}),
        (XML, b'<a x="1">t</a>', {"a": {"@x": "1", "#text": "t"}}),
        (XML, b"<a><b>1</b><b>2</b><c/></a>", {"a": {"b": ["1", "2"], "c": None}}),
        (XML, b"<a>\n  <b><![CDATA[<&]]></b>\n</a>", {"a": {"b": "<&"}}),
        (XML, b"<a>one <b>2</b> three</a>", {"a": {"b": "2", "#text": "one  three"}}),
        (XML, b'<n:a xmlns:n="u"><n:b>&lt;&#65;</n:b></n:a>', {"n:a": {"@xmlns:n": "u", "n:b": "<A"}}),
        (XML, '<?xml version="1.0" encoding="iso-8859-1"?><a>\xe4</a>'.encode("latin-1"), {"a": "ä"}),
        (XML, '<?xml version="1.0" encoding="windows-1252"?><a>\u20ac</a>'.encode("cp1252"), {"a": "€"}),
        (XML, "<a>ä</a>".encode("utf-16"), {"a": "ä"}),
    ],
)  # fmt: skip
def test_bytes_become_values(decoder: int, body: bytes, expected: Any) -> None:
    assert decode(decoder, body) == expected


@pytest.mark.parametrize(
    ("charset", "body", "expected"),
    [
        ("text/plain; charset=iso-8859-1", b"\xe4", "ä"),
        ('text/plain; charset="Windows-1252"', b"\x80", "€"),
        ("text/plain; CHARSET=shift_jis", "日本".encode("shift_jis"), "日本"),
        ("text/plain; boundary=charset", b"a", "a"),
    ],
)
def test_text_is_read_in_its_character_set(charset: str, body: bytes, expected: str) -> None:
    assert decode(TEXT, body, charset) == expected


@pytest.mark.parametrize(
    ("decoder", "body", "content_type", "problem"),
    [
        (JSON, b"{", "", "is not JSON"),
        (JSON, b"NaN", "", "is not JSON"),
        (LINES, b"{}\nrubbish", "", "has a line that is not JSON"),
        (CSV, b"a,a\n1,2", "", "has two columns of the same name"),
        (CSV, b"a\n1,2", "", "has a row with more cells than there are names"),
        (CSV, b'a\n"1', "", "is not CSV"),
        (CSV, b"a\n" + b"x" * 200_000, "", "is not CSV"),
        (TEXT, b"\xff", "", "is not text in its character set"),
        (TEXT, b"a", "text/plain; charset=punycode", "is in a character set that is not known"),
        (TEXT, b"a", "text/plain; charset=zip", "is in a character set that is not known"),
        (TEXT, b"a", "text/plain; charset=no\x00such", "is in a character set that is not known"),
        (XML, b"<a>", "", "is not XML"),
        (XML, b"<a/><b/>", "", "is not XML"),
        (XML, b"<a>&x;</a>", "", "is not XML"),
        (XML, b'<?xml version="1.0" encoding="nosuch"?><a/>', "", "is not XML"),
        (XML, BOMB, "", "has a document type, which is not read"),
        (XML, FILE, "", "has a document type, which is not read"),
        (XML, b"<!DOCTYPE html><html/>", "", "has a document type, which is not read"),
        (XML, b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1), "", "is nested more deeply than is taken"),
    ],
)
def test_what_cannot_be_read_says_why_and_shows_nothing_of_it(
    decoder: int, body: bytes, content_type: str, problem: str
) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(decoder, body, content_type)
    assert str(refused.value) == problem


def test_xml_of_the_largest_depth_is_read() -> None:
    assert decode(XML, b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("decoder", "body"),
    [
        (LINES, b"1\n" * 101),
        (CSV, b"a\n" + b"1\n" * 101),
        (XML, b"<a>" + b"<b/>" * 100 + b"</a>"),
        (XML, b'<a b="1" c="2">' + b"<b/>" * 98 + b"</a>"),
    ],
)
def test_there_are_only_so_many_values(decoder: int, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_VALUES >= 100
    decode(decoder, body)
    monkeypatch.setattr(decoders, "MAX_VALUES", 100)
    with pytest.raises(Undecodable, match="than are taken"):
        decode(decoder, body)


def test_a_long_name_does_not_make_a_small_answer_large() -> None:
    with pytest.raises(Undecodable, match="more cells"):
        decode(CSV, b"n" * 100_000 + b"\n" + b"1\n" * 1000)


def test_gzip_is_unpacked_with_all_its_members() -> None:
    assert unpacked(gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n") + b"\0" * 8) == b"a,b\n1,2\n"
    assert unpacked(b"a,b\n") == b"a,b\n"
    assert unpacked(b"") == b""


@pytest.mark.parametrize(
    "spoil", [lambda packed: packed[:-4], lambda packed: packed[:12], lambda packed: packed + b"x"]
)
def test_gzip_that_is_broken_is_refused(spoil: Any) -> None:
    with pytest.raises(Undecodable, match="gzip"):
        unpacked(spoil(gzip.compress(b"text" * 100, mtime=0)))


def test_a_bomb_of_gzip_is_put_down() -> None:
    with pytest.raises(Undecodable, match="larger than is taken"):
        unpacked(gzip.compress(bytes(MAX_BYTES + 1), compresslevel=1))


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=8)


@given(
    st.lists(cells, min_size=1, max_size=4, unique=True), st.lists(st.lists(cells, min_size=4, max_size=4), max_size=6)
)
def test_what_is_written_as_csv_is_read_again(names: list[str], rows: list[list[str]]) -> None:
    made = io.StringIO(newline="")
    writer = csv.writer(made, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *(row[: len(names)] for row in rows)])
    expected = [dict(zip(names, row, strict=False)) for row in rows]
    assert decode(CSV, made.getvalue().encode()) == expected


@given(st.recursive(cells, lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_what_is_written_as_json_lines_is_read_again(value: Any) -> None:
    assert decode(LINES, b"\n".join([orjson.dumps(value)] * 3)) == [value] * 3


@given(st.binary(max_size=60), st.sampled_from([JSON, LINES, CSV, XML, TEXT, BINARY]))
def test_no_bytes_break_a_decoder(body: bytes, decoder: int) -> None:
    try:
        value = decode(decoder, unpacked(body))
    except Undecodable:
        return
    orjson.dumps(value)
    assert decoder != BINARY or base64.b64decode(value) == body


names = st.sampled_from(["a", "b", "c"])


@given(st.recursive(st.builds(lambda: []), lambda inner: st.lists(st.tuples(names, inner), max_size=4), max_leaves=12))
def test_elements_are_counted_as_another_parser_counts_them(tree: Any) -> None:
    def element(name: str, children: Any) -> ElementTree.Element:
        made = ElementTree.Element(name)
        made.extend(element(*child) for child in children)
        return made

    def count(value: Any) -> int:
        if isinstance(value, list):
            return sum(map(count, value))
        return 1 + sum(map(count, value.values())) if isinstance(value, dict) else 1

    root = element("root", tree)
    read = decode(XML, ElementTree.tostring(root))
    assert count(read["root"]) == sum(1 for _ in root.iter())
