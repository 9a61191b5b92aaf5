"""Four processes of Auth and one expired token: one refresh, however many ask, and no write that comes late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
import pytest

from cordboard import sandbox
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.local.certificates import Identities
from cordboard.local.ports import Ports
from tests.fixtures.auth import PUBLIC_URL, Auth, until

PROCESSES: Final = 4
CALLS: Final = 1000
REPEATS: Final = 50
# That of a call through Envoy; no call is made twice.
DEADLINE: Final = 30.0
ROUNDS: Final = 10
AT_ONCE: Final = 10
NAME: Final = "workspaces/acme/connections/desk-one"


@dataclass(frozen=True)
class Running:
    """One process of Auth, and how the Proxy calls it."""

    process: subprocess.Popen[bytes]
    stub: Any


@pytest.fixture
async def processes(
    auth: Auth, identities: Identities, catalog: tuple[Any, str], kek_dir: Path, tmp_path: Path
) -> AsyncIterator[list[Running]]:
    """Processes of Auth on the database of the one under test."""
    proxy = identities.directory("proxy")
    credentials = grpc.ssl_channel_credentials(
        (proxy / "ca.crt").read_bytes(), (proxy / "tls.key").read_bytes(), (proxy / "tls.crt").read_bytes()
    )
    options = [("grpc.ssl_target_name_override", "auth.cordboard.internal"), ("grpc.use_local_subchannel_pool", 1)]
    ports, found = Ports(), []
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(ports.release)
        log = stack.enter_context((tmp_path / "log").open("wb"))
        for _ in range(PROCESSES):
            address = f"127.0.0.1:{ports.claim()}"
            told = {
                "LISTEN_ADDRESS": address,
                "IDENTITY_DIR": str(identities.directory("auth")),
                "DATABASE_URL": auth.database.url,
                "KEK": f"file:{kek_dir}",
                "PUBLIC_URL": PUBLIC_URL,
                "CATALOG_ADDRESS": catalog[1],
                "EGRESS_ALLOWED_NETWORKS": json.dumps(["127.0.0.0/8"]),
                "LOG_LEVEL": "warning",
            }
            environment = {name: value for name, value in os.environ.items() if not name.startswith("CORDBOARD_")}
            process = _start(environment | {f"CORDBOARD_{name}": value for name, value in told.items()}, log)
            stack.callback(_end, process)
            channel = await stack.enter_async_context(grpc.aio.secure_channel(address, credentials, options=options))
            found.append(Running(process, CredentialServiceStub(channel)))
        async with asyncio.timeout(60):
            await asyncio.gather(*(_ready(each) for each in found))
        yield found


def _start(environment: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "cordboard.auth"], env=environment, stdout=log, stderr=log)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


async def _ready(running: Running) -> None:
    request = pb.LeaseCredentialRequest(connection="workspaces/acme/connections/none")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.LeaseCredential(request, wait_for_ready=True, timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def asked(running: Running, request: pb.LeaseCredentialRequest) -> int | str:
    """Leases once; returns the generation, or the name of the code that came in its place."""
    try:
        answer = await running.stub.LeaseCredential(request, timeout=DEADLINE)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return int(answer.generation)


async def test_a_thousand_calls_on_an_expired_token_refresh_it_once(
    auth: Auth, vendor: sandbox.Vendor, processes: list[Running]
) -> None:
    await auth.connect()
    request = pb.LeaseCredentialRequest(connection=NAME)
    exact, refused, seconds = 0, Counter[str](), []
    for repeat in range(REPEATS):
        await auth.age(-1)
        before = vendor.stats(last=0)["oauth"]["refreshes"]
        begun = time.monotonic()
        answers = await asyncio.gather(*(asked(processes[index % PROCESSES], request) for index in range(CALLS)))
        seconds.append(time.monotonic() - begun)
        refreshes = vendor.stats(last=0)["oauth"]["refreshes"] - before
        refused.update(each for each in answers if isinstance(each, str))
        exact += refreshes == 1 and set(answers) == {repeat + 2}
    reuses = vendor.stats(last=0)["oauth"]["reuses"]
    print(
        f"\n{CALLS} calls on one expired token over {PROCESSES} processes: exactly 1 refresh and all served "
        f"{exact} times of {REPEATS}, {dict(refused)} refused, {reuses} refresh tokens used twice; "
        f"median storm {median(seconds):.1f} s, slowest {max(seconds):.1f} s"
    )
    assert (exact, dict(refused), reuses) == (REPEATS, {}, 0)


async def test_a_process_that_was_stopped_while_it_refreshed_writes_nothing_over_what_is_newer(
    auth: Auth, vendor: sandbox.Vendor, processes: list[Running]
) -> None:
    stopped, stale, tried = processes[0], 0, 0
    names = [f"desk-{index}" for index in range(AT_ONCE)]
    for name in names:
        await auth.connect(connection_id=name)
    for _ in range(ROUNDS):
        for name in names:
            await auth.age(-1, name)
        # The vendor has done its work, and answers while the process stands still.
        vendor.faults.put(sandbox.Fault(latency_ms=1500, path="/oauth/token", after_work=True, times=AT_ONCE))
        before = vendor.stats(last=0)["oauth"]["refreshes"]
        requests = [pb.LeaseCredentialRequest(connection=f"workspaces/acme/connections/{name}") for name in names]
        slow = [asyncio.ensure_future(stopped.stub.LeaseCredential(each, timeout=30)) for each in requests]

        async def under_way(known: int = before) -> bool:
            return bool(vendor.stats(last=0)["oauth"]["refreshes"] == known + AT_ONCE)

        await until(under_way)
        stopped.process.send_signal(signal.SIGSTOP)
        vendor.faults.clear()
        try:
            await asyncio.gather(*(auth.connect(connection_id=name) for name in names))
            newer = await auth.sql("SELECT connection_id, generation, field, sealed FROM credential ORDER BY 1, 2, 3")
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        ended = await asyncio.gather(*slow, return_exceptions=True)
        after = await auth.sql("SELECT connection_id, generation, field, sealed FROM credential ORDER BY 1, 2, 3")
        stale += len({row["connection_id"] for row in {*after} - {*newer}})
        tried += sum(not isinstance(each, BaseException) for each in ended)
    # One whose time was up before it could read the answer would have said so, and tried no write.
    [late] = await auth.sql(
        "SELECT count(*) FROM audit_entry WHERE body::json->>'action' = 'auth.credential.refresh' "
        "AND body::json->>'outcome' = 'UNKNOWN'"
    )
    print(f"\nstopped while it refreshed: {stale} stale writes of {tried} ({late['count']} timed out)")
    assert (stale, tried, late["count"]) == (0, ROUNDS * AT_ONCE, 0)
