"""A limit of 100 calls a second, of which 1,000 are offered: what comes through one and two Envoys, and two Proxies.

Each Envoy counts for itself, so two let twice as much through. The Proxies count together, in PostgreSQL. SECONDS
in the environment says how long each load lasts; OFFERED how many calls a second are asked for at most: a busy machine
does fewer, and the output says how many. LIMIT makes the limit another one, for a machine that cannot do 100.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
import pytest

from cordboard.local import envoy, probes
from cordboard.local.certificates import SERVICES
from cordboard.local.envoy import RateLimit
from cordboard.local.ports import Ports
from cordboard.proxy.quotas import pace
from cordboard.proxy.quotas.pace import SharedPace
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import until
from tests.fixtures.paces import Taken, offered, paces
from tests.fixtures.postgres import Databases

SECONDS: Final = float(os.environ.get("SECONDS", "15"))
OFFERED: Final = float(os.environ.get("OFFERED", "1000"))
LIMIT: Final = int(os.environ.get("LIMIT", "100"))
# What is answered quickly, once Envoy has counted the call: where it knows no way there is no limit.
NOTHING: Final = "/v1/integrations/none"
# A database that takes longer is too busy for what is measured: less comes through then, and never more.
QUICK_SECONDS: Final = 0.02


@asynccontextmanager
async def envoys(desk: Desk, count: int) -> AsyncIterator[list[str]]:
    """Runs so many Envoys before the mesh, each with the limit; gives their URLs."""
    mesh, ports = desk.mesh.mesh, Ports()
    async with AsyncExitStack() as stack:
        stack.callback(ports.release)
        urls = []
        for _ in range(count):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="cb-", dir="/tmp")))
            public = ports.claim()
            layout = envoy.EnvoyLayout(
                public_port=public,
                services={name: int(mesh.address(name).rpartition(":")[2]) for name in (envoy.FORWARD, *SERVICES)},
                identities=mesh.identity_dir("proxy").parent,
                sockets=folder,
                directory=folder / "envoy",
                descriptors=envoy.descriptors(),
                rate_limit=RateLimit(per_second=LIMIT, burst=LIMIT),
            )
            command = envoy.command(await asyncio.to_thread(envoy.fit, layout))
            with (folder / "envoy.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            stack.push_async_callback(_end, process)
            await until(lambda port=public: probes.answers_over_tls(port, "/readyz", mesh.ca_file), "Envoy to be ready")  # type: ignore[misc]
            urls.append(f"https://localhost:{public}")
        yield urls


async def _end(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def asked(urls: list[str], desk: Desk, token: str, seconds: float) -> tuple[Taken, set[str]]:
    """Asks for what is not there, of all Envoys in turn; returns what came through, and headers of refusals."""
    taken, headers, running = Taken(seconds), set[str](), set[asyncio.Task[None]]()
    trust = ssl.create_default_context(cafile=str(desk.mesh.mesh.ca_file))
    connector = aiohttp.TCPConnector(ssl=trust, limit=64)
    async with aiohttp.ClientSession(connector=connector, headers={"authorization": f"Bearer {token}"}) as browser:

        async def one(number: int) -> None:
            async with browser.get(f"{urls[number % len(urls)]}{NOTHING}") as answer:
                await answer.read()
            if answer.status == 429:
                taken.retry_after.append(float(answer.headers["retry-after"]))
                headers.update(name.lower() for name in answer.headers if "ratelimit" in name.lower())
                assert answer.headers["x-ratelimit-limit"].startswith(f"{LIMIT}")
            else:
                assert answer.status == 404
                taken.times.append(time.monotonic())

        begun, number = time.monotonic(), 0
        while time.monotonic() < begun + seconds:
            while number < (time.monotonic() - begun) * OFFERED and len(running) < 200:
                task = asyncio.create_task(one(number))
                running.add(task)
                task.add_done_callback(running.discard)
                number += 1
            await asyncio.sleep(0.001)
        await asyncio.gather(*running)
    return taken, headers


def told(what: str, taken: Taken) -> None:
    print(
        f"\n{what}: {taken.offered():.0f} a second offered, {taken.per_second():.1f} let through, in the fullest one "
        f"{taken.most()}; {len(taken.retry_after)} refused until {min(taken.retry_after, default=0):.3f} to "
        f"{max(taken.retry_after, default=0):.3f} s later; "
        f"load {os.getloadavg()[0]:.1f}"
    )


async def test_each_envoy_lets_the_limit_through_for_itself(desk: Desk) -> None:
    """The second part is the control too: a limit that each counts for itself is no limit of both."""
    tenant = await desk.tenant()
    async with envoys(desk, 2) as urls:
        one, headers = await asked(urls[:1], desk, tenant.token, SECONDS)
        await asyncio.sleep(2.0)
        both, _ = await asked(urls, desk, tenant.token, SECONDS)
    told("one Envoy", one)
    told("two Envoys", both)
    assert headers >= {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
    # A bucket is filled once a second: a second that begins in between may find it full twice.
    assert one.per_second() <= 1.2 * LIMIT
    assert one.most() <= 2.2 * LIMIT
    assert one.offered() < 3 * LIMIT or one.per_second() >= 0.9 * LIMIT
    assert min(one.retry_after) >= 1
    if both.offered() > 5 * LIMIT:
        assert 1.5 * LIMIT <= both.per_second() <= 2.4 * LIMIT


async def _median(replica: SharedPace) -> float:
    took = []
    for _ in range(30):
        begun = time.monotonic()
        await replica._store.take(replica._account("globex", "").bucket, want=1, least=1, yielding=False)
        took.append(time.monotonic() - begun)
    return median(took)


async def test_replicas_of_the_proxy_let_the_limit_through_together(
    database: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine makes it wait, and not count for itself: that is another case.
    monkeypatch.setattr(pace, "_STORE_SECONDS", 60.0)
    url = database("proxy").url
    async with paces(url, LIMIT) as replicas, paces(url, LIMIT, 1) as alone:
        for replica in (*replicas, *alone):
            await offered([replica], 50, 1.0, f"warm {id(replica)}")
        slow = await _median(alone[0])
        one = await offered(alone, OFFERED, SECONDS, "alone")
        together = await offered(replicas, OFFERED, SECONDS, "together")
        apart = await offered(replicas, OFFERED, SECONDS, "one", "other")
    told("one Proxy", one)
    told("two Proxies", together)
    told("the control, two that count for themselves", apart)
    print(f"\nthe database counts in {slow * 1000:.1f} ms (median)")
    for taken in (one, together):
        assert taken.per_second() <= 1.05 * LIMIT
        assert taken.most() <= 1.1 * LIMIT
        assert 0 < max(taken.retry_after) <= 1.1
        assert slow > QUICK_SECONDS or taken.per_second() >= 0.95 * LIMIT
    assert apart.most() >= 1.5 * LIMIT
