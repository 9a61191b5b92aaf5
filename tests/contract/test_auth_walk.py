"""Three workspaces use Auth at random, beside a model of it: in short; the long walk is in tests/soak."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cordboard import sandbox
from cordboard.auth.connections import Connection, Connections
from cordboard.auth.joined_reads import JoinedReads
from cordboard.auth.store import connections as rows
from cordboard.auth.store.tables import connection as table
from cordboard.core import access, paging
from tests.contract.auth_walk import Difference, Walk
from tests.fixtures.auth import Auth

STEPS = 150
SEED = 4
# So many steps of one kind do not pass by a break of what it looks at.
TRIES = 200
Patch = Callable[[pytest.MonkeyPatch], None]


async def test_what_three_workspaces_see_is_what_each_did(auth: Auth, vendor: sandbox.Vendor, kek_dir: Path) -> None:
    async with auth.replica() as other:
        walk = Walk(auth, vendor, (auth.served, other), kek_dir, SEED)
        await walk.begin()
        await walk.steps(STEPS)
    assert walk.done["comparisons with the rows"] == 2
    assert min(walk.done[step] for step in ("show", "page_through", "lease", "let_it_expire", "delete")) > 0


def a_list_without_its_workspace(patch: pytest.MonkeyPatch) -> None:
    async def everybodys(self: Any, _: str, *, integration: str, after: str, limit: int) -> list[Connection]:
        query = select(*rows._COLUMNS).where(table.c.connection_id > after).order_by(table.c.connection_id).limit(limit)
        async with self._database.everywhere() as connection:
            found = [Connection.of(rows._record(row)) for row in await connection.execute(query)]
        return [each for each in found if integration in ("", each.integration)]

    patch.setattr(Connections, "connections", everybodys)


def a_cache_without_its_workspace(patch: pytest.MonkeyPatch) -> None:
    known: dict[str, Connection] = {}

    async def cached(self: Any, workspace: str, connection_id: str) -> Connection:
        if connection_id not in known:
            known[connection_id] = await self._read(workspace, connection_id)
        return known[connection_id]

    patch.setattr(Connections, "connection", cached)


def reads_joined_without_their_workspace(patch: pytest.MonkeyPatch) -> None:
    get = JoinedReads.get

    class ById(tuple[str, str]):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return isinstance(other, tuple) and self[1] == other[1]

        def __hash__(self) -> int:
            return hash(self[1])

    async def joined(self: Any, key: tuple[str, str]) -> Any:
        return await get(self, ById(key))

    patch.setattr(JoinedReads, "get", joined)


def a_page_token_of_any_list(patch: pytest.MonkeyPatch) -> None:
    def unbound(token: str, _: str) -> str:
        return str(json.loads(base64.urlsafe_b64decode(token + "=="))[1]) if token else ""

    patch.setattr(paging, "_read", unbound)


def a_rule_without_its_workspace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(access, "check_workspace", lambda *_: None)


async def test_a_walk_notices_what_mixes_workspaces(
    auth: Auth, vendor: sandbox.Vendor, kek_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(auth, vendor, (auth.served,), kek_dir, SEED)
    await walk.begin()
    for _ in range(20):
        await walk.connect_by_key()
    breaks: tuple[tuple[Patch, Any], ...] = (
        (a_list_without_its_workspace, walk.page_through),
        (a_cache_without_its_workspace, walk.show),
        (reads_joined_without_their_workspace, walk.lease_everywhere_at_once),
        (a_page_token_of_any_list, walk.turn_a_page_of_others),
        (a_rule_without_its_workspace, walk.show),
    )
    for broken, step in breaks:
        for _ in range(10):
            await walk.page_through()
            await step()
        with monkeypatch.context() as patch:
            broken(patch)
            with pytest.raises(Difference):
                for _ in range(TRIES):
                    await step()
