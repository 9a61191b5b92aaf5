"""Processes of Auth that are killed while they refresh: every connection ends fresh, or says that a person is needed.

`KILLS=2` is the short form. Each kill hits ten refreshes at once.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import grpc

from cordboard import sandbox
from cordboard.auth.v1 import credential_service_pb2 as pb
from tests.fixtures.auth import Auth, until
from tests.fixtures.auth_processes import AuthProcesses, Running

KILLS: Final = int(os.environ.get("KILLS", "20"))
AT_ONCE: Final = 10
# The vendor holds its answers back for so long, and the process does not live to read them.
HELD_BACK_MS: Final = 4000
DEADLINE: Final = 60.0
ENDED: Final = (
    "SELECT resource FROM (SELECT body::json->>'resource' AS resource, body::json->>'action' AS action, "
    "body::json->>'outcome' AS outcome FROM audit_entry) e "
    "WHERE action = 'auth.credential.refresh' AND outcome = 'RECONNECT_REQUIRED'"
)
MOMENTS: Final = ("before the vendor worked", "after it worked", "at random")


@dataclass
class Books:
    """What became of the connections, and what the vendor says of it."""

    ends: Counter[str]
    refreshes: int = 0
    reuses: int = 0


async def lease(stub: Any, name: str) -> str:
    """Leases until the answer is one that stays; returns the token, or nothing where a person has to connect again."""
    request = pb.LeaseCredentialRequest(connection=f"workspaces/acme/connections/{name}")
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                answer = await stub.LeaseCredential(request, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    return ""
                assert error.code() is grpc.StatusCode.UNAVAILABLE, f"{name}: {error.code()} {error.details()}"
                await asyncio.sleep(0.2)
            else:
                return str(answer.access_token)


async def killed(auth: Auth, vendor: sandbox.Vendor, running: Running, names: list[str], moment: str) -> None:
    """Has a process refresh all connections, and kills it at that moment."""
    for name in names:
        await auth.age(-1, name)
    before = vendor.stats(last=0)["oauth"]["refreshes"]
    if moment != "at random":
        held = sandbox.Fault(
            latency_ms=HELD_BACK_MS, path="/oauth/token", after_work=moment == "after it worked", times=len(names)
        )
        vendor.faults.put(held)
    requests = [pb.LeaseCredentialRequest(connection=f"workspaces/acme/connections/{name}") for name in names]
    calls = [asyncio.ensure_future(running.stub.LeaseCredential(each, timeout=DEADLINE)) for each in requests]

    async def under_way() -> bool:
        if moment == "after it worked":
            return bool(vendor.stats(last=0)["oauth"]["refreshes"] == before + len(names))
        return vendor.faults.remaining == 0

    if moment == "at random":
        await asyncio.sleep(random.uniform(0, 0.3))
    else:
        await until(under_way)
    running.process.kill()
    running.process.wait()
    vendor.faults.clear()
    await asyncio.gather(*calls, return_exceptions=True)


async def kept_books(auth: Auth, vendor: sandbox.Vendor, start: AuthProcesses) -> Books:
    """Kills process after process, and looks at each connection with another one."""
    books = Books(Counter())
    for number in range(KILLS):
        [running] = await start(1)
        names = [f"desk-{number}-{index}" for index in range(AT_ONCE)]
        for name in names:
            await auth.connect(connection_id=name)
        before = vendor.stats(last=0)["oauth"]
        moment = MOMENTS[number % len(MOMENTS)]
        await killed(auth, vendor, running, names, moment)
        tokens = await asyncio.gather(*(lease(auth.proxy(), name) for name in names))
        ended = {row["resource"].rpartition("/")[2] for row in await auth.sql(ENDED)}
        for name, token in zip(names, tokens, strict=True):
            end = _end(vendor, token)
            assert end != "lost" or name in ended, f"{name} ended without an entry of the journal"
            books.ends[f"{moment}: {end}"] += 1
        after = vendor.stats(last=0)["oauth"]
        books.refreshes += after["refreshes"] - before["refreshes"]
        books.reuses += after["reuses"] - before["reuses"]
        # Whoever has to connect again is not asked about again: nobody hammers the vendor.
        dead = [name for name, token in zip(names, tokens, strict=True) if not token]
        assert not any([await lease(auth.proxy(), name) for name in dead])
        assert vendor.stats(last=0)["oauth"] == after
    return books


def _end(vendor: sandbox.Vendor, token: str) -> str:
    if not token:
        return "lost"
    return "fresh" if vendor.grants.access(token) is not None else "WRONG: the vendor does not know the token"


async def test_a_process_killed_while_it_refreshes_leaves_every_connection_fresh_or_to_be_connected_again(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses
) -> None:
    books = await kept_books(auth, vendor, auth_processes)
    lost = sum(count for end, count in books.ends.items() if end.endswith("lost"))
    print(
        f"\n{KILLS} kills, {KILLS * AT_ONCE} refreshes hit: {dict(books.ends)}; the vendor worked {books.refreshes} "
        f"times and saw {books.reuses} refresh tokens twice; lost rotations: {lost}"
    )
    assert not [end for end in books.ends if "WRONG" in end]
    assert sum(books.ends.values()) == KILLS * AT_ONCE
    assert books.ends["before the vendor worked: lost"] == 0
    # A token is tried again once, and only where the vendor used it up and nobody read the answer.
    assert books.reuses == lost
    assert books.refreshes == KILLS * AT_ONCE
