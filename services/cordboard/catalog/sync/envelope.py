"""One signed step of an edge's log: made at the hub, judged at the edge.

The bytes of the header are signed as they travel, so that there is no canonical form to disagree on. The header holds
the hash of the header before it: the newest signature holds for everything from the beginning.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.signing import DELTA, labelled, sign, verified
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.core.secrets import Secret

MAX_DELTA_BYTES: Final = 48 * 1024 * 1024
"""What a delta may be before compression: an edge takes no more, whatever the header says."""


@dataclass(frozen=True)
class Place:
    """A point in an edge's log; the one without a hash is its beginning."""

    sequence: int = 0
    hash: bytes = b""


@dataclass(frozen=True)
class Standing:
    """What an edge is and has."""

    hub: str
    edge: str
    epoch: int = 0
    place: Place = Place()
    highest: int = 0
    """The furthest it ever was in this epoch."""
    issue_time: datetime | None = None
    """When the last envelope was signed."""


@dataclass(frozen=True)
class Opened:
    """An envelope that was judged good."""

    header: pb.DeltaHeader
    delta: pb.Delta
    place: Place
    """Where the edge is once it has applied it."""

    @property
    def begins(self) -> bool:
        """Tells whether it is the beginning of a log."""
        return not self.header.previous_hash

    @property
    def issue_time(self) -> datetime:
        """Returns when it was signed."""
        return issued(self.header)


@dataclass(frozen=True)
class Payload:
    """A delta as it travels: the same bytes for all edges that get the same."""

    packed: bytes
    size: int
    """Before compression."""

    @classmethod
    def of(cls, delta: pb.Delta) -> Payload:
        """Packs a delta."""
        raw = delta.SerializeToString(deterministic=True) if delta.changes else b""
        return cls(zlib.compress(raw, 6) if raw else b"", len(raw))


def seal(header: pb.DeltaHeader, payload: Payload, *, key: str, private_key: Secret[bytes]) -> pb.Envelope:
    """Returns the envelope of a delta; the header's payload fields are filled in."""
    header.payload_hash = hashlib.sha256(payload.packed).digest()
    header.payload_size = len(payload.packed)
    header.delta_size = payload.size
    signed = header.SerializeToString(deterministic=True)
    signature = sign(private_key, labelled(DELTA, signed))
    return pb.Envelope(header=signed, key=key, signature=signature, payload=payload.packed)


def place_of(envelope: pb.Envelope) -> Place:
    """Returns where an edge is that has applied the envelope."""
    header = pb.DeltaHeader.FromString(envelope.header)
    return Place(header.sequence, hashlib.sha256(envelope.header).digest())


def issued(header: pb.DeltaHeader) -> datetime:
    """Returns when an envelope was signed."""
    return header.issue_time.ToDatetime(tzinfo=UTC)


def open_envelope(envelope: pb.Envelope, standing: Standing, keys: Mapping[str, bytes]) -> Opened:
    """Judges an envelope against what the edge has; `keys` are those it trusts. Raises Rejected."""
    public_key = keys.get(envelope.key)
    if public_key is None:
        raise Rejected(pb.REJECTION_REASON_KEY_UNKNOWN, "it is signed with a key that nothing trusted here has signed")
    if not verified(public_key, envelope.signature, labelled(DELTA, envelope.header)):
        raise Rejected(pb.REJECTION_REASON_SIGNATURE_INVALID, "the signature is not that of the header")
    try:
        header = pb.DeltaHeader.FromString(envelope.header)
    except DecodeError:
        raise Rejected(pb.REJECTION_REASON_UNREADABLE, "the header cannot be read") from None
    if header.hub != standing.hub:
        raise Rejected(pb.REJECTION_REASON_HUB_WRONG, "it comes from another hub")
    if header.edge != standing.edge:
        raise Rejected(pb.REJECTION_REASON_EDGE_WRONG, "it is for another edge")
    place = Place(header.sequence, hashlib.sha256(envelope.header).digest())
    _check_order(header, place, standing)
    return Opened(header, _delta(envelope.payload, header), place)


def _check_order(header: pb.DeltaHeader, place: Place, standing: Standing) -> None:
    if header.epoch < standing.epoch or header.sequence < header.previous_sequence:
        raise Rejected(pb.REJECTION_REASON_ROLLED_BACK, "it would take the catalog back")
    # Nothing older is taken, whatever it says: this is what keeps a recording of an earlier beginning out.
    old = standing.issue_time is not None and issued(header) <= standing.issue_time
    if place == standing.place or old:
        raise Rejected(pb.REJECTION_REASON_REPLAYED, "it was issued before what is here")
    if not header.previous_hash:
        if header.previous_sequence:
            raise Rejected(pb.REJECTION_REASON_OUT_OF_ORDER, "it follows something and does not say what")
        if header.epoch == standing.epoch and header.target_sequence < standing.highest:
            raise Rejected(pb.REJECTION_REASON_ROLLED_BACK, "the hub's log ends before what is here")
        return
    if header.epoch != standing.epoch or Place(header.previous_sequence, header.previous_hash) != standing.place:
        raise Rejected(pb.REJECTION_REASON_OUT_OF_ORDER, "it does not follow what is here")


def _delta(payload: bytes, header: pb.DeltaHeader) -> pb.Delta:
    if len(payload) < header.payload_size:
        text = f"{len(payload)} of {header.payload_size} bytes came"
        raise Rejected(pb.REJECTION_REASON_TRUNCATED, text)
    if hashlib.sha256(payload).digest() != header.payload_hash:
        raise Rejected(pb.REJECTION_REASON_PAYLOAD_ALTERED, "the payload is not the one that was signed")
    if header.delta_size > MAX_DELTA_BYTES:
        raise Rejected(pb.REJECTION_REASON_UNREADABLE, f"a delta of more than {MAX_DELTA_BYTES} bytes is not taken")
    if not payload:
        return pb.Delta()
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(payload, header.delta_size + 1)
        if len(raw) != header.delta_size or not unpacking.eof:
            raise Rejected(pb.REJECTION_REASON_UNREADABLE, "the payload has another size than it says")
        return pb.Delta.FromString(raw)
    except (zlib.error, DecodeError):
        raise Rejected(pb.REJECTION_REASON_UNREADABLE, "the payload cannot be read") from None


def next_issue_time(now: datetime, last: datetime | None) -> datetime:
    """Returns when to say that an envelope was signed: now, and after the one before even where clocks differ."""
    if last is None or now > last:
        return now
    return last + timedelta(microseconds=1)


def header_for(
    *, hub: str, edge: str, epoch: int, before: Place, sequence: int, target: int, issue_time: datetime
) -> pb.DeltaHeader:
    """Returns the header of the envelope that follows `before`."""
    return pb.DeltaHeader(
        hub=hub,
        edge=edge,
        epoch=epoch,
        previous_sequence=before.sequence,
        previous_hash=before.hash,
        sequence=sequence,
        target_sequence=target,
        issue_time=to_timestamp(issue_time),
    )
