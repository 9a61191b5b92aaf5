"""Seals what the Proxy keeps of tenants' data, under keys that Auth leases.

    record = "CS1" | number of the key, 4 bytes | salt, 32 bytes | commitment, 32 bytes | ciphertext and tag
    okm    = HKDF-SHA256(key, salt, "cordboard/seal/v1" || place, 64);  data key = okm[:32], commitment = okm[32:]

AES-256-GCM with a data key of its own for each record, so that its nonce may be a constant. The place is the workspace,
the kind and the id of what is sealed: a record that was moved to another place cannot be opened.
"""

from __future__ import annotations

import hmac
import os
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cordboard.auth.v1 import sealing_key_service_pb2 as pb
from cordboard.auth.v1.sealing_key_service_pb2_grpc import SealingKeyServiceStub
from cordboard.core.channel import Channels
from cordboard.core.errors import DependencyUnavailable, NotFound
from cordboard.core.secrets import Secret

MAGIC: Final = b"CS1"
INFO: Final = b"cordboard/seal/v1"
LEASE_TIMEOUT: Final = 5.0
# How long a key is used before Auth is asked again: so long a shredded workspace's key stays in memory.
FRESH_SECONDS: Final = 300.0
# How long a key serves while Auth does not answer.
STALE_SECONDS: Final = 3600.0
_KEPT: Final = 20_000
_HEAD: Final = struct.Struct(">3sI32s32s")
# The data key of a record seals that record alone.
_NONCE: Final = bytes(12)


class Unreadable(Exception):
    """A record cannot be opened: changed, moved, cut, or sealed under another key. It does not say which."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key of a workspace; it does no I/O."""

    workspace: str
    number: int
    key: Secret[bytes]

    def seal(self, kind: str, resource: str, plain: bytes) -> bytes:
        """Returns the sealed record of what belongs to this one place."""
        salt = os.urandom(32)
        data_key, commitment = self._derive(salt, kind, resource)
        head = _HEAD.pack(MAGIC, self.number, salt, commitment)
        return head + AESGCM(data_key).encrypt(_NONCE, plain, head)

    def open(self, kind: str, resource: str, record: bytes) -> bytes:
        """Returns what was sealed for this place; raises Unreadable on anything else."""
        number, salt, commitment = _taken(record)
        data_key, expected = self._derive(salt, kind, resource)
        # Without the commitment one ciphertext could be made to open under two keys, as GCM does not bind its key.
        if number != self.number or not hmac.compare_digest(commitment, expected):
            raise Unreadable
        try:
            return AESGCM(data_key).decrypt(_NONCE, record[_HEAD.size :], record[: _HEAD.size])
        except InvalidTag:
            raise Unreadable from None

    def _derive(self, salt: bytes, kind: str, resource: str) -> tuple[bytes, bytes]:
        parts = (part.encode() for part in (self.workspace, kind, resource))
        place = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        okm = HKDF(algorithm=SHA256(), length=64, salt=salt, info=INFO + place).derive(self.key.reveal())
        return okm[:32], okm[32:]


def number_of(record: bytes) -> int:
    """Returns the number of the key that a record was sealed under; raises Unreadable."""
    return _taken(record)[0]


def _taken(record: bytes) -> tuple[int, bytes, bytes]:
    try:
        magic, number, salt, commitment = _HEAD.unpack_from(record)
    except struct.error:
        raise Unreadable from None
    if magic != MAGIC:
        raise Unreadable
    return number, salt, commitment


class SealingKeys:
    """The keys that this process holds."""

    def __init__(self, channels: Channels) -> None:
        """Takes the way to Auth."""
        self._channels = channels
        self._held: OrderedDict[tuple[str, int], tuple[SealingKey, float]] = OrderedDict()

    async def current(self, workspace: str) -> SealingKey:
        """Returns the key that seals now; raises NotFound or DependencyUnavailable."""
        return await self._key(workspace, 0)

    async def opened(self, workspace: str, kind: str, resource: str, record: bytes) -> bytes:
        """Returns what a record holds; raises Unreadable, NotFound or DependencyUnavailable."""
        key = await self._key(workspace, number_of(record))
        return key.open(kind, resource, record)

    async def _key(self, workspace: str, number: int) -> SealingKey:
        held = self._held.get((workspace, number))
        if held is not None and time.monotonic() - held[1] < FRESH_SECONDS:
            return held[0]
        try:
            key = await self._lease(workspace, number)
        except DependencyUnavailable:
            if held is None or time.monotonic() - held[1] > STALE_SECONDS:
                raise
            return held[0]
        for place in {(workspace, number), (workspace, key.number)}:
            self._held[place] = (key, time.monotonic())
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)
        return key

    async def _lease(self, workspace: str, number: int) -> SealingKey:
        stub = SealingKeyServiceStub(self._channels.to("auth"))
        request = pb.LeaseSealingKeyRequest(workspace=f"workspaces/{workspace}", number=number)
        try:
            answer = await stub.LeaseSealingKey(request, timeout=LEASE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                self._forget(workspace)
                raise NotFound(f"workspaces/{workspace}") from None
            raise DependencyUnavailable("auth") from None
        return SealingKey(workspace, answer.number, Secret(answer.key))

    def _forget(self, workspace: str) -> None:
        for place in [place for place in self._held if place[0] == workspace]:
            del self._held[place]
