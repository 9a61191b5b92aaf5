"""Rotation of 50,000 credentials, its job killed ten times, under reads and writes."""

from __future__ import annotations

import time

import pytest

from cordboard.auth.rotation import DATA, KEK, WORKSPACE
from tests.contract.test_auth_rotation import traffic
from tests.fixtures.vault import Strongroom

CREDENTIALS = 50_000
KILLS = 10


@pytest.mark.parametrize("level", [WORKSPACE, DATA])
async def test_fifty_thousand_credentials_survive_ten_kills(strongroom: Strongroom, level: str) -> None:
    await strongroom.fill("acme", CREDENTIALS)
    begun = time.perf_counter()
    async with traffic(strongroom, "acme") as counts:
        killed, _ = await strongroom.rotate_through_kills(level, KILLS, CREDENTIALS, batch=200)
    seconds = time.perf_counter() - begun
    wrong = await strongroom.unreadable("acme")
    stale = sum(each.count for each in await strongroom.rotations.report() if not each.current)
    print(
        f"\n{level}: {CREDENTIALS} credentials in {seconds:.0f} s, killed {killed} times, {counts[0]} reads meanwhile: "
        f"{counts[1]} failed, {wrong} unreadable, {stale} under an old key"
    )
    assert (killed, counts[1], wrong, stale) == (KILLS, 0, 0, 0)


async def test_two_thousand_workspaces_change_their_key_encryption_key_through_ten_kills(
    strongroom: Strongroom,
) -> None:
    await strongroom.fill("acme", 100)
    for number in range(2000):
        await strongroom.vault.drawer(f"w{number}")
    strongroom.add_kek(2)
    async with traffic(strongroom, "acme") as counts:
        killed, _ = await strongroom.rotate_through_kills(KEK, KILLS, 2001, batch=20)
    (strongroom.folder / "1.key").unlink()
    for number in range(2000):
        await strongroom.another().drawer(f"w{number}")
    assert (killed, counts[1]) == (KILLS, 0)
