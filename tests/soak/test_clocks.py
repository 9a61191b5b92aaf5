"""A replica whose clock is two hours ahead, two hours behind, and set back while it runs: real processes, libfaketime.

What ends, ends by the database's clock or by one that nobody sets; tokens of callers alone go by the clock of who reads
them, and are refused with a reason. The time of day of one process is wrong here, and its monotonic clock is right.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
import jwt
from google.protobuf.duration_pb2 import Duration

from cordboard import sandbox
from cordboard.auth.v1 import credential_service_pb2 as credentials
from cordboard.auth.v1.token_service_pb2 import IssueTokenRequest
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import job_service_pb2 as jobs
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.proxy.v1 import schedule_service_pb2 as schedules
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceStub
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from cordboard.proxy.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from tests.fixtures.auth import Auth
from tests.fixtures.auth_processes import AuthProcesses, Running
from tests.fixtures.clocks import HOURS, WrongClock
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import ROLES, channel_options, until
from tests.soak.pairs import Pair, two
from tests.unit.proxy.running import read

AHEAD, RIGHT, BEHIND = 2 * HOURS, 0.0, -2 * HOURS
CALLS: Final = int(os.environ.get("CALLS", "200"))
KEYS: Final = int(os.environ.get("KEYS", "100"))
ROUNDS: Final = 10
TIMEOUT: Final = 60.0
NAME: Final = "workspaces/acme/connections/desk-one"
LEASED: Final = (
    "SELECT count(*) FROM auth.audit_entry "
    "WHERE body::json->>'action' = 'auth.credential.lease' AND body::json->>'resource' = $1"
)


class Replica:
    """The second Proxy, called as Envoy calls it."""

    def __init__(self, pair: Pair, desk: Desk, tenant: Tenant) -> None:
        self._pair = pair
        self._desk = desk
        self.tenant = tenant

    def channel(self) -> grpc.aio.Channel:
        directory = self._desk.mesh.mesh.identity_dir("envoy")
        return grpc.aio.secure_channel(self._pair.addresses["proxy"], _tls(directory), options=channel_options("proxy"))

    def given(self, token: str = "") -> dict[str, Any]:
        """Returns what goes with each call: a token of the tenant, and time for a connection on a busy machine."""
        shown = grpc.access_token_call_credentials(token or self.tenant.token)
        return {"credentials": shown, "timeout": TIMEOUT, "wait_for_ready": True}

    async def ended(
        self, channel: grpc.aio.Channel, action: str = "get_me", *, token: str = "", key: str = "", **values: str
    ) -> str:
        """Calls once; returns how it ended."""
        request = proxy.ExecuteRequest(
            connection=self.tenant.connection, action=action, input_json=json.dumps(values), idempotency_key=key
        )
        stub: Any = ProxyServiceStub(channel)
        try:
            await stub.Execute(request, **self.given(token))
        except grpc.aio.AioRpcError as error:
            said = read(error)
            return " ".join(filter(None, (said.code.name, said.reason, said.metadata.get("problem", ""))))
        return "OK"

    async def serves(self, channel: grpc.aio.Channel, token: str = "") -> None:
        """Returns once a call goes well."""
        last = ""

        async def well() -> bool:
            nonlocal last
            last = await self.ended(channel, token=token)
            return last == "OK"

        await until(well, lambda: f"the replica to serve; at last {last}", patience=120.0, every=0.2)


async def leases(desk: Desk, tenant: Tenant) -> int:
    """Returns how often Auth has given the credential of a tenant away."""
    async with desk.mesh.database() as connection:
        return int(await connection.fetchval(LEASED, tenant.connection))


async def told(desk: Desk, replica: Replica, calls: int) -> tuple[Counter[str], int, int]:
    """Calls so often; returns how the calls ended, and how many leases and refreshes that made."""
    before = await leases(desk, replica.tenant), desk.vendor.stats(last=0)["oauth"]["refreshes"]
    async with replica.channel() as channel:
        ends = Counter([await replica.ended(channel) for _ in range(calls)])
    after = await leases(desk, replica.tenant), desk.vendor.stats(last=0)["oauth"]["refreshes"]
    return ends, after[0] - before[0], after[1] - before[1]


async def executed(pair: Pair, desk: Desk, replica: Replica, keys: int) -> tuple[Counter[str], list[int]]:
    """Asks both replicas for the same tickets at once; returns how that ended, and how often each ticket was made."""
    run = uuid4().hex[:8]
    subjects = [f"{run} {number}" for number in range(keys)]
    right = desk.mesh.channel("proxy")
    async with replica.channel() as wrong, right:
        given = {"requester_id": "con_00000001"}
        ends = Counter(
            await asyncio.gather(
                *(
                    replica.ended(
                        channel, "create_ticket", key=f"key-{subject.replace(' ', '-')}", subject=subject, **given
                    )
                    for subject in subjects
                    for channel in (wrong, right)
                )
            )
        )
    made = desk.tickets()
    return ends, [made.get(subject, 0) for subject in subjects]


async def test_a_proxy_whose_clock_is_wrong_does_its_work_and_no_more(desk: Desk, tmp_path: Path) -> None:
    tenant, clock = await desk.tenant(by="oauth2"), WrongClock(tmp_path, AHEAD)
    async with two(desk.mesh, environment=clock.environment) as pair:
        replica = Replica(pair, desk, tenant)
        short = await desk.mesh.token("member", workspace=tenant.workspace, ttl=Duration(seconds=3600))
        async with replica.channel() as channel:
            # Two hours ahead: a token of an hour is over there, and one of four hours is not.
            await replica.serves(channel)
            assert await replica.ended(channel, token=short) == "UNAUTHENTICATED TOKEN_INVALID expired"
            ends, asked, refreshed = await told(desk, replica, CALLS)
            print(f"\nahead, {CALLS} calls: {dict(ends)}, {asked} leases, {refreshed} refreshes", end="")
            assert (ends["OK"] > 0.9 * CALLS, refreshed, asked <= 1) == (True, 0, True)
            await _works(pair, desk, replica, "ahead")
            # Set back by two hours while a call is under way: it takes as long as it takes, and says so.
            with desk.broken(latency_ms=4000, path="/v1/me"):
                slow = asyncio.create_task(replica.ended(channel))
                await asyncio.sleep(1.0)
                clock.set(RIGHT)
                assert await slow == "OK"
            assert await _longest(desk, tenant) < 60
            await replica.serves(channel)
            await replica.serves(channel, short)
            # Two hours behind: what was issued since is not yet good, and what is known goes on.
            clock.set(BEHIND)
            await _refuses(replica, channel, desk)
            await replica.serves(channel)
            await _works_over(channel, desk, replica, "behind")
            clock.set(RIGHT)
            await replica.serves(channel)
            await replica.serves(channel, short)
        ends, asked, refreshed = await told(desk, replica, CALLS)
        print(f"\nright again, {CALLS} calls: {dict(ends)}, {asked} leases, {refreshed} refreshes")
        assert (ends["OK"] > 0.9 * CALLS, refreshed) == (True, 0)
        await _works(pair, desk, replica, "right again")


async def test_a_proxy_that_ends_leases_by_its_own_clock_asks_for_each_call(desk: Desk, tmp_path: Path) -> None:
    """The control: what a lease costs where it ends at a time of day."""
    tenant, clock = await desk.tenant(by="oauth2"), WrongClock(tmp_path, AHEAD)
    module = "tests.soak.leasing_by_its_clock_process"
    async with two(desk.mesh, environment=clock.environment, module=module) as pair:
        replica = Replica(pair, desk, tenant)
        async with replica.channel() as channel:
            await replica.serves(channel)
        ends, asked, refreshed = await told(desk, replica, 20)
    print(f"\nthe control, ahead, 20 calls: {dict(ends)}, {asked} leases, {refreshed} refreshes")
    assert asked >= ends["OK"] > 10


async def _works(pair: Pair, desk: Desk, replica: Replica, when: str) -> None:
    ends, made = await executed(pair, desk, replica, KEYS)
    print(f"\n{when}: {KEYS} keys at two replicas at once: {dict(ends)}, executed {dict(Counter(made))}", end="")
    assert max(made) == 1
    # A busy database has one refused before it is sent, and who comes second while the first is under way.
    assert set(ends) <= {"OK", "ABORTED CALL_IN_PROGRESS", "UNAVAILABLE AUDIT_UNAVAILABLE"}
    assert ends["OK"] > KEYS
    async with replica.channel() as channel:
        await _works_over(channel, desk, replica, when)


async def _works_over(channel: grpc.aio.Channel, desk: Desk, replica: Replica, when: str) -> None:
    """Has jobs and schedules come in time, and breakers open and close."""
    stub: Any = JobServiceStub(channel)
    begun = time.monotonic()
    job = await stub.SubmitJob(
        jobs.SubmitJobRequest(connection=replica.tenant.connection, action="get_me"), **replica.given()
    )

    async def done() -> bool:
        found = await stub.GetJob(jobs.GetJobRequest(name=job.name), **replica.given())
        return bool(found.state == jobs.Job.STATE_SUCCEEDED)

    await until(done, f"a job that was submitted while the clock was {when}", patience=120.0, every=0.1)
    assert abs(job.create_time.ToSeconds() - time.time()) < 120
    kept: Any = ScheduleServiceStub(channel)
    parent, name = f"workspaces/{replica.tenant.workspace}", f"each-minute-{uuid4().hex[:8]}"
    made = await kept.CreateSchedule(
        schedules.CreateScheduleRequest(
            parent=parent,
            schedule_id=name,
            schedule=schedules.Schedule(connection=replica.tenant.connection, action="get_me", cron="* * * * *"),
        ),
        **replica.given(),
    )
    assert 0 <= made.next_time.ToSeconds() - time.time() + 30 <= 120
    await kept.DeleteSchedule(schedules.DeleteScheduleRequest(name=made.name), **replica.given())
    with desk.broken(status=503, path="/v1/me"):

        async def open_() -> bool:
            return "BREAKER_OPEN" in await replica.ended(channel)

        await until(open_, f"a breaker to open while the clock is {when}", patience=120.0, every=0.01)
    await replica.serves(channel)
    print(f"\n{when}: a job, a schedule and a breaker in {time.monotonic() - begun:.0f} s", end="")


async def _refuses(replica: Replica, channel: grpc.aio.Channel, desk: Desk) -> None:
    """Returns once the replica refuses, over a connection that stands, a token that was issued a moment ago."""
    last = ""

    async def refused() -> bool:
        nonlocal last
        fresh = await desk.mesh.token("member", workspace=replica.tenant.workspace)
        last = await replica.ended(channel, token=fresh)
        return last == "UNAUTHENTICATED TOKEN_INVALID malformed"

    await until(refused, lambda: f"a fresh token to be refused; at last {last}", patience=120.0, every=0.2)
    print(f"\nbehind, a token issued since: {last}", end="")


def _tls(directory: Path) -> grpc.ChannelCredentials:
    authority, key, certificate = ((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    return grpc.ssl_channel_credentials(authority, key, certificate)


async def _longest(desk: Desk, tenant: Tenant) -> float:
    """Returns the longest duration in the records of a tenant's calls, in seconds; none may be below nothing."""
    async with desk.mesh.client(tenant.token) as client:
        listed = await client.proxy.ListCalls(
            proxy.ListCallsRequest(parent=f"workspaces/{tenant.workspace}", page_size=1000), timeout=TIMEOUT
        )
    lengths = [one.duration.ToNanoseconds() / 1e9 for one in listed.calls]
    assert min(lengths) >= 0
    assert max(lengths) >= 3.9
    return max(lengths)


# Auth.


async def leased(running: Running, count: int) -> Counter[str]:
    """Leases so often at once; returns how that ended."""

    async def one() -> str:
        try:
            answer = await running.stub.LeaseCredential(
                credentials.LeaseCredentialRequest(connection=NAME), timeout=TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            return read(error).reason or error.code().name
        return f"generation {answer.generation}"

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


def refreshes(vendor: sandbox.Vendor) -> int:
    return int(vendor.stats(last=0)["oauth"]["refreshes"])


async def test_an_auth_whose_clock_is_wrong_refreshes_what_has_ended_and_that_once(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses, identities: Identities, tmp_path: Path
) -> None:
    clock = WrongClock(tmp_path, AHEAD)
    [running] = await auth_processes(1, **clock.environment)
    await auth.connect()
    generation = 1
    for number, ahead in enumerate((AHEAD, RIGHT, BEHIND, AHEAD, BEHIND) * (ROUNDS // 5)):
        clock.set(ahead)
        await asyncio.sleep(1.5)
        before = refreshes(vendor)
        # Good for an hour: nothing to refresh, whatever the time of day is thought to be.
        assert await leased(running, 50) == {f"generation {generation}": 50}
        assert refreshes(vendor) == before
        await auth.age(-1)
        generation += 1
        assert await leased(running, 50) == {f"generation {generation}": 50}
        assert refreshes(vendor) == before + 1
        [row] = await auth.sql("SELECT extract(epoch FROM expire_time - now()) AS left FROM connection")
        assert 3400 < row["left"] <= 3600, f"round {number}, {ahead:.0f} s ahead"
    clock.set(AHEAD)
    await asyncio.sleep(1.5)
    token = await _issued(running, identities)
    said = jwt.decode(token, options={"verify_signature": False})
    assert abs(said["iat"] - time.time()) < 60
    reuses = vendor.stats(last=0)["oauth"]["reuses"]
    print(f"\n{ROUNDS} rounds of a wrong clock, 100 leases each: 1 refresh each, {reuses} refresh tokens used twice")
    assert reuses == 0


async def _issued(running: Running, identities: Identities) -> str:
    tls = _tls(identities.directory("operator"))
    async with grpc.aio.secure_channel(running.address, tls, options=channel_options("auth")) as channel:
        request = IssueTokenRequest(roles=[ROLES["operator"]])
        answer = await TokenServiceStub(channel).IssueToken(request, timeout=TIMEOUT, wait_for_ready=True)
    return str(answer.access_token)


async def test_an_auth_that_goes_by_its_own_clock_refreshes_again_and_again(
    auth: Auth, vendor: sandbox.Vendor, auth_processes: AuthProcesses, tmp_path: Path
) -> None:
    """The control: `now()` of the process in the place of the database's."""
    clock = WrongClock(tmp_path, AHEAD)
    [running] = await auth_processes(1, "tests.soak.ruled_by_its_clock_process", **clock.environment)
    await auth.connect()
    before = refreshes(vendor)
    request = credentials.LeaseCredentialRequest(connection=NAME)
    ends = Counter[str]()
    for _ in range(5):
        try:
            await running.stub.LeaseCredential(request, timeout=2.0)
        except grpc.aio.AioRpcError as error:
            ends[error.code().name] += 1
        else:
            ends["OK"] += 1
    made = refreshes(vendor) - before
    print(f"\nthe control, 5 leases of a token that is good for an hour: {dict(ends)}, {made} refreshes")
    assert made > 5
