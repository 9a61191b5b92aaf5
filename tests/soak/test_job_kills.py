"""kill -9 of two Proxies at random moments while jobs are submitted and run: none is lost, and none is done twice.

KILLS in the environment says how often; 200 is what the project promises.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import job_service_pb2 as pb
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceStub
from cordboard.sandbox import Fault, Vendor
from cordboard.sandbox import serving as vendor_serving
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import TokenMint
from tests.unit.proxy.neighbours import neighbours
from tests.unit.proxy.running import CONNECTION, ON
from tests.unit.proxy.samples import SLUG, acme_desk

KILLS = int(os.environ.get("KILLS", "200"))
ATTEMPT_SECONDS = 5
PROCESSES = 2
# What somebody sees who calls a process that is being killed, or begins.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@dataclass
class Proxy:
    """One process of the Proxy, and its successors."""

    settings: dict[str, Any]
    identities: Identities
    mint: TokenMint
    process: asyncio.subprocess.Process | None = None
    stub: Any = None
    # Calls may still be on their way in those of a process that is gone: they are closed at the end.
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    async def end(self) -> None:
        await self.kill()
        for channel in self.channels:
            await channel.close()

    async def begin(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.proxy_process", json.dumps(self.settings),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        port = int(await asyncio.wait_for(self.process.stdout.readline(), 60))
        directory = self.identities.directory("envoy")
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(
                (directory / "ca.crt").read_bytes(),
                (directory / "tls.key").read_bytes(),
                (directory / "tls.crt").read_bytes(),
            ),
            grpc.access_token_call_credentials(self.mint.token("member", workspace="acme")),
        )
        options = [("grpc.ssl_target_name_override", "proxy.cordboard.internal")]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
        self.channels.append(channel)
        self.stub = JobServiceStub(channel)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


def tickets(vendor: Vendor) -> Counter[str]:
    """Returns how often each subject was created."""
    return Counter(ticket.subject for ticket in vendor.desk.tickets(after=""))


async def test_kills_lose_no_job_and_do_none_twice(  # noqa: PLR0915 - one story, told in order
    database: Databases, identities: Identities, mint: TokenMint
) -> None:
    chance = random.Random(7)
    async with vendor_serving() as vendor, neighbours(identities) as around:
        await around.publish(acme_desk(vendor.url))
        await around.catch_up()
        await around.set_flags(**ON)
        await around.connect(CONNECTION, integration=SLUG, api_key=vendor.settings.api_key)
        vendor.faults.put(Fault(latency_ms=100))
        settings = {
            "listen_address": "127.0.0.1:0",
            "identity_dir": str(identities.directory("proxy")),
            "database_url": database("proxy").url,
            "egress_allowed_networks": ["127.0.0.0/8"],
            "job_lease_seconds": 2.0,
            "job_first_wait_seconds": 0.1,
            "grace_seconds": 1.0,
            "jwks": await mint.jwks(),
            **around.addresses,
        }
        proxies = [Proxy(settings, identities, mint) for _ in range(PROCESSES)]
        await asyncio.gather(*(proxy.begin() for proxy in proxies))
        acknowledged: dict[str, str] = {}
        killing = True

        async def submit(lane: int) -> None:
            number = 0
            while killing:
                number += 1
                subject = f"lane {lane} number {number}"
                request = pb.SubmitJobRequest(
                    connection=CONNECTION,
                    action="create_ticket",
                    input_json=json.dumps({"subject": subject, "requester_id": "con_00000001"}),
                    idempotency_key=subject.replace(" ", "-"),
                    ordering_key=f"lane {lane}" if lane % 2 else "",
                )
                request.attempt_timeout.seconds = ATTEMPT_SECONDS
                while subject not in acknowledged:
                    try:
                        job = await chance.choice(proxies).stub.SubmitJob(request, timeout=5)
                        acknowledged[subject] = job.name
                    except grpc.aio.AioRpcError as error:
                        assert error.code() in PASSING, error.details()
                        await asyncio.sleep(0.05)
                await asyncio.sleep(0.05)

        lanes = [asyncio.create_task(submit(lane)) for lane in range(4)]
        try:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.1, 1.5))
                proxy = chance.choice(proxies)
                await proxy.kill()
                await proxy.begin()
            killing = False
            await asyncio.wait_for(asyncio.gather(*lanes), 60)
            states: dict[str, pb.Job] = {}
            async with asyncio.timeout(120 + len(acknowledged)):
                for subject, name in acknowledged.items():
                    job = None
                    while job is None or not job.HasField("end_time"):
                        job = await proxies[0].stub.GetJob(pb.GetJobRequest(name=name), timeout=10)
                        await asyncio.sleep(0 if job.HasField("end_time") else 0.1)
                    states[subject] = job
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            await asyncio.gather(*(proxy.end() for proxy in proxies))
        done = tickets(vendor)
        ends = Counter(pb.Job.State.Name(job.state) for job in states.values())
        doubts = [subject for subject, job in states.items() if job.error_reason == "INDETERMINATE"]
        print(f"{KILLS} kills, {len(acknowledged)} jobs: {dict(ends)}, {len(doubts)} in doubt")
        assert len(states) == len(acknowledged) > KILLS
        twice = {subject: count for subject, count in done.items() if subject.startswith("lane") and count > 1}
        assert twice == {}
        for subject, job in states.items():
            if job.state == pb.Job.STATE_SUCCEEDED:
                assert done[subject] == 1, subject
            else:
                # Nobody can know, and that is what it says: never anything else.
                assert (job.state, job.error_reason) == (pb.Job.STATE_DEAD, "INDETERMINATE"), subject
        assert ends["STATE_SUCCEEDED"] > len(states) / 2
