"""Which of a hub's keys an edge trusts: the one it began with, and every one that a trusted key has signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.catalog.sync.signing import HUB_KEY, key_id, labelled, verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cordboard.catalog.v1.sync_service_pb2 import HubKey


def key_text(hub: str, public_key: bytes) -> bytes:
    """Returns what the key before signs of a new key."""
    return labelled(HUB_KEY, hub.encode(), key_id(public_key).encode(), public_key)


def trusted(hub: str, known: Mapping[str, bytes], offered: Iterable[HubKey]) -> dict[str, bytes]:
    """Returns the public keys to trust by id: those known, and those that one of them has signed, in turn."""
    found = dict(known)
    for key in offered:
        signer = found.get(key.signer)
        if key.id in found or signer is None or key.id != key_id(key.public_key):
            continue
        if verified(signer, key.signature, key_text(hub, key.public_key)):
            found[key.id] = key.public_key
    return found
