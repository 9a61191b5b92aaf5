"""The format of a sealed secret: AES-256-GCM under a data key of its own, bound to its place, with key commitment.

    record  = "GW1" | alg | len kek_id | kek_id | kek_version | dek_id | len wrapped_dek | wrapped_dek
                    | salt | nonce | commitment | ciphertext and tag
    okm     = HKDF-SHA256(dek, salt, "gw/cred/v1" || AAD_data, 64);  key = okm[:32], commitment = okm[32:]
    wrapped = nonce | AES-256-GCM(kek, dek, AAD_wrap)

AAD_data names the place and the data key; AAD_wrap the place's owner, the data key and the key above it. The version of
the key above is in the second only, so wrapping a data key anew leaves the ciphertext as it is.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cordboard.core.secrets import Secret

MAGIC: Final = b"GW1"
AES_256_GCM: Final = 1
INFO: Final = b"gw/cred/v1"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
WRAPPED_BYTES: Final = NONCE_BYTES + KEY_BYTES + TAG_BYTES

# The tags of the TLV items. A number never gets a second meaning.
_FORMAT, _ALGORITHM, _WORKSPACE, _RESOURCE, _FIELD, _VERSION, _DEK_ID, _KEK_ID, _KEK_VERSION = range(1, 10)

Randomness = Callable[[int], bytes]


class Unreadable(Exception):
    """A record cannot be opened: changed, moved, cut, or sealed under another key. It does not say which."""

    def __init__(self) -> None:
        """Says so."""
        super().__init__("a sealed record cannot be opened")


@dataclass(frozen=True)
class Slot:
    """The one place a secret belongs to: moved to any other, it cannot be opened."""

    workspace: str
    resource: str
    """What owns it, with its kind: `connections/{id}`, `oauthClients/{integration}`."""
    field: str
    version: int


@dataclass(frozen=True)
class WrappingKey:
    """One version of the key that data keys are wrapped under."""

    id: str
    version: int
    key: Secret[bytes]


@dataclass(frozen=True)
class Record:
    """A sealed secret, taken apart."""

    kek_id: str
    kek_version: int
    dek_id: bytes
    wrapped_dek: bytes
    salt: bytes
    nonce: bytes
    commitment: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Returns the bytes of the record."""
        kek_id = self.kek_id.encode()
        return b"".join(
            (
                MAGIC,
                struct.pack(">BB", AES_256_GCM, len(kek_id)),
                kek_id,
                struct.pack(">I", self.kek_version),
                self.dek_id,
                struct.pack(">H", len(self.wrapped_dek)),
                self.wrapped_dek,
                self.salt,
                self.nonce,
                self.commitment,
                self.ciphertext,
            )
        )

    @classmethod
    def decode(cls, raw: bytes) -> Record:
        """Takes a record apart; raises Unreadable."""
        try:
            magic, algorithm, length = struct.unpack_from(">3sBB", raw)
            if magic != MAGIC or algorithm != AES_256_GCM:
                raise Unreadable
            kek_id, version, dek_id, wrapped_length = struct.unpack_from(f">{length}sI16sH", raw, 5)
            if wrapped_length != WRAPPED_BYTES:
                raise Unreadable
            at = 5 + length + 4 + 16 + 2
            wrapped, salt, nonce, commitment = struct.unpack_from(f">{WRAPPED_BYTES}s32s{NONCE_BYTES}s32s", raw, at)
            ciphertext = raw[at + WRAPPED_BYTES + 32 + NONCE_BYTES + 32 :]
            if len(ciphertext) < TAG_BYTES:
                raise Unreadable
            return cls(kek_id.decode("ascii"), version, dek_id, wrapped, salt, nonce, commitment, ciphertext)
        except (struct.error, UnicodeDecodeError):
            raise Unreadable from None


def seal(slot: Slot, secret: Secret[bytes], under: WrappingKey, random: Randomness = os.urandom) -> bytes:
    """Returns the record of a secret for one place, under a new data key."""
    dek, dek_id, salt = random(KEY_BYTES), random(16), random(32)
    wrapped = wrap(under.key, dek, _wrap_aad(slot, dek_id, under.id, under.version), random)
    nonce = random(NONCE_BYTES)
    aad = _data_aad(slot, dek_id)
    key, commitment = _derive(dek, salt, aad)
    ciphertext = AESGCM(key).encrypt(nonce, secret.reveal(), aad)
    return Record(under.id, under.version, dek_id, wrapped, salt, nonce, commitment, ciphertext).encode()


def unseal(slot: Slot, record: Record, under: WrappingKey) -> Secret[bytes]:
    """Returns the secret of a record that was sealed for this place under this key; raises Unreadable."""
    aad_wrap = _wrap_aad(slot, record.dek_id, record.kek_id, record.kek_version)
    dek = unwrap(under.key, record.wrapped_dek, aad_wrap)
    aad = _data_aad(slot, record.dek_id)
    key, commitment = _derive(dek.reveal(), record.salt, aad)
    # Without the commitment one ciphertext could be made to open under two keys, as GCM does not bind its key.
    if not hmac.compare_digest(commitment, record.commitment):
        raise Unreadable
    try:
        return Secret(AESGCM(key).decrypt(record.nonce, record.ciphertext, aad))
    except InvalidTag:
        raise Unreadable from None


def rewrap(slot: Slot, record: Record, old: WrappingKey, new: WrappingKey, random: Randomness = os.urandom) -> bytes:
    """Returns the record with its data key under another key and its ciphertext as it was; raises Unreadable."""
    dek = unwrap(old.key, record.wrapped_dek, _wrap_aad(slot, record.dek_id, record.kek_id, record.kek_version))
    wrapped = wrap(new.key, dek.reveal(), _wrap_aad(slot, record.dek_id, new.id, new.version), random)
    return replace(record, kek_id=new.id, kek_version=new.version, wrapped_dek=wrapped).encode()


def wrap(key: Secret[bytes], wrapped: bytes, aad: bytes, random: Randomness = os.urandom) -> bytes:
    """Returns a key under another key: nonce, ciphertext, tag."""
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key.reveal()).encrypt(nonce, wrapped, aad)


def unwrap(key: Secret[bytes], blob: bytes, aad: bytes) -> Secret[bytes]:
    """Returns the key that `wrap` put under `key` with the same `aad`; raises Unreadable."""
    if len(blob) != WRAPPED_BYTES:
        raise Unreadable
    try:
        return Secret(AESGCM(key.reveal()).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], aad))
    except InvalidTag:
        raise Unreadable from None


def workspace_key_aad(workspace: str, key_id: str, version: int) -> bytes:
    """Returns the associated data under which a provider wraps a workspace's key."""
    return _tlv((_FORMAT, MAGIC), (_WORKSPACE, workspace), (_KEK_ID, key_id), (_KEK_VERSION, version))


def _data_aad(slot: Slot, dek_id: bytes) -> bytes:
    return _tlv(
        (_FORMAT, MAGIC),
        (_ALGORITHM, AES_256_GCM),
        (_WORKSPACE, slot.workspace),
        (_RESOURCE, slot.resource),
        (_FIELD, slot.field),
        (_VERSION, slot.version),
        (_DEK_ID, dek_id),
    )


def _wrap_aad(slot: Slot, dek_id: bytes, kek_id: str, kek_version: int) -> bytes:
    return _tlv(
        (_FORMAT, MAGIC),
        (_WORKSPACE, slot.workspace),
        (_RESOURCE, slot.resource),
        (_DEK_ID, dek_id),
        (_KEK_ID, kek_id),
        (_KEK_VERSION, kek_version),
    )


def _derive(dek: bytes, salt: bytes, aad: bytes) -> tuple[bytes, bytes]:
    okm = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=salt, info=INFO + aad).derive(dek)
    return okm[:KEY_BYTES], okm[KEY_BYTES:]


def _tlv(*items: tuple[int, bytes | str | int]) -> bytes:
    # Tag, length and value, so that no two different lists of items give the same bytes. Numbers are 8 bytes.
    encoded = []
    for tag, value in items:
        if isinstance(value, int):
            raw = struct.pack(">Q", value)
        else:
            raw = value.encode() if isinstance(value, str) else value
        encoded.append(struct.pack(">BI", tag, len(raw)) + raw)
    return b"".join(encoded)
