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
    seal,
    unseal,
    workspace_key_aad,
)
from cordboard.auth.store import keys as rows
from cordboard.core.errors import DependencyUnavailable
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
# When to try again where an operator has to act first.
RESTORE_SECONDS: Final = 30.0
# At this many, the ones that ended are dropped.
CACHE_SIZE: Final = 4096


class Drawer:
    """The unlocked part of the vault that belongs to one workspace. It does no I/O."""

    def __init__(self, workspace: str, keys: Mapping[int, WrappingKey]) -> None:
        """Takes the workspace's keys by version, at least one; the highest seals."""
        self._workspace = workspace
        self._keys = keys
        self._current = keys[max(keys)]

    def seal(self, resource: str, field: str, version: int, secret: Secret[str]) -> bytes:
        """Returns the sealed record of one field of one version of what `resource` names."""
        slot = Slot(self._workspace, resource, field, version)
        return seal(slot, Secret(secret.reveal().encode()), self._current)

    def open(self, resource: str, field: str, version: int, record: bytes) -> Secret[str]:
        """Returns the secret that was sealed with the same arguments; raises Unreadable on anything else."""
        taken = Record.decode(record)
        key = self._keys.get(taken.kek_version)
        if key is None or key.id != taken.kek_id:
            raise Unreadable
        slot = Slot(self._workspace, resource, field, version)
        return Secret(unseal(slot, taken, key).reveal().decode())


@dataclass(frozen=True)
class _Cached:
    drawer: Drawer
    until: float


class Vault:
    """Unlocks drawers. Unwrapped keys stay in memory for five minutes."""

    def __init__(self, database: Database, provider: KeyProvider, clock: Clock) -> None:
        """Takes where the wrapped keys are kept, and who unwraps them."""
        self._database = database
        self._provider = provider
        self._clock = clock
        self._cache: dict[str, _Cached] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def drawer(self, workspace: str) -> Drawer:
        """Returns a workspace's drawer, with a first key made when it has none.

        Raises DependencyUnavailable when a key cannot be unwrapped, for now or for good. Call it before a transaction
        begins: it may need one of its own.
        """
        found = self._fresh(workspace)
        if found is not None:
            return found
        async with self._locks.setdefault(workspace, asyncio.Lock()):
            found = self._fresh(workspace)
            if found is None:
                found = Drawer(workspace, await self._keys(workspace))
                self._keep(workspace, found)
        # Whoever still waits for this lock finds the drawer in the cache.
        self._locks.pop(workspace, None)
        return found

    def _keep(self, workspace: str, drawer: Drawer) -> None:
        now = self._clock.monotonic()
        if len(self._cache) >= CACHE_SIZE:
            self._cache = {name: cached for name, cached in self._cache.items() if now < cached.until}
        self._cache[workspace] = _Cached(drawer, now + CACHE_SECONDS)

    def _fresh(self, workspace: str) -> Drawer | None:
        cached = self._cache.get(workspace)
        return cached.drawer if cached is not None and self._clock.monotonic() < cached.until else None

    async def _keys(self, workspace: str) -> dict[int, WrappingKey]:
        async with self._database.workspace(workspace) as connection:
            found = await rows.workspace_keys(connection, workspace)
        if not found:
            first = await self._made(workspace)
            async with self._database.workspace(workspace) as connection:
                await rows.add_workspace_key(connection, workspace, first)
                found = await rows.workspace_keys(connection, workspace)
        # No transaction is open here: a provider may be a network away.
        try:
            return {
                row.version: WrappingKey(
                    row.key_id,
                    row.version,
                    await self._provider.unwrap(workspace_key_aad(workspace, row.key_id, row.version), row.wrapped),
                )
                for row in found
            }
        except Unreadable:
            # Not the caller's to mend, and connecting again would not help: an operator has to bring a key back.
            logger.error("the key of a workspace cannot be unwrapped", extra={"workspace": workspace})
            raise DependencyUnavailable("vault", RESTORE_SECONDS) from None

    async def _made(self, workspace: str) -> rows.WorkspaceKeyRow:
        key_id = f"wk-{os.urandom(12).hex()}"
        aad = workspace_key_aad(workspace, key_id, 1)
        return rows.WorkspaceKeyRow(1, key_id, await self._provider.wrap(aad, Secret(os.urandom(KEY_BYTES))))
