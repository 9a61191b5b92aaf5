"""kill -9 of two Proxies at random moments while jobs are submitted and run: none is lost, and none is done twice.

Some jobs are wrong and become dead letters, which somebody edits and replays while Proxies are killed.

KILLS in the environment says how often; 200 is what the project promises.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from typing import Any, Final

import grpc

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import dead_letter_service_pb2 as letters_pb
from cordboard.proxy.v1 import job_service_pb2 as pb
from cordboard.proxy.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from cordboard.proxy.v1.job_service_pb2_grpc import JobServiceStub
from cordboard.sandbox import Fault, Vendor
from cordboard.sandbox import serving as vendor_serving
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import TokenMint
from tests.soak.killed import KilledProxy, a_nursery
from tests.unit.proxy.neighbours import neighbours
from tests.unit.proxy.running import CONNECTION, ON
from tests.unit.proxy.samples import SLUG, acme_desk

KILLS = int(os.environ.get("KILLS", "200"))
ATTEMPT_SECONDS = 5
PROCESSES = 2
PARENT: Final = "workspaces/acme"
# Every so many jobs are for nobody the vendor knows.
WRONG_EVERY: Final = 7
# What somebody sees who calls a process that is being killed, or begins.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


# What is not there, or not in that state, any more.
REPLAYED: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED)


def given(subject: str, *, wrong: bool = False) -> str:
    """Returns the input of a job; a wrong one is refused by the vendor."""
    return json.dumps({"subject": subject, "requester_id": "con_99999999" if wrong else "con_00000001"})


async def mended(stub: Any, name: str) -> None:
    """Corrects a dead letter and has it tried again."""
    letter = await stub.GetDeadLetter(letters_pb.GetDeadLetterRequest(name=name), timeout=5)
    right = given(json.loads(letter.input_json)["subject"])
    await stub.EditDeadLetter(letters_pb.EditDeadLetterRequest(name=name, input_json=right), timeout=5)
    await stub.ReplayDeadLetters(letters_pb.ReplayDeadLettersRequest(parent=PARENT, name=name), timeout=5)


def tickets(vendor: Vendor) -> Counter[str]:
    """Returns how often each subject was created."""
    return Counter(ticket.subject for ticket in vendor.desk.tickets(after=""))


async def test_kills_lose_no_job_and_do_none_twice(  # noqa: C901, PLR0915 - one story, told in order
    database: Databases, identities: Identities, mint: TokenMint
) -> None:
    chance = random.Random(7)
    async with vendor_serving() as vendor, neighbours(identities) as around, a_nursery() as nursery:
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
        proxies = [KilledProxy(nursery, settings, identities, mint) for _ in range(PROCESSES)]
        await asyncio.gather(*(proxy.begin() for proxy in proxies))
        acknowledged: dict[str, str] = {}
        killing = True

        async def asked(call: Any) -> Any:
            """Makes a call until a process answers it."""
            while True:
                try:
                    return await call(chance.choice(proxies).channel)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in PASSING:
                        raise
                    await asyncio.sleep(0.05)

        async def submit(lane: int) -> None:
            number = 0
            while killing:
                number += 1
                subject = f"lane {lane} number {number}"
                request = pb.SubmitJobRequest(
                    connection=CONNECTION,
                    action="create_ticket",
                    input_json=given(subject, wrong=number % WRONG_EVERY == 0),
                    idempotency_key=subject.replace(" ", "-"),
                    ordering_key=f"lane {lane}" if lane % 2 else "",
                )
                request.attempt_timeout.seconds = ATTEMPT_SECONDS
                job = await asked(lambda channel, made=request: JobServiceStub(channel).SubmitJob(made, timeout=5))
                acknowledged[subject] = job.name
                await asyncio.sleep(0.05)

        async def mend() -> None:
            """Edits and replays what became a dead letter, for ever."""
            while True:
                some = letters_pb.ListDeadLettersRequest(
                    parent=PARENT, filter=letters_pb.DeadLetterFilter(error_reason="VENDOR_ERROR")
                )
                listed = await asked(lambda channel, on=some: DeadLetterServiceStub(channel).ListDeadLetters(on))
                for letter in listed.dead_letters:
                    try:
                        await asked(lambda channel, one=letter.name: mended(DeadLetterServiceStub(channel), one))
                        replayed.add(letter.name.rpartition("/")[2])
                    except grpc.aio.AioRpcError as error:
                        # An answer that was cut off: it was replayed before.
                        assert error.code() in REPLAYED, error.details()
                await asyncio.sleep(0.2)

        replayed: set[str] = set()
        lanes = [asyncio.create_task(submit(lane)) for lane in range(4)]
        mender = asyncio.create_task(mend())
        begun = time.monotonic()
        try:
            for count in range(KILLS):
                if count % 10 == 0:
                    print(f"{count} kills, {len(acknowledged)} jobs, {time.monotonic() - begun:.0f} s", flush=True)
                await asyncio.sleep(chance.uniform(0.1, 1.5))
                proxy = chance.choice(proxies)
                await proxy.kill()
                await proxy.begin()
            took = time.monotonic() - begun
            killing = False
            await asyncio.wait_for(asyncio.gather(*lanes), 300)
            states: dict[str, pb.Job] = {}
            async with asyncio.timeout(300 + 2 * len(acknowledged)):
                for subject, name in acknowledged.items():
                    while subject not in states:
                        get = pb.GetJobRequest(name=name)
                        job = await asked(lambda channel, one=get: JobServiceStub(channel).GetJob(one, timeout=10))
                        if job.HasField("end_time") and job.error_reason != "VENDOR_ERROR":
                            states[subject] = job
                        else:
                            assert not mender.done(), mender.exception()
                            await asyncio.sleep(0.1)
        finally:
            for task in (*lanes, mender):
                task.cancel()
            await asyncio.gather(*lanes, mender, return_exceptions=True)
            await asyncio.gather(*(proxy.end() for proxy in proxies))
        done = tickets(vendor)
        ends = Counter(pb.Job.State.Name(job.state) for job in states.values())
        doubts = [subject for subject, job in states.items() if job.error_reason == "INDETERMINATE"]
        print(
            f"{KILLS} kills in {took:.0f} s, {len(acknowledged)} jobs: {dict(ends)}, {len(doubts)} in doubt; "
            f"{len(replayed)} dead letters edited and replayed; load {os.getloadavg()[0]:.1f}"
        )
        assert len(states) == len(acknowledged) > KILLS
        assert replayed
        twice = {subject: count for subject, count in done.items() if subject.startswith("lane") and count > 1}
        assert twice == {}
        for subject, job in states.items():
            if job.state == pb.Job.STATE_SUCCEEDED:
                assert done[subject] == 1, subject
            else:
                # Nobody can know, and that is what it says: never anything else.
                assert (job.state, job.error_reason) == (pb.Job.STATE_DEAD, "INDETERMINATE"), subject
        assert ends["STATE_SUCCEEDED"] > len(states) / 2
