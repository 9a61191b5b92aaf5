"""Calls under idempotency keys at two Proxies that are killed, at a vendor that fails before and after it did the work.

Each key is asked for until it is done, or nobody can know: by one caller after the other, by two at once, and again
when it is done. The vendor counts what it does. KEYS in the environment says how many there are; 10,000 is what the
project promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from aiohttp import web

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import TokenMint
from tests.fixtures.sites import listening
from tests.soak.killed import CARELESS, MODULES, KilledProxy, a_nursery
from tests.unit.proxy.neighbours import neighbours
from tests.unit.proxy.running import CONNECTION, ON, execute, read
from tests.unit.proxy.samples import SLUG, a_body, a_definition, an_action

KEYS: Final = int(os.environ.get("KEYS", "10000"))
CONTROL_KEYS: Final = 400
LANES: Final = 16
KILL_SECONDS: Final = (1.0, 4.0)
# What ends a key, beside an answer.
DOUBT: Final = "INDETERMINATE"
LIMITS: Final[dict[str, Any]] = {
    "workspace_rate": 100_000, "caller_rate": 100_000, "breaker_min_calls": 10_000, "workspace_calls": 500,
    "integration_calls": 500,
}  # fmt: skip


@dataclass
class Vendor:
    """Does what it is asked, counts it, and answers badly now and then."""

    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    manners: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        what = (await request.json())["a"]
        manner = self.chance.choices(
            ("well", "late", "fails before", "fails after", "cut before", "cut after"), (70, 10, 5, 5, 5, 5)
        )[0]
        self.manners[manner] += 1
        assert request.transport is not None
        if manner == "fails before":
            return web.Response(status=503)
        if manner == "cut before":
            request.transport.abort()
            return web.Response()
        self.done[what] += 1
        if manner == "cut after":
            request.transport.abort()
        elif manner == "fails after":
            return web.Response(status=500)
        elif manner == "late":
            await asyncio.sleep(0.3)
        return web.json_response({"did": what, "times": self.done[what], "nonce": self.chance.random()})


@dataclass
class Story:
    """What became of the keys."""

    vendor: Vendor
    ends: dict[str, str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    unlike: list[str] = field(default_factory=list)
    """Keys that gave two answers."""
    kills: int = 0
    seconds: float = 0.0

    @property
    def twice(self) -> dict[str, int]:
        return {what: count for what, count in self.vendor.done.items() if count > 1}


@contextlib.asynccontextmanager
async def two_proxies(
    database: Databases, identities: Identities, mint: TokenMint, module: str, vendor: Vendor
) -> AsyncIterator[list[KilledProxy]]:
    application = web.Application()
    application.router.add_post("/x", vendor.answer)
    async with listening(application) as url, neighbours(identities) as around, a_nursery() as nursery:
        post = an_action("post", "POST", "/x", body=a_body(catalog_pb.BODY_ENCODING_JSON, "a"))
        await around.publish(a_definition(post, url=url))
        await around.catch_up()
        await around.set_flags(**ON)
        await around.connect(CONNECTION, integration=SLUG, api_key="a key")
        settings = {
            "listen_address": "127.0.0.1:0",
            "identity_dir": str(identities.directory("proxy")),
            "database_url": database("proxy").url,
            "egress_allowed_networks": ["127.0.0.0/8"],
            "grace_seconds": 1.0,
            "jwks": await mint.jwks(),
            **LIMITS,
            **around.addresses,
        }
        proxies = [KilledProxy(nursery, settings, identities, mint, module) for _ in range(2)]
        try:
            await asyncio.gather(*(proxy.begin() for proxy in proxies))
            yield proxies
        finally:
            await asyncio.gather(*(proxy.end() for proxy in proxies))


async def told(  # noqa: PLR0915 - one story, told in order
    database: Databases, identities: Identities, mint: TokenMint, *, module: str, keys: int
) -> Story:
    chance = random.Random(11)
    story = Story(Vendor(random.Random(12)))
    async with two_proxies(database, identities, mint, module, story.vendor) as proxies:

        async def once(key: str) -> str:
            """Asks one of them once; returns the answer, or why there is none."""
            stub: Any = ProxyServiceStub(chance.choice(proxies).channel)
            request = execute("post", {"a": key}, idempotency_key=key, output_format=pb.OUTPUT_FORMAT_JSON)
            try:
                found = await stub.Execute(request, timeout=5)
            except grpc.aio.AioRpcError as error:
                reason = read(error).reason or error.code().name
                story.reasons[reason] += 1
                return reason
            story.reasons["OK"] += 1
            return str(found.output_json)

        async def settled(key: str) -> str:
            while True:
                found = await once(key)
                if found == DOUBT or found.startswith("{"):
                    return found
                await asyncio.sleep(0.05 + 0.2 * chance.random())

        async def lane(number: int) -> None:
            for count in range(number, keys, LANES):
                key = f"key-{count}"
                # Some are asked by two at once, and some again when they are done.
                ends = await asyncio.gather(*(settled(key) for _ in range(2 if count % 10 == 0 else 1)))
                if count % 7 == 0:
                    ends.append(await settled(key))
                story.ends[key] = ends[0]
                if len({json.dumps(json.loads(one)) for one in ends if one != DOUBT}) > 1 or (
                    DOUBT in ends and len(set(ends)) > 1
                ):
                    story.unlike.append(key)

        async def kill() -> None:
            while True:
                await asyncio.sleep(chance.uniform(*KILL_SECONDS))
                proxy = chance.choice(proxies)
                await proxy.kill()
                story.kills += 1
                await proxy.begin()

        begun = time.monotonic()
        killer = asyncio.create_task(kill())
        try:
            await asyncio.gather(*(lane(number) for number in range(LANES)))
        finally:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
        story.seconds = time.monotonic() - begun
    return story


def say(what: str, story: Story) -> None:
    doubts = sum(1 for end in story.ends.values() if end == DOUBT)
    print(
        f"\n{what}: {len(story.ends)} keys, {story.reasons.total()} calls, {story.kills} kills in "
        f"{story.seconds:.0f} s: {len(story.twice)} done twice, {len(story.ends) - doubts} done, {doubts} said to be "
        f"in doubt, {len(story.unlike)} that gave two answers; load {os.getloadavg()[0]:.1f}"
    )
    print(f"the vendor: {dict(story.vendor.manners)}; calls: {dict(story.reasons)}", flush=True)


async def test_no_key_is_executed_twice(database: Databases, identities: Identities, mint: TokenMint) -> None:
    story = await told(database, identities, mint, module=MODULES[0], keys=KEYS)
    say("two Proxies", story)
    assert len(story.ends) == KEYS
    assert story.twice == {}
    assert story.unlike == []
    assert story.kills > 0
    for key, end in story.ends.items():
        if end != DOUBT:
            assert (json.loads(end)["did"], story.vendor.done[key]) == (key, 1)
    assert sum(1 for end in story.ends.values() if end != DOUBT) > KEYS / 2


async def test_a_ledger_that_looks_before_it_writes_is_noticed(
    database: Databases, identities: Identities, mint: TokenMint
) -> None:
    """The control."""
    story = await told(database, identities, mint, module=CARELESS, keys=min(KEYS, CONTROL_KEYS))
    say("the control", story)
    assert story.twice
