"""The envelope: known answers, and everything that must not open."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cordboard.auth import envelope
from cordboard.auth.envelope import Record, Slot, Unreadable, WrappingKey, seal, unseal
from cordboard.core.secrets import Secret

SLOT = Slot("acme", "connections/desk-one", "access_token", 7)
KEY = WrappingKey("wk-00", 1, Secret(bytes(range(32))))
PLAIN = b"s3cret"
# Format v1, for ever: what this text says today it must say in ten years.
KNOWN = bytes.fromhex(
    "4757310105776b2d303000000001d51aff4610f9251c0090b52a78c6203b003c62711583b1366d760f77e2abe72f6061"
    "ca50543873f119820984f07b155ff72806fb2b0e5d28eff642cbb3c051d2e3e80603f2a6f2e07e246d38cfe7df1f6d1e"
    "07ae6f200d6657395d4f44c203699a11ca2e0124c099edf08cab82028e6ff3948fa6d00160b38b32cd70095edc1c07e0"
    "078016527e1f06e53f5fd859f48cfb5fcfa5644102827ce49c7cd6ad2b7531900fcb996c93130a116a6e11828e7e"
)


def fixed() -> Callable[[int], bytes]:
    """Returns randomness that is not: the SHAKE-256 of a fixed text, read on and on."""
    stream = hashlib.shake_256(b"cordboard envelope v1").digest(4096)
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        position += size
        return stream[position - size : position]

    return read


def record() -> bytes:
    return seal(SLOT, Secret(PLAIN), KEY, fixed())


def opened(raw: bytes, slot: Slot = SLOT, key: WrappingKey = KEY) -> bytes:
    """Opens as the vault does: the record says which key, and the key it names must be this one."""
    taken = Record.decode(raw)
    if (taken.kek_id, taken.kek_version) != (key.id, key.version):
        raise Unreadable
    return unseal(slot, taken, key).reveal()


def test_a_record_of_format_v1_is_this_one_and_opens() -> None:
    assert record() == KNOWN
    assert opened(KNOWN) == PLAIN


def test_an_empty_and_a_large_secret_come_back() -> None:
    for plain in (b"", b"x", bytes(100_000)):
        assert opened(seal(SLOT, Secret(plain), KEY)) == plain


def test_every_flipped_bit_makes_a_record_unreadable() -> None:
    raw = record()
    for position in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[position // 8] ^= 1 << (position % 8)
        with pytest.raises(Unreadable):
            opened(bytes(flipped))


def test_every_shorter_and_every_longer_record_is_unreadable() -> None:
    raw = record()
    for length in range(len(raw)):
        with pytest.raises(Unreadable):
            opened(raw[:length])
    for extra in (b"\0", b"\0" * 16, raw):
        with pytest.raises(Unreadable):
            opened(raw + extra)


def test_a_record_too_short_for_a_tag_is_not_even_taken_apart() -> None:
    taken = Record.decode(record())
    shortest = replace(taken, ciphertext=taken.ciphertext[: envelope.TAG_BYTES]).encode()
    assert Record.decode(shortest).ciphertext == taken.ciphertext[: envelope.TAG_BYTES]
    with pytest.raises(Unreadable):
        Record.decode(shortest[:-1])


def test_a_wrapped_key_of_any_other_length_is_unreadable() -> None:
    blob = envelope.wrap(KEY.key, bytes(32), b"aad")
    assert envelope.unwrap(KEY.key, blob, b"aad").reveal() == bytes(32)
    for length in range(len(blob)):
        with pytest.raises(Unreadable):
            envelope.unwrap(KEY.key, blob[:length], b"aad")
    # One that is sound, and holds another number of bytes than a key has.
    with pytest.raises(Unreadable):
        envelope.unwrap(KEY.key, envelope.wrap(KEY.key, bytes(31), b"aad"), b"aad")


ELSEWHERE = [
    replace(SLOT, workspace="acme2"),
    replace(SLOT, resource="connections/desk-two"),
    replace(SLOT, resource="oauthClients/desk-one"),
    replace(SLOT, field="refresh_token"),
    replace(SLOT, version=8),
    # Joined without lengths these would be the same text.
    Slot("acm", "econnections/desk-one", "access_token", 7),
]


@pytest.mark.parametrize("slot", ELSEWHERE, ids=str)
def test_a_record_opens_in_its_own_place_only(slot: Slot) -> None:
    with pytest.raises(Unreadable):
        opened(record(), slot)


def test_without_associated_data_a_moved_record_would_open(monkeypatch: pytest.MonkeyPatch) -> None:
    # The control of the test above: what holds a record in its place is the associated data.
    monkeypatch.setattr(envelope, "_data_aad", lambda *_: b"")
    monkeypatch.setattr(envelope, "_wrap_aad", lambda *_: b"")
    raw = record()
    assert all(opened(raw, slot) == PLAIN for slot in ELSEWHERE)


def test_a_wrapped_key_cannot_be_put_into_another_record() -> None:
    one, other = Record.decode(seal(SLOT, Secret(PLAIN), KEY)), Record.decode(seal(SLOT, Secret(PLAIN), KEY))
    for field in ("wrapped_dek", "dek_id", "salt", "nonce", "commitment", "ciphertext"):
        mixed = replace(one, **{field: getattr(other, field)})
        with pytest.raises(Unreadable):
            opened(mixed.encode())


def test_another_key_of_the_same_name_opens_nothing() -> None:
    with pytest.raises(Unreadable):
        opened(record(), key=replace(KEY, key=Secret(bytes(32))))


def test_a_data_key_wrapped_anew_leaves_the_ciphertext_as_it_is() -> None:
    taken, newer = Record.decode(record()), WrappingKey("wk-00", 2, Secret(b"n" * 32))
    aad = envelope._wrap_aad(SLOT, taken.dek_id, KEY.id, KEY.version)
    dek = envelope.unwrap(KEY.key, taken.wrapped_dek, aad)
    aad = envelope._wrap_aad(SLOT, taken.dek_id, newer.id, newer.version)
    moved = replace(taken, kek_version=2, wrapped_dek=envelope.wrap(newer.key, dek.reveal(), aad))
    assert opened(moved.encode(), key=newer) == PLAIN


def test_a_record_that_commits_to_another_key_is_refused_though_it_would_decrypt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, dek = Record.decode(record()), b"d" * 32
    aad = envelope._data_aad(SLOT, taken.dek_id)
    key, _ = envelope._derive(dek, taken.salt, aad)
    wrapped = envelope.wrap(KEY.key, dek, envelope._wrap_aad(SLOT, taken.dek_id, KEY.id, KEY.version))
    sealed = AESGCM(key).encrypt(taken.nonce, b"forged", aad)
    forged = replace(taken, wrapped_dek=wrapped, ciphertext=sealed).encode()
    with pytest.raises(Unreadable):
        opened(forged)
    # The control: nothing but the commitment was in the way.
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: True)
    assert opened(forged) == b"forged"


def test_no_two_records_share_a_data_key_a_salt_or_a_nonce() -> None:
    records = [Record.decode(seal(SLOT, Secret(PLAIN), KEY)) for _ in range(2000)]
    for field in ("dek_id", "wrapped_dek", "salt", "nonce", "commitment", "ciphertext"):
        assert len({getattr(taken, field) for taken in records}) == len(records)


def test_what_is_wrong_is_told_in_one_way_only() -> None:
    raw = record()
    told = set()
    for broken in (b"", raw[:40], bytes(len(raw)), raw[:-1], raw[:-1] + b"\0"):
        with pytest.raises(Unreadable) as caught:
            opened(broken)
        told.add(str(caught.value))
    assert told == {"a sealed record cannot be opened"}
