"""A million sealed secrets: no id of a data key, no salt and no nonce comes twice.

`COUNT=50000` is the short form.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator
from typing import Final

from cordboard.auth.envelope import NONCE_BYTES, Record, seal
from cordboard.core.secrets import Secret
from tests.unit.auth.test_envelope import KEY, PLAIN, SLOT

COUNT: Final = int(os.environ.get("COUNT", "1000000"))
# So many bytes are compared: in one of ten million runs two that differ are taken for the same.
PREFIX: Final = 8


def sealed(count: int, random: object = os.urandom) -> Iterator[Record]:
    """Yields so many records of one secret."""
    for _ in range(count):
        yield Record.decode(seal(SLOT, Secret(PLAIN), KEY, random))  # type: ignore[arg-type]


def repeats(records: Iterator[Record]) -> dict[str, int]:
    """Returns how many values came before, by what they are."""
    seen = {name: array("Q") for name in ("id of the data key", "salt", "nonce", "nonce of the wrap")}
    for record in records:
        seen["id of the data key"].append(int.from_bytes(record.dek_id[:PREFIX]))
        seen["salt"].append(int.from_bytes(record.salt[:PREFIX]))
        seen["nonce"].append(int.from_bytes(record.nonce[:PREFIX]))
        seen["nonce of the wrap"].append(int.from_bytes(record.wrapped_dek[:NONCE_BYTES][:PREFIX]))
    return {name: len(values) - len(set(values)) for name, values in seen.items()}


def test_no_value_that_must_be_new_comes_twice() -> None:
    begun = time.monotonic()
    found = repeats(sealed(COUNT))
    print(f"\n{COUNT} secrets sealed in {time.monotonic() - begun:.0f} s, came twice: {found}")
    assert set(found.values()) == {0}


def test_one_that_comes_twice_is_noticed() -> None:
    # The control: a source whose nonces repeat after a thousand.
    drawn = 0

    def worn(size: int) -> bytes:
        nonlocal drawn
        drawn += size == NONCE_BYTES
        return (drawn % 1000).to_bytes(size) if size == NONCE_BYTES else os.urandom(size)

    found = repeats(sealed(2000, worn))
    assert found["nonce"] > 0
    assert found["nonce of the wrap"] > 0
    assert found["id of the data key"] == found["salt"] == 0
