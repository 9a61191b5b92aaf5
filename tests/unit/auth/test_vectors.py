"""Format v1 for ever: records made with fixed keys and nonces, which every later version has to open.

`tests/vectors/envelope-v1.json` was made by this module's `make` and is not made again: a change of the format is a new
file. An independent decoder in Node.js opens the same file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cordboard.auth.envelope import Record, Slot, Unreadable, WrappingKey, rewrap, seal, unseal
from cordboard.core.secrets import Secret

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "vectors" / "envelope-v1.json"
DECODER = ROOT / "node" / "decode.mjs"
SLOTS = (
    Slot("acme", "connections/desk-one", "api_key", 1),
    Slot("acme", "connections/desk-one", "access_token", 2**40),
    Slot("_system", "oauthClients/desk", "client_secret", 3),
    Slot("w", "connections/ü", "passwört", 0),
)
SECRETS = (b"", b"s", "pässwörd \U0001f511".encode(), bytes(range(256)) * 16)


class Stream:
    """Bytes that are always the same."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(4, "big")).digest(size)


def make() -> list[dict[str, Any]]:
    """Returns every vector."""
    made = []
    for number, (slot, secret) in enumerate((slot, secret) for slot in SLOTS for secret in SECRETS):
        stream = Stream(f"envelope-v1/{number}")
        key = WrappingKey(f"wk-{number:024x}", number + 1, Secret(stream(32)))
        record = seal(slot, Secret(secret), key, stream)
        if number % 2:
            newer = WrappingKey(f"wk-{number + 100:024x}", number + 2, Secret(stream(32)))
            record, key = rewrap(slot, Record.decode(record), key, newer, stream), newer
        made.append(
            {
                "workspace": slot.workspace,
                "resource": slot.resource,
                "field": slot.field,
                "version": slot.version,
                "key_id": key.id,
                "key_version": key.version,
                "key": key.key.reveal().hex(),
                "record": record.hex(),
                "secret": secret.hex(),
            }
        )
    return made


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["vectors"]
    return found


def opened(vector: dict[str, Any]) -> bytes:
    slot = Slot(vector["workspace"], vector["resource"], vector["field"], vector["version"])
    key = WrappingKey(vector["key_id"], vector["key_version"], Secret(bytes.fromhex(vector["key"])))
    return unseal(slot, Record.decode(bytes.fromhex(vector["record"])), key).reveal()


def test_every_vector_opens() -> None:
    assert len(vectors()) == len(SLOTS) * len(SECRETS)
    for vector in vectors():
        assert opened(vector).hex() == vector["secret"]


def test_the_format_makes_the_same_bytes_as_ever() -> None:
    assert make() == vectors()


@pytest.mark.parametrize("field", ["workspace", "resource", "field", "version", "key"])
def test_a_vector_in_another_place_does_not_open(field: str) -> None:
    for vector in vectors():
        other = vector["version"] + 1 if field == "version" else "00" * 32 if field == "key" else vector[field] + "x"
        with pytest.raises(Unreadable):
            opened(vector | {field: other})


@pytest.mark.node
def test_an_independent_decoder_in_node_opens_every_vector_and_nothing_that_was_changed() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    ran = subprocess.run([node, str(DECODER), str(VECTORS)], check=False, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told == {"opened": len(vectors()), "refused": told["refused"]}
    assert told["refused"] > 16 * 20, "the control: each vector with bits flipped, cut, and in other places"
