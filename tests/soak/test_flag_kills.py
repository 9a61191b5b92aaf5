"""kill -9 of who changes flags, at random moments: no acknowledged revision is lost, and none is there by half.

KILLS in the environment says how often; 200 is what the project promises.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.fixtures.postgres import Databases, ServiceDatabase

KILLS = int(os.environ.get("KILLS", "200"))
# What must hold whenever one looks: each flag has the revision that holds, revisions have no gaps, nothing is newer
# than the head, and the journal tells of every revision.
HALVES = """
    SELECT count(*) FROM flags.flag f LEFT JOIN flags.flag_revision r USING (key, revision) WHERE r.key IS NULL
    UNION ALL SELECT count(*) FROM (SELECT key, max(revision) AS newest, count(*) AS kept
        FROM flags.flag_revision GROUP BY key) AS kept LEFT JOIN flags.flag f USING (key)
        WHERE newest <> kept.kept OR f.revision IS DISTINCT FROM newest
    UNION ALL SELECT count(*) FROM flags.flag f, flags.head h WHERE f.sequence > h.sequence
    UNION ALL SELECT abs((SELECT count(*) FROM flags.flag_revision) - (SELECT count(*) FROM flags.audit_entry))
"""


@pytest.fixture
def own(database: Databases) -> ServiceDatabase:
    """A database of flags."""
    return database("flags")


@pytest.fixture
async def looking(own: ServiceDatabase) -> AsyncIterator[Any]:
    """A connection around all that protects rows."""
    plain = make_url(own.superuser_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    yield connection
    await connection.close()


async def halves(looking: Any) -> list[int]:
    return [row[0] for row in await looking.fetch(HALVES)]


async def test_kills_lose_no_revision_and_leave_no_halves(own: ServiceDatabase, looking: Any) -> None:
    chance = random.Random(20)
    acknowledged: dict[tuple[str, int], str] = {}
    for kill in range(KILLS):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.flags_process", own.url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = await process.stdout.readline()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        said += await process.stdout.read()
        for line in said.decode().splitlines(keepends=True):
            # The last line may have been cut; what is whole was acknowledged.
            if line.endswith("\n"):
                key, revision, text = line.split()
                assert (key, int(revision)) not in acknowledged
                acknowledged[key, int(revision)] = text
        await process.wait()
        assert await halves(looking) == [0, 0, 0, 0], kill
    rows = await looking.fetch("SELECT key, revision, content->'variants'->>'a' AS text FROM flags.flag_revision")
    kept = {(row["key"], row["revision"]): row["text"] for row in rows}
    lost = [name for name, text in acknowledged.items() if kept.get(name) != text]
    print(f"{KILLS} kills, {len(acknowledged)} revisions acknowledged, {len(kept)} kept, {len(lost)} lost")
    assert len(acknowledged) >= KILLS
    assert lost == []


async def test_a_half_is_seen(looking: Any) -> None:
    """The control: what the test above looks for is found when it is there."""
    assert await halves(looking) == [0, 0, 0, 0]
    revision = "INSERT INTO flags.flag_revision (key, revision, content, killed, creator, reason, create_time)"
    for number in (1, 3):
        await looking.execute(f"{revision} VALUES ('a', {number}, '{{}}', false, '', '', now())")
    await looking.execute("INSERT INTO flags.flag (key, revision, sequence, create_time) VALUES ('a', 1, 9, now())")
    assert await halves(looking) == [0, 1, 1, 2]
