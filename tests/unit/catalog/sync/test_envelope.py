"""Envelopes as edges judge them: what is good is opened, and everything else is refused for the right reason."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cordboard.catalog.sync.envelope import (
    MAX_DELTA_BYTES,
    Payload,
    Place,
    Standing,
    header_for,
    next_issue_time,
    open_envelope,
    place_of,
    seal,
)
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.signing import DELTA, key_id, labelled, new_private_key, public_key_of, sign
from cordboard.catalog.sync.trust import key_text, trusted
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.secrets import Secret

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PRIVATE = new_private_key()
PUBLIC = public_key_of(PRIVATE)
KEYS = {key_id(PUBLIC): PUBLIC}
STANDING = Standing("hub-1", "edge-1", 3, Place(10, b"h" * 32), 10, NOW)


def envelope(private: Any = PRIVATE, *, changes: Any = 2, **header: Any) -> pb.Envelope:
    """Returns an envelope that STANDING takes, but for what is given."""
    fields: dict[str, Any] = {
        "hub": "hub-1", "edge": "edge-1", "epoch": 3, "before": STANDING.place, "sequence": 12, "target": 12,
        "issue_time": NOW + timedelta(seconds=1),
    } | header  # fmt: skip
    delta = pb.Delta(changes=[pb.Change(sequence=11 + number) for number in range(changes)])
    made = header_for(**fields)
    return seal(made, Payload.of(delta), key=key_id(public_key_of(private)), private_key=Secret(private))


def resigned(sealed: pb.Envelope, change: Callable[[pb.DeltaHeader], None]) -> pb.Envelope:
    """Returns the envelope with another header, signed as the hub would."""
    header = pb.DeltaHeader.FromString(sealed.header)
    change(header)
    raw = header.SerializeToString(deterministic=True)
    return pb.Envelope(
        header=raw, key=sealed.key, payload=sealed.payload, signature=sign(Secret(PRIVATE), labelled(DELTA, raw))
    )


def reason(sealed: pb.Envelope, standing: Standing = STANDING, keys: dict[str, bytes] | None = None) -> str:
    """Returns why an envelope is refused; empty when it is not."""
    try:
        open_envelope(sealed, standing, KEYS if keys is None else keys)
    except Rejected as error:
        return error.word
    return ""


def test_what_follows_is_opened() -> None:
    sealed = envelope()
    opened = open_envelope(sealed, STANDING, KEYS)
    assert [change.sequence for change in opened.delta.changes] == [11, 12]
    assert opened.place == place_of(sealed)
    assert not opened.begins


def test_every_altered_byte_is_refused() -> None:
    sealed = envelope()
    for name in ("header", "signature", "payload"):
        raw = getattr(sealed, name)
        for index in range(len(raw)):
            altered = pb.Envelope()
            altered.CopyFrom(sealed)
            setattr(altered, name, raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :])
            wanted = "payload-altered" if name == "payload" else "signature-invalid"
            assert reason(altered) == wanted, (name, index)
    assert reason(sealed) == ""


def test_a_shortened_payload_is_refused_at_every_length() -> None:
    sealed = envelope()
    for length in range(len(sealed.payload)):
        cut = pb.Envelope()
        cut.CopyFrom(sealed)
        cut.payload = sealed.payload[:length]
        assert reason(cut) == "truncated", length


def test_a_lengthened_payload_is_refused() -> None:
    sealed = envelope()
    sealed.payload += b"\0"
    assert reason(sealed) == "payload-altered"


def test_a_strangers_signature_is_refused() -> None:
    sealed = envelope(new_private_key())
    assert reason(sealed) == "key-unknown"
    sealed.key = key_id(PUBLIC)
    assert reason(sealed) == "signature-invalid"


def test_a_signature_over_the_bare_header_is_refused() -> None:
    sealed = envelope()
    sealed.signature = sign(Secret(PRIVATE), sealed.header)
    assert reason(sealed) == "signature-invalid"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ({"hub": "hub-2"}, "hub-wrong"),
        ({"edge": "edge-2"}, "edge-wrong"),
        ({"edge": ""}, "edge-wrong"),
        ({"epoch": 2}, "rolled-back"),
        ({"epoch": 4}, "out-of-order"),
        ({"sequence": 9}, "rolled-back"),
        ({"issue_time": NOW}, "replayed"),
        ({"issue_time": NOW - timedelta(days=30)}, "replayed"),
        ({"before": Place(11, b"h" * 32)}, "out-of-order"),
        ({"before": Place(10, b"x" * 32)}, "out-of-order"),
        ({"before": Place(9, b"y" * 32)}, "out-of-order"),
        ({"before": Place(10, b"")}, "out-of-order"),
        ({"before": Place(), "target": 9, "sequence": 9}, "rolled-back"),
        ({"before": Place(), "issue_time": NOW - timedelta(days=1)}, "replayed"),
    ],
)
def test_what_is_not_next_is_refused(header: dict[str, Any], wanted: str) -> None:
    assert reason(envelope(**header)) == wanted


def test_what_was_applied_is_refused_the_second_time() -> None:
    sealed = envelope()
    opened = open_envelope(sealed, STANDING, KEYS)
    after = replace(STANDING, place=opened.place, highest=12, issue_time=opened.issue_time)
    assert reason(sealed, after) == "replayed"


def test_two_that_follow_each_other_are_refused_the_other_way_round() -> None:
    first = envelope()
    place = place_of(first)
    second = envelope(before=place, sequence=13, target=13, issue_time=NOW + timedelta(seconds=2))
    assert reason(second) == "out-of-order"
    after = replace(STANDING, place=place, highest=12, issue_time=NOW + timedelta(seconds=1))
    assert reason(second, after) == ""


def test_a_new_beginning_that_reaches_as_far_is_opened() -> None:
    assert open_envelope(envelope(before=Place(), sequence=4), STANDING, KEYS).begins


def test_a_new_epoch_may_go_back() -> None:
    assert reason(envelope(before=Place(), epoch=4, sequence=2, target=2)) == ""


def test_a_sign_that_nothing_changed_is_opened() -> None:
    sealed = envelope(changes=0, sequence=10, target=10)
    assert not sealed.payload
    assert open_envelope(sealed, STANDING, KEYS).header.sequence == 10


def test_signed_bytes_that_are_no_message_are_refused() -> None:
    raw = b"\xff\xff\xff"
    sealed = pb.Envelope(header=raw, key=key_id(PUBLIC), signature=sign(Secret(PRIVATE), labelled(DELTA, raw)))
    assert reason(sealed) == "unreadable"


def test_a_payload_that_grows_is_refused_before_it_has_grown() -> None:
    sealed = envelope()
    assert reason(resigned(sealed, lambda header: setattr(header, "delta_size", MAX_DELTA_BYTES + 1))) == "unreadable"
    assert reason(resigned(sealed, lambda header: setattr(header, "delta_size", header.delta_size - 1))) == "unreadable"
    assert reason(resigned(sealed, lambda header: setattr(header, "delta_size", header.delta_size))) == ""


def test_a_payload_is_compressed() -> None:
    sealed = envelope(changes=100)
    header = pb.DeltaHeader.FromString(sealed.header)
    assert header.delta_size == len(zlib.decompress(sealed.payload)) > header.payload_size == len(sealed.payload)


def test_a_clock_that_goes_back_does_not_take_issue_times_back() -> None:
    assert next_issue_time(NOW, None) == NOW
    assert next_issue_time(NOW + timedelta(seconds=1), NOW) == NOW + timedelta(seconds=1)
    assert next_issue_time(NOW - timedelta(hours=1), NOW) > NOW


def a_key(private: bytes, signer: bytes, hub: str = "hub-1") -> pb.HubKey:
    """Returns a key that another has signed."""
    public = public_key_of(private)
    signature = sign(Secret(signer), key_text(hub, public))
    return pb.HubKey(id=key_id(public), public_key=public, signer=key_id(public_key_of(signer)), signature=signature)


def test_keys_are_trusted_that_a_trusted_key_has_signed_in_turn() -> None:
    second, third = new_private_key(), new_private_key()
    chain = [a_key(second, PRIVATE), a_key(third, second)]
    assert set(trusted("hub-1", KEYS, chain)) == {*KEYS, chain[0].id, chain[1].id}
    assert reason(envelope(third), keys=trusted("hub-1", KEYS, chain)) == ""


def test_keys_are_not_trusted_that_nothing_trusted_has_signed() -> None:
    stranger, own = new_private_key(), new_private_key()
    assert trusted("hub-1", KEYS, [a_key(own, stranger)]) == KEYS
    assert trusted("hub-1", KEYS, [a_key(own, PRIVATE, hub="hub-2")]) == KEYS
    forged = a_key(own, PRIVATE)
    forged.public_key = public_key_of(stranger)
    assert trusted("hub-1", KEYS, [forged]) == KEYS
    renamed = a_key(own, PRIVATE)
    renamed.id = "another"
    assert trusted("hub-1", KEYS, [renamed]) == KEYS
