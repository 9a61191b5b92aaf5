"""The format of what the Proxy seals: it opens at its own place, and nowhere else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.core.secrets import Secret
from cordboard.proxy.sealing import SealingKey, Unreadable, number_of

KEY = SealingKey("acme", 3, Secret(b"k" * 32))


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_what_was_sealed_opens_at_its_place(plain: bytes, kind: str, resource: str) -> None:
    record = KEY.seal(kind, resource, plain)
    assert KEY.open(kind, resource, record) == plain
    assert number_of(record) == 3


@pytest.mark.parametrize(
    ("key", "kind", "resource"),
    [
        (SealingKey("globex", 3, Secret(b"k" * 32)), "job", "1"),
        (SealingKey("acme", 3, Secret(b"o" * 32)), "job", "1"),
        (SealingKey("acme", 4, Secret(b"k" * 32)), "job", "1"),
        (KEY, "idempotency", "1"),
        (KEY, "job", "2"),
        (KEY, "jo", "b1"),
    ],
)
def test_at_any_other_place_it_does_not_open(key: SealingKey, kind: str, resource: str) -> None:
    record = KEY.seal("job", "1", b"plain")
    assert KEY.open("job", "1", record) == b"plain"
    with pytest.raises(Unreadable):
        key.open(kind, resource, record)


@given(st.integers(0), st.integers(1, 255))
def test_a_record_with_one_byte_changed_does_not_open(place: int, difference: int) -> None:
    record = bytearray(KEY.seal("job", "1", b"plain"))
    record[place % len(record)] ^= difference
    with pytest.raises(Unreadable):
        KEY.open("job", "1", bytes(record))


@given(st.binary(max_size=200))
def test_what_is_no_record_does_not_open(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        KEY.open("job", "1", raw)


def test_the_same_text_never_looks_the_same_and_its_key_is_not_shown() -> None:
    plain = os.urandom(64)
    records = {KEY.seal("job", "1", plain) for _ in range(50)}
    assert len(records) == 50
    assert all(plain not in record for record in records)
    assert "kkkk" not in repr(KEY)
