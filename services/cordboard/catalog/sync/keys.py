"""A hub's signing keys: in the database, sealed under a key that only the service's file has."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cordboard.catalog.sync.rejection import no_hub
from cordboard.catalog.sync.signing import key_id, new_private_key, public_key_of, sign
from cordboard.catalog.sync.store import KeyRecord
from cordboard.catalog.sync.trust import key_text
from cordboard.catalog.v1.sync_service_pb2 import HubKey
from cordboard.core.audit import Entry
from cordboard.core.secrets import Secret
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.sync.store import HubStore
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
RECENT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class SigningKeys:
    """A hub's identity, and what it signs with."""

    hub: str
    epoch: int
    keys: tuple[HubKey, ...]
    """All of them, oldest first."""
    private_key: Secret[bytes]
    """Of the newest."""

    @property
    def newest(self) -> HubKey:
        """Returns the key that signs."""
        return self.keys[-1]


class HubKeys:
    """Keeps a hub's signing keys."""

    def __init__(self, store: HubStore, journal: Journal, clock: Clock, key_file: Path | None) -> None:
        """Takes the store, the journal, the time, and the file with the 32 bytes that seal the keys; without one this
        is no hub.
        """
        self._store = store
        self._journal = journal
        self._clock = clock
        self._file = key_file
        self._sealing: Secret[bytes] | None = None
        self._known: SigningKeys | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def current(self) -> SigningKeys:
        """Returns the keys; makes the hub's identity and first key when there is none. Raises StateConflict."""
        sealing = await self._sealing_key()
        async with self._store.reading() as connection:
            found = await self._read(connection, sealing)
        if found is not None:
            return found
        async with self._store.writing() as connection:
            found = await self._read(connection, sealing)
            if found is None:
                hub = f"hub-{secrets.token_hex(8)}"
                await self._store.put_hub(connection, hub, epoch=1)
                await self._add(connection, sealing, hub, None)
                found = await self._read(connection, sealing)
        if found is None:
            raise no_hub()
        return found

    async def recent(self) -> SigningKeys:
        """Returns the keys as they were at most a second ago; raises StateConflict."""
        # All edges ask when something changed: one reads for them.
        async with self._reading:
            now = self._clock.monotonic()
            if self._known is None or now - self._read_at > RECENT_SECONDS:
                self._known, self._read_at = await self.current(), now
            return self._known

    async def rotate(self) -> HubKey:
        """Makes a new key, signed by the present one; raises StateConflict."""
        sealing = await self._sealing_key()
        await self.current()
        async with self._store.writing() as connection:
            present = await self._read(connection, sealing)
            if present is None:
                raise no_hub()
            key = await self._add(connection, sealing, present.hub, present)
            entry = Entry(action="catalog.hub.rotate-key", resource=f"hubs/{present.hub}", details={"key": key.id})
            await self._journal.append(connection, entry)
        return key

    async def restart_log(self) -> int:
        """Begins the log anew and returns its epoch; raises StateConflict."""
        keys = await self.current()
        async with self._store.writing() as connection:
            epoch = await self._store.next_epoch(connection)
            entry = Entry(action="catalog.hub.restart-log", resource=f"hubs/{keys.hub}", details={"epoch": epoch})
            await self._journal.append(connection, entry)
        return epoch

    async def _sealing_key(self) -> Secret[bytes]:
        if self._sealing is None:
            if self._file is None:
                raise no_hub()
            content = await asyncio.to_thread(self._file.read_bytes)
            if len(content) != KEY_BYTES:
                raise no_hub()
            self._sealing = Secret(content)
        return self._sealing

    async def _read(self, connection: AsyncConnection, sealing: Secret[bytes]) -> SigningKeys | None:
        hub = await self._store.hub(connection)
        records = await self._store.keys(connection)
        if hub is None or not records:
            return None
        newest = records[-1]
        nonce, sealed = newest.sealed[:NONCE_BYTES], newest.sealed[NONCE_BYTES:]
        try:
            private_key = AESGCM(sealing.reveal()).decrypt(nonce, sealed, newest.id.encode())
        except InvalidTag:
            # The file is not the one that the keys were sealed with.
            raise no_hub() from None
        return SigningKeys(hub[0], hub[1], tuple(_message(one) for one in records), Secret(private_key))

    async def _add(
        self, connection: AsyncConnection, sealing: Secret[bytes], hub: str, signer: SigningKeys | None
    ) -> HubKey:
        private_key = new_private_key()
        public_key = public_key_of(private_key)
        name, nonce = key_id(public_key), os.urandom(NONCE_BYTES)
        record = KeyRecord(
            number=1 if signer is None else len(signer.keys) + 1,
            id=name,
            public_key=public_key,
            sealed=nonce + AESGCM(sealing.reveal()).encrypt(nonce, private_key, name.encode()),
            signer="" if signer is None else signer.newest.id,
            signature=b"" if signer is None else sign(signer.private_key, key_text(hub, public_key)),
            create_time=self._clock.now(),
        )
        await self._store.add_key(connection, record)
        return _message(record)


def _message(record: KeyRecord) -> HubKey:
    return HubKey(
        id=record.id,
        public_key=record.public_key,
        signer=record.signer,
        signature=record.signature,
        create_time=to_timestamp(record.create_time),
    )
