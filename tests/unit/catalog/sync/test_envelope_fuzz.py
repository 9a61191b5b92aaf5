"""A log on its way through hands that do anything to it: what an edge takes is always a beginning of the true log."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.message import DecodeError

from cordboard.catalog.sync import envelope as judged
from cordboard.catalog.sync.envelope import Payload, Place, Standing, header_for, open_envelope, place_of, seal
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.signing import key_id, new_private_key, public_key_of
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.secrets import Secret

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PRIVATE = new_private_key()
KEYS = {key_id(public_key_of(PRIVATE)): public_key_of(PRIVATE)}
START = Standing("hub-1", "edge-1", 1)
STEPS = 6
ALTERED = 4000
STREAMS = 300


def log(*, edge: str = "edge-1", changes: int = 2) -> list[bytes]:
    """Returns a log from its beginning, each envelope as it travels."""
    place, sent = Place(), []
    for step in range(1, STEPS + 1):
        header = header_for(
            hub="hub-1", edge=edge, epoch=1, before=place, sequence=step * changes, target=STEPS * changes,
            issue_time=NOW + timedelta(seconds=step),
        )  # fmt: skip
        delta = pb.Delta(changes=[pb.Change(sequence=step * changes - back) for back in reversed(range(changes))])
        made = seal(header, Payload.of(delta), key=next(iter(KEYS)), private_key=Secret(PRIVATE))
        place = place_of(made)
        sent.append(made.SerializeToString(deterministic=True))
    return sent


def taken(stream: list[bytes]) -> list[bytes]:
    """Returns the envelopes that an edge takes of a stream, as it would send them on."""
    standing, found = START, []
    for raw in stream:
        try:
            envelope = pb.Envelope.FromString(raw)
            opened = open_envelope(envelope, standing, KEYS)
        except (DecodeError, Rejected):
            continue
        standing = replace(
            standing, place=opened.place, highest=opened.header.sequence, issue_time=opened.issue_time
        )  # fmt: skip
        # Fields that are not ours are no part of it.
        known = pb.Envelope(
            header=envelope.header, key=envelope.key, signature=envelope.signature, payload=envelope.payload
        )
        found.append(known.SerializeToString(deterministic=True))
    return found


def flipped(raw: bytes, chance: random.Random) -> bytes:
    """Returns bytes of which some have some bits the other way round."""
    altered = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
    return bytes(altered)


def cut(raw: bytes, chance: random.Random) -> bytes:
    """Returns bytes without some of their end, or of their beginning."""
    at = chance.randrange(len(raw))
    return raw[:at] if chance.random() < 0.5 else raw[at + 1 :]


def stuffed(raw: bytes, chance: random.Random) -> bytes:
    """Returns bytes with others somewhere in between."""
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.randbytes(chance.randint(1, 8)) + raw[at:]


def repeated(raw: bytes, chance: random.Random) -> bytes:
    """Returns bytes with a piece of them twice."""
    begin = chance.randrange(len(raw))
    end = chance.randint(begin + 1, len(raw))
    return raw[:end] + raw[begin:]


ALTERATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, cut, stuffed, repeated)


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_an_envelope_of_which_anything_was_altered_is_not_taken(
    alter: Callable[[bytes, random.Random], bytes],
) -> None:
    chance, true = random.Random(f"{alter.__name__} 1"), log()
    refused = 0
    for _ in range(ALTERED):
        raw = alter(true[0], chance)
        got = taken([raw])
        # What an altered message says may be the same to the last byte: then it is the same message.
        assert got in ([], true[:1])
        refused += not got
    assert refused > ALTERED // 2


def streams(chance: random.Random) -> Iterator[list[bytes]]:
    """Yields what a man in the middle could make of a log who has heard everything, and the logs of other edges."""
    true, foreign, other = log(), log(edge="edge-2"), log(changes=3)
    for _ in range(STREAMS):
        stream = list(true)
        for _ in range(chance.randint(1, 6)):
            at, to = chance.randrange(len(stream)), chance.randrange(len(stream))
            match chance.randrange(6):
                case 0:
                    stream[at], stream[to] = stream[to], stream[at]
                case 1:
                    stream.insert(to, stream[at])
                case 2 if len(stream) > 1:
                    del stream[at]
                case 3:
                    stream[at] = chance.choice(ALTERATIONS)(stream[at], chance)
                case 4:
                    stream.insert(to, chance.choice(foreign))
                case _:
                    stream += true
        yield stream
    # Another log of the same hub for the same edge is a log as well: what it may not be is mixed in later.
    yield [*true[:3], *other, *true[3:]]


def test_whatever_is_done_to_a_stream_an_edge_has_a_beginning_of_the_log() -> None:
    true = log()
    lengths = set()
    for stream in streams(random.Random("streams")):
        got = taken(stream)
        assert got == true[: len(got)]
        lengths.add(len(got))
    assert lengths == set(range(STEPS + 1))


def test_without_the_order_a_stream_would_be_taken_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the streams above hold what an edge that checks signatures alone would fall for."""
    monkeypatch.setattr(judged, "_check_order", lambda *_: None)
    true = log()
    wrong = 0
    for stream in streams(random.Random("streams")):
        got = taken(stream)
        wrong += got != true[: len(got)]
    assert wrong > STREAMS // 2
