"""Ed25519 as hubs and edges use it: each kind of text has a label of its own, so that none can stand for another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

if TYPE_CHECKING:
    from cordboard.core.secrets import Secret

DELTA: Final = b"cordboard delta v1"
HUB_KEY: Final = b"cordboard hub key v1"
EDGE: Final = b"cordboard edge v1"
EDGE_TOKEN: Final = b"cordboard edge token v1"


def labelled(label: bytes, *parts: bytes) -> bytes:
    """Returns what is signed: the label and the parts, a zero byte between them. Only the last may have zero bytes."""
    return b"\0".join((label, *parts))


def sign(private_key: Secret[bytes], text: bytes) -> bytes:
    """Returns the signature of a text under a raw private key."""
    return Ed25519PrivateKey.from_private_bytes(private_key.reveal()).sign(text)


def verified(public_key: bytes, signature: bytes, text: bytes) -> bool:
    """Tells whether the signature is that of the text under a raw public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def new_private_key() -> bytes:
    """Returns a new private key, raw."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key_of(private_key: bytes) -> bytes:
    """Returns the public key of a raw private key, raw."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def key_id(public_key: bytes) -> str:
    """Returns what a key is called: the beginning of its SHA-256, in hex."""
    return hashlib.sha256(public_key).hexdigest()[:32]
