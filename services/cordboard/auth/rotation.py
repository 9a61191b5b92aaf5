"""Rotation of the vault's keys while it is in use: of the key above, of the workspaces' keys, of the data keys.

A rotation is a row. Whichever process holds the advisory lock works on it in small transactions that carry their
cursor, so that one that is killed loses nothing and another one goes on. New keys seal only once every process knows
them, and old ones go only when no record is under them any more, by the records' own headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy.exc import IntegrityError

from cordboard.auth.envelope import Unreadable, workspace_key_aad
from cordboard.auth.kek.provider import current_key
from cordboard.auth.store import rotations as rows
from cordboard.auth.store import sealed as records
from cordboard.auth.vault import FRESH_SECONDS
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import CordboardError, DependencyUnavailable, InvalidFields, NotFound, StateConflict
from cordboard.core.names import new_id

if TYPE_CHECKING:
    from cordboard.auth.store.rotations import RotationRow
    from cordboard.auth.vault import Drawer, Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

KEK, WORKSPACE, DATA = "kek", "workspace", "data"
LEVELS: Final = (KEK, WORKSPACE, DATA)
BATCH: Final = 200
LOOK_EVERY: Final = 1.0
# A new key seals this long after it was made. Every process has asked the database for keys by then, several times.
SETTLE_SECONDS: Final = 3 * FRESH_SECONDS
# An old key is destroyed this long after another one took its place: no call that was under way lasts as long.
RETIRE_SECONDS: Final = 120.0
# How often a rotation looks for records that were sealed under an old key while it ran.
PASSES: Final = 5
LOCK: Final = 7_205_759_404


@dataclass(frozen=True)
class KeyReport:
    """What lies under which key, by the headers of the ciphertexts alone."""

    level: str
    """`kek`: keys of workspaces under a key-encryption key. `workspace`: records under a workspace's key."""
    workspace: str
    key_id: str
    count: int
    current: bool


class Rotations:
    """Begins rotations, works on them, and proves what they did."""

    def __init__(
        self, database: Database, vault: Vault, journal: Journal, *, settle: float = SETTLE_SECONDS, batch: int = BATCH
    ) -> None:
        """Takes the vault; `settle` seconds is how long every process takes to know a new key."""
        self._database = database
        self._vault = vault
        self._journal = journal
        self._settle = settle
        self._batch = batch
        self._wanted = asyncio.Event()

    async def begin(self, level: str, workspace: str = "") -> RotationRow:
        """Begins a rotation; raises InvalidFields, and StateConflict while another one runs."""
        if level not in LEVELS:
            raise InvalidFields.one("level", f"must be one of {', '.join(LEVELS)}")
        rotation_id = new_id()
        details = {"level": level, "of": workspace}
        entry = Entry(action="auth.vault.rotate", resource=f"keyRotations/{rotation_id}", details=details)
        try:
            async with self._database.everywhere() as connection:
                actor = current_caller().actor
                row = await rows.add_rotation(connection, rotation_id, level=level, workspace=workspace, actor=actor)
                await self._journal.append(connection, entry)
        except IntegrityError:
            raise StateConflict("keyRotations/-", "RUNNING", "a rotation runs: wait until it is done") from None
        self._wanted.set()
        return row

    async def rotation(self, rotation_id: str) -> RotationRow:
        """Returns a rotation; raises NotFound."""
        async with self._database.shared() as connection:
            row = await rows.rotation(connection, rotation_id)
        if row is None:
            raise NotFound(f"keyRotations/{rotation_id}")
        return row

    async def rotations(self, limit: int) -> list[RotationRow]:
        """Returns the last rotations, the newest first."""
        async with self._database.shared() as connection:
            return await rows.latest(connection, limit)

    async def watch(self, rotation_id: str) -> AsyncIterator[RotationRow]:
        """Yields a rotation each time that it got further, until it has ended; raises NotFound."""
        last: RotationRow | None = None
        while last is None or last.state == rows.RUNNING:
            row = await self.rotation(rotation_id)
            if row != last:
                last = row
                yield row
            else:
                await asyncio.sleep(0.2)

    async def report(self, workspace: str = "") -> list[KeyReport]:
        """Returns how much is under which key, straight from the headers of the ciphertexts."""
        async with self._database.everywhere() as connection:
            wrapped = await rows.wrapped_keys(connection, workspace=workspace)
            uses = await records.key_uses(connection, workspace)
        wraps = await current_key(self._vault.provider)
        above: dict[str, int] = {}
        for key in wrapped:
            above[self._id(key.wrapped)] = above.get(self._id(key.wrapped), 0) + 1
        found = [KeyReport(KEK, "", key_id, count, key_id == wraps) for key_id, count in sorted(above.items())]
        newest = {key.workspace: (key.key_id, key.version) for key in wrapped}
        for use in uses:
            current = newest.get(use.workspace) == (use.key_id, use.version)
            found.append(KeyReport(WORKSPACE, use.workspace, use.key_id, use.count, current))
        return found

    def _id(self, wrapped: bytes) -> str:
        try:
            return self._vault.provider.key_id(wrapped)
        except Unreadable:
            return "unreadable"

    async def run(self) -> None:
        """Works on what is to be rotated, for ever, while no other process does."""
        while True:
            try:
                async with self._alone() as alone:
                    while alone and await self.step():
                        pass
                    if alone:
                        await self.retire()
            except CordboardError as error:
                logger.warning("nothing is rotated now", extra={"problem": type(error).__name__})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._wanted.wait()
            self._wanted.clear()

    async def step(self) -> bool:
        """Works on the rotation that runs until it ends; tells whether there was one."""
        async with self._database.shared() as connection:
            row = await rows.running(connection)
        if row is None:
            return False
        logger.info("rotating keys", extra={"rotation": row.id, "level": row.level, "done": row.done})
        try:
            await self._vault.provider.refresh()
            left = await (self._wrap_anew(row) if row.level == KEK else self._renew(row))
        except Unreadable:
            await self._end(row, "a key cannot be opened")
        except CordboardError:
            raise
        except Exception as error:  # whatever it was: what serves credentials must not end with it
            logger.error("a rotation failed unforeseen", extra={"rotation": row.id}, exc_info=error)
            await self._end(row, "internal error")
        else:
            await self._end(row, f"{left} are still under an old key" if left else "")
        return True

    async def retire(self, seconds: float = RETIRE_SECONDS) -> int:
        """Destroys the keys of workspaces that nothing is under any more; returns how many."""
        async with self._database.everywhere() as connection:
            old = await rows.retired_keys(connection, seconds=seconds)
        gone = 0
        for key in old:
            async with self._database.everywhere() as connection:
                uses = await records.key_uses(connection, key.workspace)
                if any(use.key_id == key.key_id for use in uses):
                    continue
                await rows.drop_wrapped(connection, key)
                details = {"key": key.key_id, "version": key.version}
                entry = Entry(
                    "auth.vault-key.destroy", f"workspaces/{key.workspace}", details=details, actor="peer:auth"
                )
                await self._journal.append(connection, entry)
            gone += 1
        return gone

    async def _wrap_anew(self, row: RotationRow) -> int:
        provider = self._vault.provider
        target = await current_key(provider)
        if row.work_time is None:
            async with self._database.everywhere() as connection:
                keys = await rows.wrapped_keys(connection, workspace=row.workspace)
                await rows.begin_work(connection, row.id, len(keys))
        cursor: tuple[str, ...] = row.cursor
        while True:
            async with self._database.everywhere() as connection:
                keys = await rows.wrapped_keys(connection, workspace=row.workspace, after=cursor, limit=self._batch)
            if not keys:
                break
            # No transaction is open here: a provider may be a network away.
            anew = []
            for key in keys:
                if provider.key_id(key.wrapped) != target:
                    aad = workspace_key_aad(key.workspace, key.key_id, key.version)
                    anew.append((key, await provider.wrap(aad, await provider.unwrap(aad, key.wrapped))))
            cursor = (keys[-1].workspace, str(keys[-1].version))
            async with self._database.everywhere() as connection:
                for key, wrapped in anew:
                    await rows.replace_wrapped(connection, key, wrapped)
                await rows.move(connection, row.id, 0, cursor, len(keys))
        async with self._database.everywhere() as connection:
            keys = await rows.wrapped_keys(connection, workspace=row.workspace)
        return sum(provider.key_id(key.wrapped) != target for key in keys)

    async def _renew(self, row: RotationRow) -> int:
        if row.work_time is None:
            await self._add_keys(row)
            # Until every process knows the new keys and seals under them.
            await asyncio.sleep(self._settle + FRESH_SECONDS)
            async with self._database.everywhere() as connection:
                await rows.begin_work(connection, row.id, await records.count_sealed(connection, row.workspace))
        place, cursor = row.place, row.cursor
        for _ in range(PASSES):
            await self._pass(row, place, cursor)
            left = await self._old(row.workspace)
            if not left:
                return 0
            place, cursor = 0, ()
        return left

    async def _add_keys(self, row: RotationRow) -> None:
        async with self._database.everywhere() as connection:
            keys = await rows.wrapped_keys(connection, workspace=row.workspace)
            done = await rows.new_keys_since(connection, row.create_time)
        newest = {key.workspace: key.version for key in keys}
        for workspace, version in newest.items():
            # One that was killed here goes on with the workspaces that have none yet.
            if workspace not in done:
                await self._vault.add_key(workspace, version + 1, seal_after=self._settle)

    async def _pass(self, row: RotationRow, place: int, cursor: tuple[str, ...]) -> None:
        places = records.places(row.workspace)
        while place < len(places):
            place, cursor = await self._piece(row, place, cursor)

    async def _piece(self, row: RotationRow, number: int, cursor: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        place = records.places(row.workspace)[number]
        async with self._database.everywhere() as connection:
            found = await records.sealed_rows(
                connection, place, workspace=row.workspace, after=cursor, limit=self._batch
            )
        drawers = {owner: await self._vault.drawer(owner) for owner in {each.slot.workspace for each in found}}
        async with self._database.everywhere() as connection:
            # Read again under their locks: a refresh may have put other ones in their place.
            found = await records.sealed_rows(
                connection, place, workspace=row.workspace, after=cursor, limit=self._batch
            )
            changed = []
            for each in found:
                drawer = drawers.get(each.slot.workspace)
                renewed = drawer and self._renewed(drawer, each, data_key=row.level == DATA)
                if renewed:
                    changed.append((each, renewed))
            await records.replace_sealed(connection, place, changed)
            following = (number, found[-1].cursor) if found else (number + 1, ())
            await rows.move(connection, row.id, *following, len(found))
        return following

    @staticmethod
    def _renewed(drawer: Drawer, row: records.SealedRow, *, data_key: bool) -> bytes | None:
        try:
            return drawer.renewed(row.slot, row.sealed, data_key=data_key)
        except Unreadable:
            # It was unreadable before, and stays as evidence; the report counts it.
            logger.error("a sealed record cannot be opened", extra={"resource": row.slot.resource})
            return None

    async def _old(self, workspace: str) -> int:
        return sum(each.count for each in await self.report(workspace) if each.level == WORKSPACE and not each.current)

    async def _end(self, row: RotationRow, problem: str) -> None:
        entry = Entry(
            action="auth.vault.rotated",
            resource=f"keyRotations/{row.id}",
            outcome="failed" if problem else "ok",
            details={"level": row.level, "of": row.workspace, "problem": problem},
            actor=row.actor,
        )
        async with self._database.everywhere() as connection:
            await rows.end(connection, row.id, problem=problem)
            await self._journal.append(connection, entry)
        logger.info("keys are rotated", extra={"rotation": row.id, "problem": problem})

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        async with self._database.everywhere() as probe:
            wanted = await rows.running(probe) is not None
            wanted = wanted or bool(await rows.retired_keys(probe, seconds=RETIRE_SECONDS))
        if not wanted:
            yield False
            return
        try:
            connection: asyncpg.Connection = await self._database.raw()
        except (OSError, asyncpg.PostgresError) as error:
            raise DependencyUnavailable("database") from error
        try:
            # Of the session: it goes with its process, however that ends.
            yield bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))
        finally:
            await connection.close()
