"""Credentials on their way from one installation to another: whole, unread by others, and refused when changed."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cordboard.auth.kek import open_ring
from cordboard.auth.transfer import Transfers
from cordboard.auth.vault import Vault
from cordboard.core.audit import Journal
from cordboard.core.database import Database
from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.times import SystemClock
from tests.e2e.leaks import Search
from tests.fixtures.postgres import Databases
from tests.fixtures.vault import Strongroom


@dataclass
class Elsewhere:
    """Another installation, with keys and a database of its own."""

    database: Database
    vault: Vault
    transfers: Transfers


@pytest.fixture
async def elsewhere(database: Databases, tmp_path: Path) -> AsyncIterator[Elsewhere]:
    keys = tmp_path / "elsewhere"
    keys.mkdir(mode=0o700)
    (keys / "1.key").write_bytes(os.urandom(32))
    (keys / "1.key").chmod(0o400)
    store = Database(database("auth").url)
    vault = Vault(store, open_ring(f"file:{keys}", networks=()), SystemClock())
    journal = Journal(store)
    yield Elsewhere(store, vault, Transfers(store, vault, journal))
    await journal.close()
    await store.close()


async def workspaces(there: Elsewhere, *names: str) -> None:
    for name in names:
        async with there.database.workspace(name) as connection:
            await connection.exec_driver_sql(
                f"INSERT INTO workspace (workspace_id, tier, revision) VALUES ('{name}', 't', 1)"
            )


async def exported(room: Strongroom, there: Elsewhere, workspace: str = "") -> tuple[str, list[str]]:
    """Returns the exporting installation's public key, and the file."""
    here = Transfers(room.database, room.vault, room.journal)
    mine, theirs = await here.create_key(), await there.transfers.create_key()
    return mine.text(), [line async for line in here.export(theirs.text(), workspace, mine.id)]


async def each(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line


async def test_everything_arrives_and_works_under_the_other_installations_keys(
    strongroom: Strongroom, elsewhere: Elsewhere
) -> None:
    await strongroom.fill("acme", 120)
    await strongroom.fill("other", 3)
    await workspaces(elsewhere, "acme", "other")
    source, lines = await exported(strongroom, elsewhere)
    assert len(lines) == 125
    done = await elsewhere.transfers.take(source, each(lines))
    assert (done.imported, done.present) == (123, 0)
    for workspace, count in (("acme", 120), ("other", 3)):
        async with elsewhere.database.workspace(workspace) as connection:
            rows = (await connection.exec_driver_sql("SELECT connection_id, sealed FROM credential")).all()
        drawer = await elsewhere.vault.drawer(workspace)
        opened = [drawer.open(*strongroom.slot(row.connection_id), bytes(row.sealed)).reveal() for row in rows]
        assert sorted(opened) == [f"{workspace}/c{number:06}" for number in range(1, count + 1)]
    # Once more is as good as once.
    again = await elsewhere.transfers.take(source, each(lines))
    assert (again.imported, again.present) == (0, 123)


async def test_an_import_that_was_cut_goes_on(strongroom: Strongroom, elsewhere: Elsewhere) -> None:
    await strongroom.fill("acme", 10)
    await workspaces(elsewhere, "acme")
    source, lines = await exported(strongroom, elsewhere)
    with pytest.raises(InvalidFields, match="no manifest"):
        await elsewhere.transfers.take(source, each(lines[:5]))
    done = await elsewhere.transfers.take(source, each(lines))
    assert (done.imported, done.present) == (6, 4)


async def test_one_workspace_leaves_alone_and_an_unknown_one_is_told(
    strongroom: Strongroom, elsewhere: Elsewhere
) -> None:
    await strongroom.fill("acme", 2)
    await strongroom.fill("other", 2)
    source, lines = await exported(strongroom, elsewhere, "acme")
    assert len(lines) == 4
    with pytest.raises(NotFound):
        await elsewhere.transfers.take(source, each(lines))
    with pytest.raises(NotFound):
        await exported(strongroom, elsewhere, "nobody")


def changed(lines: list[str], number: int, field: str, change: Callable[[str], object]) -> list[str]:
    """Returns a file with one field of one line changed."""
    value = json.loads(lines[number])
    value[field] = change(value[field])
    return [*lines[:number], json.dumps(value, separators=(",", ":")), *lines[number + 1 :]]


def flipped(text: str) -> str:
    return f"{text[:10]}{'B' if text[10] == 'A' else 'A'}{text[11:]}"


DAMAGE: list[Callable[[list[str]], list[str]]] = [
    lambda lines: changed(lines, 2, "sealed", flipped),
    lambda lines: changed(lines, 2, "signature", flipped),
    lambda lines: changed(lines, 0, "export", lambda _: "another"),
    lambda lines: changed(lines, 0, "format", lambda _: "cordboard-export-2"),
    lambda lines: changed(lines, -1, "signature", flipped),
    lambda lines: changed(lines, -1, "count", lambda _: 2),
    lambda lines: [*lines[:2], *lines[3:]],
    lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    lambda lines: [*lines[:2], lines[1], *lines[2:]],
    lambda lines: lines[:-1],
    lambda lines: [*lines, lines[1]],
    lambda lines: lines[1:],
    lambda lines: [lines[0], "{}", *lines[1:]],
    lambda lines: [lines[0], "not json", *lines[1:]],
]


@pytest.mark.parametrize("number", range(len(DAMAGE)))
async def test_a_file_that_was_changed_is_refused(strongroom: Strongroom, elsewhere: Elsewhere, number: int) -> None:
    await strongroom.fill("acme", 3)
    await workspaces(elsewhere, "acme")
    source, lines = await exported(strongroom, elsewhere)
    with pytest.raises(InvalidFields):
        await elsewhere.transfers.take(source, each(DAMAGE[number](lines)))
    # The control: as it was, it comes in.
    assert (await elsewhere.transfers.take(source, each(lines))).imported + 3 >= 3


async def test_a_file_for_or_from_somebody_else_is_refused(strongroom: Strongroom, elsewhere: Elsewhere) -> None:
    await strongroom.fill("acme", 1)
    await workspaces(elsewhere, "acme")
    source, lines = await exported(strongroom, elsewhere)
    stranger = await elsewhere.transfers.create_key()
    with pytest.raises(InvalidFields):
        await elsewhere.transfers.take(stranger.text(), each(lines))
    forged = json.loads(stranger.text()) | {"key_id": json.loads(source)["key_id"]}
    with pytest.raises(InvalidFields):
        await elsewhere.transfers.take(json.dumps(forged), each(lines))
    here = Transfers(strongroom.database, strongroom.vault, strongroom.journal)
    with pytest.raises(InvalidFields):
        await here.take(source, each(lines))
    for text in ("", "{}", "[]", "x", json.dumps(json.loads(source) | {"x25519": "AAAA"})):
        with pytest.raises(InvalidFields):
            await elsewhere.transfers.take(text, each(lines))


async def test_nothing_is_encrypted_to_a_key_of_small_order(strongroom: Strongroom, elsewhere: Elsewhere) -> None:
    here = Transfers(strongroom.database, strongroom.vault, strongroom.journal)
    mine, theirs = await here.create_key(), json.loads((await elsewhere.transfers.create_key()).text())
    weak = json.dumps(theirs | {"x25519": "A" * 43 + "="})
    with pytest.raises(InvalidFields):
        _ = [line async for line in here.export(weak, "", mine.id)]
    with pytest.raises(InvalidFields):
        _ = [line async for line in here.export(json.dumps(theirs), "", "\0")]


async def test_the_file_shows_no_secret_and_the_journal_tells_of_it(
    strongroom: Strongroom, elsewhere: Elsewhere
) -> None:
    await strongroom.fill("acme", 2)
    _, lines = await exported(strongroom, elsewhere)
    search = Search.for_secrets({"credential": b"acme/c000001"})
    search.look("file", "\n".join(lines).encode())
    assert search.hits == []
    search.look("control", b"acme/c000001")
    assert search.hits
    told = await strongroom.sql("SELECT body::json->>'action' AS action FROM audit_entry WHERE workspace_id = ''")
    assert "auth.vault.export" in {row["action"] for row in told}
