"""Rotation of the vault's keys on a real database: online, after kill -9, proven by the ciphertexts' own headers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cordboard.auth.envelope import Record, Unreadable
from cordboard.auth.rotation import DATA, KEK, LEVELS, WORKSPACE
from cordboard.auth.store.sealed import PLACES
from cordboard.core.errors import DependencyUnavailable, InvalidFields, StateConflict
from cordboard.core.secrets import Secret
from tests.fixtures.transit import Transit
from tests.fixtures.vault import Strongroom

# Columns of bytes that hold no sealed record: hashes, and keys that a key provider wrapped.
NO_RECORDS = {("workspace_key", "wrapped"), ("api_key", "digest")}


async def rotated(room: Strongroom, level: str, workspace: str = "") -> str:
    """Rotates in this process; returns how it ended."""
    begun = await room.rotations.begin(level, workspace)
    assert await room.rotations.step()
    return (await room.rotations.rotation(begun.id)).state


async def test_every_column_of_sealed_records_is_rotated(strongroom: Strongroom) -> None:
    found = await strongroom.sql(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'auth' AND data_type = 'bytea'"
    )
    columns = {(row["table_name"], row["column_name"]) for row in found}
    sealed = {each for each in columns - NO_RECORDS if not each[1].endswith("hash")}
    assert sealed == {(place.table, place.column) for place in PLACES}


@pytest.mark.parametrize("level", LEVELS)
async def test_a_rotation_leaves_nothing_under_an_old_key_and_everything_readable(
    strongroom: Strongroom, level: str
) -> None:
    for workspace in ("acme", "other"):
        await strongroom.fill(workspace, 30)
    before = {row["sealed"] for row in await strongroom.sql("SELECT sealed FROM credential")}
    strongroom.add_kek(2)
    await strongroom.vault.provider.refresh()
    stale = sum(each.count for each in await strongroom.rotations.report() if not each.current)
    assert stale == 2, "the control: with a newer key-encryption key, both workspaces' keys are under an old one"
    assert await rotated(strongroom, level) == "done"
    if level != KEK:
        assert await rotated(strongroom, KEK) == "done"
    report = await strongroom.rotations.report()
    assert all(each.current for each in report)
    assert {each.key_id for each in report if each.level == KEK} == {"file/2"}
    for workspace in ("acme", "other"):
        assert await strongroom.unreadable(workspace) == 0
    after = {row["sealed"] for row in await strongroom.sql("SELECT sealed FROM credential")}
    kept = {Record.decode(each).ciphertext for each in before} & {Record.decode(each).ciphertext for each in after}
    assert len(kept) == (0 if level == DATA else 60), "only a rotation of data keys touches the ciphertext"
    assert (before == after) is (level == KEK)


async def test_the_old_key_encryption_key_can_go_afterwards_and_not_before(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 3)
    (strongroom.folder / "1.key").rename(strongroom.folder / "away")
    strongroom.add_kek(2)
    with pytest.raises(DependencyUnavailable):
        await strongroom.another().drawer("acme")
    (strongroom.folder / "away").rename(strongroom.folder / "1.key")
    assert await rotated(strongroom, KEK) == "done"
    (strongroom.folder / "1.key").unlink()
    fresh = await strongroom.another().drawer("acme")
    row = (await strongroom.sql("SELECT connection_id, sealed FROM credential LIMIT 1"))[0]
    assert fresh.open(*strongroom.slot(row["connection_id"]), row["sealed"]).reveal() == f"acme/{row['connection_id']}"


async def test_a_process_that_does_not_know_the_newest_key_reads_the_directory_again(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 1)
    other = strongroom.another()
    strongroom.add_kek(2)
    assert await rotated(strongroom, KEK) == "done"
    assert (await other.drawer("acme")).current.id == (await strongroom.vault.drawer("acme")).current.id


async def test_one_workspace_is_rotated_alone(strongroom: Strongroom) -> None:
    for workspace in ("acme", "other"):
        await strongroom.fill(workspace, 5)
    assert await rotated(strongroom, WORKSPACE, "acme") == "done"
    versions = await strongroom.sql("SELECT workspace_id, max(version) AS v FROM workspace_key GROUP BY 1 ORDER BY 1")
    assert [(row["workspace_id"], row["v"]) for row in versions] == [("acme", 2), ("other", 1)]
    assert await strongroom.unreadable("acme") == await strongroom.unreadable("other") == 0


async def test_an_old_workspace_key_is_destroyed_when_nothing_is_under_it_and_not_before(
    strongroom: Strongroom,
) -> None:
    await strongroom.fill("acme", 5)
    old = (await strongroom.sql("SELECT * FROM credential WHERE connection_id = 'c000001'"))[0]
    assert await rotated(strongroom, WORKSPACE) == "done"
    await strongroom.sql("UPDATE credential SET sealed = $1 WHERE connection_id = 'c000001'", old["sealed"])
    assert await strongroom.rotations.retire(0) == 0, "a record is under it"
    assert await strongroom.unreadable("acme") == 0
    assert await rotated(strongroom, WORKSPACE) == "done"
    assert await strongroom.rotations.retire(0) == 2
    assert len(await strongroom.sql("SELECT 1 FROM workspace_key")) == 1
    assert await strongroom.unreadable("acme") == 0
    # What was copied before is now nothing.
    with pytest.raises(Unreadable):
        (await strongroom.another().drawer("acme")).open(*strongroom.slot("c000001"), old["sealed"])


async def test_a_record_that_was_unreadable_before_is_told_and_holds_up_nothing(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 10)
    await strongroom.sql(
        "UPDATE credential SET sealed = set_byte(sealed, length(sealed) - 150, get_byte(sealed, length(sealed) - 150) "
        "# 1) WHERE connection_id = 'c000004'"
    )
    begun = await strongroom.rotations.begin(DATA)
    await strongroom.rotations.step()
    row = await strongroom.rotations.rotation(begun.id)
    assert (row.state, row.problem) == ("failed", "1 are still under an old key")
    stale = [each for each in await strongroom.rotations.report() if not each.current]
    assert sum(each.count for each in stale) == 1


async def test_there_is_one_rotation_at_a_time(strongroom: Strongroom) -> None:
    await strongroom.rotations.begin(KEK)
    with pytest.raises(StateConflict):
        await strongroom.rotations.begin(DATA)
    with pytest.raises(InvalidFields):
        await strongroom.rotations.begin("everything")


@contextlib.asynccontextmanager
async def traffic(room: Strongroom, workspace: str) -> AsyncIterator[list[int]]:
    """Reads and writes all the time, as two other processes; the list counts reads and failures."""
    counts = [0, 0]

    async def read() -> None:
        vault = room.another()
        while True:
            for row in await room.sql("SELECT connection_id, sealed FROM credential ORDER BY random() LIMIT 20"):
                drawer = await vault.drawer(workspace)
                name = row["connection_id"]
                try:
                    counts[1] += drawer.open(*room.slot(name), row["sealed"]).reveal() != f"{workspace}/{name}"
                except Unreadable:
                    # Twenty rows take a while, and a key is gone when no row is under it any more: this one is under
                    # another one by then.
                    [now] = await room.sql("SELECT sealed FROM credential WHERE connection_id = $1", name)
                    counts[1] += now["sealed"] == row["sealed"]
                counts[0] += 1
            await asyncio.sleep(0.01)

    async def write() -> None:
        vault, number = room.another(), 0
        while True:
            number = number % 100 + 1
            name = f"c{number:06}"
            drawer = await vault.drawer(workspace)
            sealed = drawer.seal(*room.slot(name), Secret(f"{workspace}/{name}"))
            await room.sql("UPDATE credential SET sealed = $1 WHERE connection_id = $2", sealed, name)
            await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(read()), asyncio.create_task(write())]
    try:
        yield counts
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


@pytest.mark.parametrize("level", [WORKSPACE, DATA])
async def test_a_job_that_is_killed_three_times_goes_on_under_traffic(strongroom: Strongroom, level: str) -> None:
    await strongroom.fill("acme", 300)
    async with traffic(strongroom, "acme") as counts:
        killed, done = await strongroom.rotate_through_kills(level, 3, 300, batch=10)
    assert killed == 3
    assert done >= 300
    assert counts[0] > 0
    assert counts[1] == 0, "no read failed"
    assert await strongroom.unreadable("acme") == 0


async def test_two_processes_do_not_work_on_one_rotation(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 300)
    workers = [await strongroom.work(batch=10) for _ in range(3)]
    try:
        begun = await strongroom.rotations.begin(DATA)
        async with asyncio.timeout(50):
            async for row in strongroom.rotations.watch(begun.id):
                last = row
    finally:
        for worker in workers:
            worker.kill()
            await worker.wait()
    assert (last.state, last.done) == ("done", 300)
    assert await strongroom.unreadable("acme") == 0


async def test_an_outage_of_the_provider_stops_a_rotation_and_not_the_reads(
    strongroom: Strongroom, transit: Transit
) -> None:
    await strongroom.fill("acme", 5)
    both = strongroom.another(f"{transit.url} {strongroom.kek}")
    strongroom.rotations._vault = both
    assert await rotated(strongroom, KEK) == "done"
    transit.rotate()
    begun = await strongroom.rotations.begin(KEK)
    await both.drawer("acme")
    transit.down = True
    with pytest.raises(DependencyUnavailable):
        await strongroom.rotations.step()
    drawer = await both.drawer("acme")
    row = (await strongroom.sql("SELECT connection_id, sealed FROM credential LIMIT 1"))[0]
    assert drawer.open(*strongroom.slot(row["connection_id"]), row["sealed"])
    # The control: without a key in memory there is nothing to read with.
    fresh = strongroom.another(f"{transit.url} {strongroom.kek}")
    with pytest.raises(DependencyUnavailable):
        await fresh.drawer("acme")
    await fresh.provider.close()
    transit.down = False
    assert await strongroom.rotations.step()
    assert (await strongroom.rotations.rotation(begun.id)).state == "done"
    await both.provider.close()
