"""The same ids in several workspaces, read again and again out of what is remembered: nobody gets what is another's.

In short, with what Auth and the Proxy remember; the whole mesh is hammered in tests/soak.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import pytest

from cordboard import sandbox
from cordboard.auth.connections import Connection as Shown
from cordboard.auth.connections import Connections as Showing
from cordboard.auth.v1 import connection_service_pb2 as pb
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.core.channel import Channels
from cordboard.core.identity import Identity
from cordboard.local.certificates import Identities
from cordboard.proxy.connections import Connections, Lease
from tests.fixtures.auth import Auth

WORKSPACES: Final = ("acme", "bolt", "crate")
READS: Final = 1500
AT_ONCE: Final = 16
Read = Callable[[], Awaitable[object]]
"""Reads something, and returns whose it is."""
Readers = dict[tuple[str, str], Read]
"""What reads, by what it reads and for whom."""


async def hammer(readers: Readers, reads: int, seed: int = 7) -> tuple[Counter[str], list[str]]:
    """Reads at random, many at a time; returns how often what was read, and what somebody got that was not theirs."""
    rolls = random.Random(seed)
    done: Counter[str] = Counter()
    mixed: list[str] = []
    known = list(readers)
    asked: Iterator[tuple[str, str]] = (rolls.choice(known) for _ in range(reads))

    async def work() -> None:
        for what, workspace in asked:
            found = await readers[what, workspace]()
            done[what] += 1
            if found != workspace:
                mixed.append(f"{workspace} read the {what} of {found}")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return done, mixed


@pytest.fixture
async def readers(auth: Auth, vendor: sandbox.Vendor, identities: Identities) -> AsyncIterator[Readers]:
    """What reads a connection and its credential, out of the memory of Auth and of the Proxy."""
    channels = Channels(Identity(identities.directory("proxy")), {"auth": auth.served.address})
    held, made = Connections(channels), Readers()
    for workspace in WORKSPACES:
        if workspace != "acme":
            await auth.workspace(workspace)
        values = {"username": workspace, "password": "the same"}
        await auth.type_in(values, workspace, auth_scheme="basic", connection_id="same", display_name=workspace)
        stub = await auth.as_member(ConnectionServiceStub, workspace)
        made["connection", workspace] = _shown(stub, workspace)
        made["credential", workspace] = _leased(held, workspace)
    yield made
    await channels.close()


def _shown(stub: Any, workspace: str) -> Read:
    async def read() -> object:
        name = f"workspaces/{workspace}/connections/same"
        return (await stub.GetConnection(pb.GetConnectionRequest(name=name))).display_name

    return read


def _leased(held: Connections, workspace: str) -> Read:
    async def read() -> object:
        lease = await held.lease(f"workspaces/{workspace}/connections/same", 20)
        return lease.credential.login()[0]

    return read


async def test_nobody_gets_what_is_remembered_for_another(readers: Readers) -> None:
    done, mixed = await hammer(readers, READS)
    assert mixed == []
    assert sum(done.values()) == READS
    assert min(done["connection"], done["credential"]) > READS // 4


async def test_what_is_remembered_without_its_workspace_is_noticed(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: what either remembers, found again by its id alone.
    shown: dict[str, Shown] = {}
    leased: dict[str, Lease] = {}
    read, lease = Showing.connection, Connections.lease

    async def shown_by_id(self: Any, workspace: str, connection_id: str) -> Shown:
        if connection_id not in shown:
            shown[connection_id] = await read(self, workspace, connection_id)
        return shown[connection_id]

    async def leased_by_id(self: Any, connection: str, timeout: float) -> Lease:
        name = connection.rpartition("/")[2]
        if name not in leased:
            leased[name] = await lease(self, connection, timeout)
        return leased[name]

    monkeypatch.setattr(Showing, "connection", shown_by_id)
    monkeypatch.setattr(Connections, "lease", leased_by_id)
    done, mixed = await hammer(readers, READS // 10)
    assert sum(done.values()) == READS // 10
    assert {each.partition(" read the ")[2].partition(" of ")[0] for each in mixed} == {"connection", "credential"}
