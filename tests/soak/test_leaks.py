"""Ten thousand calls that go well, fail, run out of time, are cut or find a service killed: no secret shows anywhere.

`REQUESTS` makes them fewer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections import Counter
from typing import Any, Final

from cordboard import sandbox
from cordboard.client import Client, CordboardError
from tests.e2e import conftest, test_secrets
from tests.e2e.leaks import Search
from tests.e2e.test_secrets import (
    CLASSES,
    NAMED,
    Canaries,
    keep_books_of,
    keep_keys_of_the_vault,
    parts_of,
    searched,
)
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import RunningMesh

REQUESTS: Final = int(os.environ.get("REQUESTS", "10000"))
AT_ONCE: Final = 8
TIMEOUT: Final = 1.0
# How the vendor behaves, for a while each: well, slower than callers wait, broken, refusing, cut off in mid-answer.
FAULTS: Final = (
    sandbox.Fault(),
    sandbox.Fault(latency_ms=1500, error_rate=0.2),
    sandbox.Fault(status=500),
    sandbox.Fault(status=401),
    sandbox.Fault(cut_connections=True),
)
TYPED: Final = "canary-input-5b29e3f1"

forger = conftest.forger
played = test_secrets.played


def asked(client: Client, tenant: Tenant, chance: random.Random) -> Any:
    """Returns one call: most are good in themselves, and some are wrong in one way or another."""
    kind = chance.random()
    if kind < 0.1:
        ticket = {"subject": 7, "requester_id": TYPED}
        return client.execute(tenant.connection, "create_ticket", ticket, timeout=TIMEOUT)
    if kind < 0.2:
        return client.execute(tenant.connection, "get_ticket", {"ticket_id": TYPED}, timeout=TIMEOUT)
    if kind < 0.25:
        return client.execute(f"workspaces/{tenant.workspace}/connections/none", "get_me", timeout=TIMEOUT)
    return client.execute(tenant.connection, "get_me", timeout=TIMEOUT)


async def troubled(desk: Desk) -> None:
    """Has the vendor behave in each way for a while, spends its tokens, and kills the Proxy and Auth in turn."""
    for number in itertools.count():
        desk.vendor.faults.put(FAULTS[number % len(FAULTS)])
        desk.vendor.grants.expire_access()
        await asyncio.sleep(6)
        name = ("proxy", "auth")[number % 2]
        if number % 3 == 2 and (pid := desk.mesh.pids()[name]) is not None:
            os.kill(pid, signal.SIGKILL)


async def called(desk: Desk, tenants: list[Tenant]) -> tuple[Counter[str], set[bytes]]:
    """Makes the calls while there is trouble; returns how they ended, and all that callers were told."""
    ends, told, chance, left = Counter[str](), set[bytes](), random.Random(60), iter(range(REQUESTS))

    async def caller(tenant: Tenant) -> None:
        async with desk.mesh.client(tenant.token) as client:
            for _ in left:
                try:
                    await asked(client, tenant, chance)
                except CordboardError as error:
                    ends[f"{error.code.name} {error.reason}"] += 1
                    told.update(parts_of(error))
                else:
                    ends["OK"] += 1

    trouble = asyncio.create_task(troubled(desk))
    await asyncio.gather(*(caller(tenant) for tenant in tenants for _ in range(AT_ONCE)))
    trouble.cancel()
    desk.vendor.faults.clear()
    return ends, told


async def test_ten_thousand_calls_leave_no_secret_anywhere(
    desk: Desk, running_mesh: RunningMesh, played: tuple[Canaries, list[bytes]]
) -> None:
    canaries, _ = played
    tenants = [await desk.tenant(by=by) for by in ("oauth2", "api_key", "basic", "oauth2")]
    for tenant in tenants:
        canaries.add("workspace token", tenant.token.rpartition(".")[2])
    begun = time.monotonic()
    ends, told = await called(desk, tenants)
    seconds = time.monotonic() - begun
    await desk.mesh.backstage.wait(desk.mesh.mesh.wait_ready(60))
    keep_books_of(desk, canaries)
    await keep_keys_of_the_vault(running_mesh, canaries)
    assert canaries.missing() == set()
    search = Search.for_secrets(canaries.found)
    rows = await searched(running_mesh, search)
    search.wanted = {form: name for form, name in search.wanted.items() if name != NAMED}
    for number, each in enumerate(sorted(told)):
        search.look(f"error {number}", each)
    print(
        f"\n{sum(ends.values())} calls in {seconds:.0f} s: {dict(ends.most_common())}; {len(canaries.found)} secrets "
        f"of {len(CLASSES)} classes in {len(search.wanted)} forms, {search.looked_at / 1e6:.0f} MB, {rows} rows and "
        f"{len(told)} different parts of errors: {len(search.hits)} found"
    )
    assert search.hits == []
    assert sum(ends.values()) == REQUESTS
    assert min(ends["OK"], REQUESTS - ends["OK"]) > REQUESTS // 10
    assert {"DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"} <= {end.split()[0] for end in ends}
    # The control: what is in the way of a leak is not a search that sees nothing.
    log = running_mesh.mesh.log_file("proxy")
    with log.open("ab") as file:
        file.write(b'{"event": "planted", "what": "' + canaries.found["workspace token"] + b'"}\n')
    search.look_into_files(log.parent)
    assert any(hit.startswith("workspace token") for hit in search.hits)
