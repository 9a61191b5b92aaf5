"""Every credential changes its keys twice under 200 requests a second, the job killed ten times: no request fails.

`RATE`, `SECONDS` and `CREDENTIALS` make it smaller.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from cordboard.auth.envelope import Unreadable
from cordboard.auth.rotation import KEK, WORKSPACE, Rotations
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.structs import to_struct
from tests.fixtures.auth import API_KEY as BY_KEY
from tests.fixtures.auth import Auth, a_definition
from tests.fixtures.auth_processes import AuthProcesses, Running
from tests.fixtures.vault import Strongroom, strongroom_on
from tests.soak.serving_auth_process import left_alone

RATE: Final = int(os.environ.get("RATE", "200"))
SECONDS: Final = float(os.environ.get("SECONDS", "300"))
CREDENTIALS: Final = int(os.environ.get("CREDENTIALS", "50000"))
WORKSPACES: Final = [f"w{number:02}" for number in range(20)]
KILLS: Final = 10
TIMES: Final = 2
# One of so many requests is half a write: each begins a session and fills it in, which seals a credential anew.
WRITES: Final = 20
# A machine that cannot keep up is asked more slowly, and not refused.
MOST_AT_ONCE: Final = 16
STORED: Final = """
    SELECT connection_id, generation, sealed FROM credential WHERE workspace_id = $1"""


@pytest.fixture
def others_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Auth in this process rotates anything by itself."""
    monkeypatch.setattr(Rotations, "run", left_alone)


@pytest.fixture
async def room(others_rotate: None, auth: Auth, kek_dir: Path) -> AsyncIterator[Strongroom]:
    """The vault of the Auth that serves, with credentials of twenty workspaces in it."""
    auth.catalog.definitions["desk"] = a_definition("desk", BY_KEY)
    async with strongroom_on(auth.database, kek_dir) as made:
        for workspace in WORKSPACES:
            await made.fill(workspace, CREDENTIALS // len(WORKSPACES))
        yield made


class Load:
    """Leases and reconnects at a steady rate, and counts how each ended."""

    def __init__(self, auth: Auth, processes: list[Running]) -> None:
        self.ends: Counter[str] = Counter()
        self._auth = auth
        self._processes = processes
        self._chance = random.Random(53)
        self._turns = itertools.count()
        self._writers: dict[str, tuple[float, Any]] = {}

    async def run(self, ended: asyncio.Event) -> float:
        """Goes on until it is told to end; returns for how many seconds."""
        begun, running, free = time.monotonic(), set[asyncio.Task[None]](), asyncio.Semaphore(MOST_AT_ONCE)
        sent = 0
        while not ended.is_set():
            await free.acquire()
            step = (
                self._write() if sent % WRITES == 0 else self._read(self._processes[sent % len(self._processes)].stub)
            )
            running.add(task := asyncio.create_task(step))
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: free.release())
            # A write is two requests.
            sent += 2 if sent % WRITES == 0 else 1
            await asyncio.sleep(max(0.0, begun + sent / RATE - time.monotonic()))
        await asyncio.gather(*running)
        return time.monotonic() - begun

    def _place(self, number: int) -> tuple[str, str]:
        return WORKSPACES[number % len(WORKSPACES)], f"c{number // len(WORKSPACES) + 1:06}"

    async def _read(self, stub: Any) -> None:
        workspace, name = self._place(self._chance.randrange(CREDENTIALS))
        request = pb.LeaseCredentialRequest(connection=f"workspaces/{workspace}/connections/{name}")
        try:
            leased = await stub.LeaseCredential(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            self.ends[f"read {error.code().name}: {error.details()}"] += 1
        else:
            self.ends["read" if leased.api_key == f"{workspace}/{name}" else "read something else"] += 1

    async def _write(self) -> None:
        # One after the other: no two write to one connection at once.
        workspace, name = self._place(next(self._turns) % CREDENTIALS)
        try:
            stub = await self._writer(workspace)
            session = await stub.CreateConnectSession(
                connect_pb.CreateConnectSessionRequest(
                    parent=f"workspaces/{workspace}", integration="integrations/desk", connection_id=name
                ),
                timeout=60,
            )
            given = connect_pb.SubmitConnectSessionRequest(
                name=session.name, values=to_struct({"api_key": f"{workspace}/{name}"})
            )
            await stub.SubmitConnectSession(given, timeout=60)
        except grpc.aio.AioRpcError as error:
            self.ends[f"write {error.code().name}: {error.details()}"] += 1
        else:
            self.ends["write"] += 1

    async def _writer(self, workspace: str) -> Any:
        until, stub = self._writers.get(workspace, (0.0, None))
        if stub is None or time.monotonic() > until:
            token, place = await self._auth.token(workspace), self._processes[len(self._writers) % len(self._processes)]
            stub = ConnectServiceStub(self._auth.served.channel("envoy", token, address=place.address))
            self._writers[workspace] = time.monotonic() + 240, stub
        return stub


async def unreadable(room: Strongroom) -> int:
    """Returns how many credentials a process with nothing in memory cannot open to what was put into them."""
    vault, wrong = room.another(), 0
    for workspace in WORKSPACES:
        rows = await room.sql(STORED, workspace)
        try:
            drawer = await vault.drawer(workspace)
        except DependencyUnavailable:
            wrong += len(rows)
            continue
        for row in rows:
            name = row["connection_id"]
            try:
                opened = drawer.open(f"connections/{name}", "api_key", row["generation"], row["sealed"])
            except Unreadable:
                wrong += 1
            else:
                wrong += opened.reveal() != f"{workspace}/{name}"
    return wrong


async def test_keys_change_twice_under_traffic_and_nobody_notices(
    auth: Auth, room: Strongroom, auth_processes: AuthProcesses
) -> None:
    processes = await auth_processes(2, "tests.soak.serving_auth_process")
    load, ended, killed = Load(auth, processes), asyncio.Event(), 0
    running = asyncio.create_task(load.run(ended))
    begun = time.monotonic()
    try:
        for version in range(2, 2 + TIMES):
            room.add_kek(version)
            await room.rotate_through_kills(KEK, 0, len(WORKSPACES))
            more, _ = await room.rotate_through_kills(WORKSPACE, KILLS // TIMES, CREDENTIALS, batch=200)
            killed += more
        rotated = time.monotonic() - begun
        await asyncio.sleep(max(0.0, begun + SECONDS - time.monotonic()))
    finally:
        ended.set()
        seconds = await running
    for version in range(1, 1 + TIMES):
        (room.folder / f"{version}.key").unlink()
    await room.vault.provider.refresh()
    wrong, report = await unreadable(room), await room.rotations.report()
    stale = sum(each.count for each in report if not each.current)
    requests = load.ends.total() + sum(count for end, count in load.ends.items() if end.startswith("write"))
    print(
        f"\n{CREDENTIALS} credentials changed their keys {TIMES} times in {rotated:.0f} s, the job killed {killed} "
        f"times; {requests} requests in {seconds:.0f} s, {requests / seconds:.0f} a second: {dict(load.ends)}; without "
        f"the old key-encryption keys {wrong} unreadable, {stale} under an old key; load {os.getloadavg()[0]:.1f}"
    )
    assert set(load.ends) == {"read", "write"}
    assert (killed, wrong, stale) == (KILLS, 0, 0)
    assert {each.key_id for each in report if each.level == KEK} == {f"file/{1 + TIMES}"}
    # What was asked was asked all the time, and somebody who starts now reads as well.
    assert requests > RATE * seconds / 10
    async with auth.replica() as fresh:
        assert (await auth.lease("c000001", WORKSPACES[0], at=fresh)).api_key == f"{WORKSPACES[0]}/c000001"


async def test_an_old_key_that_goes_too_early_takes_credentials_along(room: Strongroom) -> None:
    # The control.
    assert await unreadable(room) == 0
    room.add_kek(2)
    (room.folder / "1.key").unlink()
    assert await unreadable(room) == CREDENTIALS // len(WORKSPACES) * len(WORKSPACES)
