"""The vault: seals secrets under their workspace's key, which the key provider wraps."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.auth.envelope import (
    KEY_BYTES,
    Record,
    Slot,
    Unreadable,
    WrappingKey,
    rewrap,
    seal,
    unseal,
    workspace_key_aad,
)
from cordboard.auth.store import keys as rows
from cordboard.core.errors import DependencyUnavailable, StateConflict
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.kek import KeyProvider
    from cordboard.core.database import Database
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

# What belongs to the mesh and to no tenant. No tenant can have this id: ids begin with a letter.
SYSTEM: Final = "_system"
# How long an unwrapped workspace key stays in memory: so long reads survive an outage of the key provider.
CACHE_SECONDS: Final = 300.0
# How long a drawer is used before the database is asked which keys there are. After this every process knows a new
# key, and has forgotten a destroyed one.
FRESH_SECONDS: Final = 1.0
# When to try again where an operator has to act first.
RESTORE_SECONDS: Final = 30.0
# At this many, the ones that ended are dropped.
CACHE_SIZE: Final = 4096


class Drawer:
    """The unlocked part of the vault that belongs to one workspace. It does no I/O."""

    def __init__(self, workspace: str, keys: Mapping[int, WrappingKey], current: int | None = None) -> None:
        """Takes the workspace's keys by version, at least one; `current` seals, the highest unless it is given."""
        self._workspace = workspace
        self._keys = keys
        self._current = keys[max(keys) if current is None else current]

    @property
    def current(self) -> WrappingKey:
        """Returns the key that seals now."""
        return self._current

    def seal(self, resource: str, field: str, version: int, secret: Secret[str]) -> bytes:
        """Returns the sealed record of one field of one version of what `resource` names."""
        slot = Slot(self._workspace, resource, field, version)
        return seal(slot, Secret(secret.reveal().encode()), self._current)

    def open(self, resource: str, field: str, version: int, record: bytes) -> Secret[str]:
        """Returns the secret that was sealed with the same arguments; raises Unreadable on anything else."""
        taken = Record.decode(record)
        slot = Slot(self._workspace, resource, field, version)
        return Secret(unseal(slot, taken, self._key_of(taken)).reveal().decode())

    def renewed(self, slot: Slot, record: bytes, *, data_key: bool) -> bytes | None:
        """Returns a record under the current key, with a new data key too where that is asked for.

        None where it is under the current key already. Raises Unreadable.
        """
        taken = Record.decode(record)
        if (taken.kek_id, taken.kek_version) == (self._current.id, self._current.version):
            return None
        old = self._key_of(taken)
        return (
            seal(slot, unseal(slot, taken, old), self._current) if data_key else rewrap(slot, taken, old, self._current)
        )

    def _key_of(self, record: Record) -> WrappingKey:
        key = self._keys.get(record.kek_version)
        if key is None or key.id != record.kek_id:
            raise Unreadable
        return key


@dataclass(frozen=True)
class _Unwrapped:
    key: Secret[bytes]
    until: float


@dataclass(frozen=True)
class _Cached:
    drawer: Drawer
    until: float


class Vault:
    """Unlocks drawers. Unwrapped keys stay in memory for five minutes."""

    def __init__(
        self, database: Database, provider: KeyProvider, clock: Clock, *, fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        """Takes where the wrapped keys are kept, and who unwraps them."""
        self._database = database
        self._provider = provider
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._drawers: dict[str, _Cached] = {}
        self._unwrapped: dict[tuple[str, str], _Unwrapped] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def provider(self) -> KeyProvider:
        """Returns who wraps the workspaces' keys."""
        return self._provider

    async def drawer(self, workspace: str) -> Drawer:
        """Returns a workspace's drawer, with a first key made when it has none.

        Raises DependencyUnavailable when a key cannot be unwrapped, for now or for good, and StateConflict where the
        workspace was shredded. Call it before a transaction begins: it may need one of its own.
        """
        found = self._fresh(workspace)
        if found is not None:
            return found
        async with self._locks.setdefault(workspace, asyncio.Lock()):
            found = self._fresh(workspace)
            if found is None:
                found = await self._read(workspace)
                self._keep(workspace, found)
        # Whoever still waits for this lock finds the drawer in the cache.
        self._locks.pop(workspace, None)
        return found

    def forget(self, workspace: str) -> None:
        """Drops a workspace's keys from memory."""
        self._drawers.pop(workspace, None)
        self._unwrapped = {place: kept for place, kept in self._unwrapped.items() if place[0] != workspace}

    async def add_key(self, workspace: str, version: int, *, seal_after: float) -> None:
        """Gives a workspace another version of its key, which seals after so many seconds."""
        row = await self._made(workspace, version)
        async with self._database.workspace(workspace) as connection:
            await rows.add_workspace_key(connection, workspace, row, seal_after=seal_after)

    def _keep(self, workspace: str, drawer: Drawer) -> None:
        now = self._clock.monotonic()
        if len(self._drawers) >= CACHE_SIZE:
            self._drawers = {name: cached for name, cached in self._drawers.items() if now < cached.until}
        if len(self._unwrapped) >= CACHE_SIZE:
            self._unwrapped = {place: kept for place, kept in self._unwrapped.items() if now < kept.until}
        self._drawers[workspace] = _Cached(drawer, now + self._fresh_seconds)

    def _fresh(self, workspace: str) -> Drawer | None:
        cached = self._drawers.get(workspace)
        return cached.drawer if cached is not None and self._clock.monotonic() < cached.until else None

    async def _read(self, workspace: str) -> Drawer:
        async with self._database.workspace(workspace) as connection:
            found = await rows.workspace_keys(connection, workspace)
            shredded = not found and await rows.is_shredded(connection, workspace)
        if shredded:
            self.forget(workspace)
            raise StateConflict(f"workspaces/{workspace}", "SHREDDED", "the keys of this workspace were destroyed")
        if not found:
            first = await self._made(workspace, 1)
            async with self._database.workspace(workspace) as connection:
                await rows.add_workspace_key(connection, workspace, first)
                found = await rows.workspace_keys(connection, workspace)
        # No transaction is open here: a provider may be a network away.
        try:
            keys = {row.version: await self._opened(workspace, row) for row in found}
        except Unreadable:
            # Not the caller's to mend, and connecting again would not help: an operator has to bring a key back.
            logger.error("the key of a workspace cannot be unwrapped", extra={"workspace": workspace})
            raise DependencyUnavailable("vault", RESTORE_SECONDS) from None
        return Drawer(workspace, keys, max((row.version for row in found if row.seals), default=min(keys)))

    async def _opened(self, workspace: str, row: rows.WorkspaceKeyRow) -> WrappingKey:
        kept = self._unwrapped.get((workspace, row.key_id))
        if kept is None or self._clock.monotonic() >= kept.until:
            key = await self._provider.unwrap(workspace_key_aad(workspace, row.key_id, row.version), row.wrapped)
            kept = _Unwrapped(key, self._clock.monotonic() + CACHE_SECONDS)
            self._unwrapped[workspace, row.key_id] = kept
        return WrappingKey(row.key_id, row.version, kept.key)

    async def _made(self, workspace: str, version: int) -> rows.WorkspaceKeyRow:
        key_id = f"wk-{os.urandom(12).hex()}"
        aad = workspace_key_aad(workspace, key_id, version)
        return rows.WorkspaceKeyRow(version, key_id, await self._provider.wrap(aad, Secret(os.urandom(KEY_BYTES))))
