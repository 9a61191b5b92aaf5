"""A process of Auth that stands still while it refreshes, and goes on when others have done more."""

from __future__ import annotations

import asyncio
from typing import Any

from cordboard import sandbox
from cordboard.auth.v1 import credential_service_pb2 as pb
from tests.fixtures.auth import Auth, until
from tests.fixtures.auth_processes import AuthProcesses, Running

AT_ONCE = 5
# For so long the vendor holds its answers back: enough to stop the process, and far less than it waits for them.
HELD_BACK_MS = 2000
LATE = (
    "SELECT count(*) FROM audit_entry WHERE body::json->>'action' = 'auth.credential.refresh' "
    "AND body::json->>'outcome' = 'UNKNOWN'"
)


async def stale_writes(auth: Auth, vendor: sandbox.Vendor, running: Running, names: list[str]) -> tuple[int, int]:
    """Stops a process between the vendor's work and its answer, and connects again meanwhile, once for each name.

    Returns how many connections it wrote over when it went on, and how many refreshes it ended.
    """
    for name in names:
        await auth.age(-1, name)
    # The vendor has done its work, and answers while the process stands still.
    vendor.faults.put(sandbox.Fault(latency_ms=HELD_BACK_MS, path="/oauth/token", after_work=True, times=len(names)))
    before = vendor.stats(last=0)["oauth"]["refreshes"]
    requests = [pb.LeaseCredentialRequest(connection=f"workspaces/acme/connections/{name}") for name in names]
    slow = [asyncio.ensure_future(running.stub.LeaseCredential(each, timeout=30)) for each in requests]

    async def under_way() -> bool:
        return bool(vendor.stats(last=0)["oauth"]["refreshes"] == before + len(names))

    await until(under_way)
    running.stop()
    vendor.faults.clear()
    try:
        await asyncio.gather(*(auth.connect(connection_id=name) for name in names))
        newer = await sealed(auth)
    finally:
        running.go_on()
    ended = await asyncio.gather(*slow, return_exceptions=True)
    over = {row["connection_id"] for row in {*await sealed(auth)} - {*newer}}
    return len(over), sum(not isinstance(each, BaseException) for each in ended)


async def sealed(auth: Auth) -> list[Any]:
    """Returns everything that is sealed."""
    return await auth.sql("SELECT connection_id, generation, field, sealed FROM credential ORDER BY 1, 2, 3")


async def names_of(auth: Auth, count: int) -> list[str]:
    """Makes so many connections."""
    names = [f"desk-{index}" for index in range(count)]
    for name in names:
        await auth.connect(connection_id=name)
    return names


async def test_a_process_that_stood_still_writes_nothing_over_what_is_newer(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses
) -> None:
    [running] = await auth_processes(1)
    assert await stale_writes(auth, vendor, running, await names_of(auth, AT_ONCE)) == (0, AT_ONCE)
    # One whose time was up before it could read the answer would have said so, and tried no write.
    assert (await auth.sql(LATE))[0]["count"] == 0


async def test_without_comparing_the_generation_it_writes_over_what_is_newer(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses
) -> None:
    [running] = await auth_processes(1, "tests.fixtures.unfenced_process")
    stale, _ = await stale_writes(auth, vendor, running, await names_of(auth, AT_ONCE))
    assert stale > 0
