"""A bundle: a hub's messages to one edge as a file, each after its length. It is judged as a stream is."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.v1 import sync_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAGIC: Final = b"CORDBOARD BUNDLE 1\n"
MAX_PART: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")


def framed(message: pb.WatchDeltasResponse) -> bytes:
    """Returns a message as it stands in a bundle."""
    raw = message.SerializeToString(deterministic=True)
    return _LENGTH.pack(len(raw)) + raw


def messages(file: BinaryIO) -> Iterator[pb.WatchDeltasResponse]:
    """Yields the messages of a bundle; raises Rejected where it is no bundle or ends too early."""
    if file.read(len(MAGIC)) != MAGIC:
        raise Rejected(pb.REJECTION_REASON_UNREADABLE, "it is no bundle")
    while head := file.read(_LENGTH.size):
        size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
        if size > MAX_PART:
            raise Rejected(pb.REJECTION_REASON_UNREADABLE, "a part of it is too large")
        raw = file.read(size) if size >= 0 else b""
        if len(raw) != size:
            raise Rejected(pb.REJECTION_REASON_TRUNCATED, "the bundle ends too early")
        try:
            yield pb.WatchDeltasResponse.FromString(raw)
        except DecodeError:
            raise Rejected(pb.REJECTION_REASON_UNREADABLE, "a part of it cannot be read") from None
