"""How the bytes of an answer become a value, for each decoder that a definition can name. Pure.

What comes from outside is bounded in bytes, in values and in depth before it can cost more than it is worth.
"""

from __future__ import annotations

import base64
import codecs
import csv
import io
import zlib
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.xml_documents import read_xml

MAX_BYTES: Final = 64 * 1024 * 1024
"""Of what gzip unpacks to, and of the text that a value is made of: names repeat in every row."""
MAX_VALUES: Final = 1_000_000
"""Lines, cells, or elements and attributes."""

_GZIP: Final = b"\x1f\x8b\x08"
_MARK: Final = codecs.BOM_UTF8
_UNPACKED_AT_ONCE: Final = 1024 * 1024
# Others would read bytes as Python source, as host names, or in time that grows with the square of their number.
_CHARSETS: Final = frozenset(
    {
        "ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "big5", "gb2312", "gbk", "gb18030",
        "shift_jis", "euc_jp", "euc_kr", "koi8-r",
        *(f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))),
        *(f"cp{number}" for number in range(1250, 1259)),
    }
)  # fmt: skip


class Undecodable(ValueError):
    """The bytes are not what the decoder reads; the text says so in a few fixed words, and nothing of the bytes."""


def decode(decoder: int, body: bytes, content_type: str = "") -> Any:
    """Returns the value that an answer's bytes are; raises Undecodable. `decoder` is a Decoder other than UNSPECIFIED.

    An answer without bytes is null, and an empty list where the decoder gives lists.
    """
    if decoder == pb.DECODER_BINARY:
        return base64.b64encode(body).decode()
    return _DECODERS[decoder](body, content_type)


def text_of(body: bytes, content_type: str) -> str:
    """Returns text in the character set that the media type names, UTF-8 without; raises Undecodable."""
    try:
        name = codecs.lookup(_charset(content_type) or "utf-8").name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise Undecodable("is in a character set that is not known")
    try:
        return body.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError:
        raise Undecodable("is not text in its character set") from None


def json_line(line: bytes) -> Any:
    """Returns the value of one line of JSON Lines; raises Undecodable."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Undecodable("has a line that is not JSON") from None


def unpacked(body: bytes) -> bytes:
    """Returns what gzip (RFC 1952) has packed, and other bytes as they are; raises Undecodable."""
    if not body.startswith(_GZIP):
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        # Several members may follow each other (RFC 1952 section 2.2).
        while body:
            member = zlib.decompressobj(wbits=31)
            while not member.eof:
                piece = member.decompress(body, _UNPACKED_AT_ONCE)
                body = member.unconsumed_tail
                size += len(piece)
                if size > MAX_BYTES:
                    raise Undecodable("is larger than is taken when it is unpacked")
                if not piece and not body and not member.eof:
                    raise Undecodable("is gzip that is cut off")
                pieces.append(piece)
            body = member.unused_data.lstrip(b"\0")
    except zlib.error:
        raise Undecodable("is not gzip all through") from None
    return b"".join(pieces)


def _json(body: bytes, _: str) -> Any:
    text = body.removeprefix(_MARK)
    if not text.strip():
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Undecodable("is not JSON") from None


def _json_lines(body: bytes, _: str) -> list[Any]:
    if body.count(b"\n") > MAX_VALUES:
        raise Undecodable("has more lines than are taken")
    return [json_line(line) for line in body.removeprefix(_MARK).split(b"\n") if line.strip()]


def _csv(body: bytes, content_type: str) -> list[dict[str, str]]:
    rows = csv.reader(io.StringIO(text_of(body, content_type), newline=""), strict=True)
    found: list[dict[str, str]] = []
    cells = size = 0
    try:
        names = next(rows, [])
        if len(set(names)) != len(names):
            raise Undecodable("has two columns of the same name")
        width = sum(map(len, names))
        for row in rows:
            if not row:
                continue
            if len(row) > len(names):
                raise Undecodable("has a row with more cells than there are names")
            cells += len(row)
            size += width + sum(map(len, row))
            if cells > MAX_VALUES or size > MAX_BYTES:
                raise Undecodable("has more cells than are taken")
            # A row may end early: what it does not have is not there.
            found.append(dict(zip(names, row, strict=False)))
    except csv.Error:
        raise Undecodable("is not CSV") from None
    return found


def _xml(body: bytes, content_type: str) -> Any:
    try:
        return read_xml(body, _charset(content_type), most=MAX_VALUES)
    except ValueError as problem:
        raise Undecodable(str(problem)) from None


def _charset(content_type: str) -> str:
    if "charset" not in content_type.lower():
        return ""
    header = Message()
    header["Content-Type"] = content_type[:256]
    found = header.get_param("charset", "")
    return found if isinstance(found, str) else ""


_DECODERS: Final[Mapping[int, Callable[[bytes, str], Any]]] = {
    pb.DECODER_JSON: _json,
    pb.DECODER_JSON_LINES: _json_lines,
    pb.DECODER_CSV: _csv,
    pb.DECODER_XML: _xml,
    pb.DECODER_TEXT: text_of,
}
