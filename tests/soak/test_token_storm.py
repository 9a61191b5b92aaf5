"""Four processes of Auth and one expired token: one refresh, however many ask, and no write that comes late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from statistics import median
from typing import Final

import grpc

from cordboard import sandbox
from cordboard.auth.v1 import credential_service_pb2 as pb
from tests.contract.test_auth_stopped import LATE, names_of, stale_writes
from tests.fixtures.auth import Auth
from tests.fixtures.auth_processes import AuthProcesses, Running

PROCESSES: Final = 4
CALLS: Final = 1000
REPEATS: Final = 50
# That of a call through Envoy; no call is made twice.
DEADLINE: Final = 30.0
ROUNDS: Final = 10
AT_ONCE: Final = 10
NAME: Final = "workspaces/acme/connections/desk-one"


async def asked(running: Running, request: pb.LeaseCredentialRequest) -> int | str:
    """Leases once; returns the generation, or the name of the code that came in its place."""
    try:
        answer = await running.stub.LeaseCredential(request, timeout=DEADLINE)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return int(answer.generation)


async def test_a_thousand_calls_on_an_expired_token_refresh_it_once(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses
) -> None:
    processes = await auth_processes(PROCESSES)
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
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses
) -> None:
    running, *_ = await auth_processes(PROCESSES)
    names = await names_of(auth, AT_ONCE)
    rounds = [await stale_writes(auth, vendor, running, names) for _ in range(ROUNDS)]
    stale, tried = (sum(each) for each in zip(*rounds, strict=True))
    # One whose time was up before it could read the answer would have said so, and tried no write.
    [late] = await auth.sql(LATE)
    print(f"\nstopped while it refreshed: {stale} stale writes of {tried} ({late['count']} timed out)")
    assert (stale, tried, late["count"]) == (0, ROUNDS * AT_ONCE, 0)


async def test_without_comparing_generations_it_writes_over_what_is_newer(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses
) -> None:
    [running] = await auth_processes(1, "tests.fixtures.unfenced_process")
    stale, _ = await stale_writes(auth, vendor, running, await names_of(auth, AT_ONCE))
    print(f"\nthe control, without the comparison: {stale} stale writes of {AT_ONCE}")
    assert stale > 0
