"""SIGTERM to one of two Proxies behind Envoy, again and again, while callers go on: not one call fails.

STOPS in the environment says how often; 50 is what the project promises. Callers ask once, without a key: whatever
error they get counts. Some of their calls are slow at the vendor, so that each stop finds a few under way, and some go
through `/proxy/`, which the Proxy answers on a port of its own.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import aiohttp

from cordboard.client import Client, CordboardError
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from tests.fixtures.desk import CONNECTION, Desk, Tenant
from tests.soak.pairs import ONE, OTHER, Pair, two

STOPS: Final = int(os.environ.get("STOPS", "50"))
RATE: Final = float(os.environ.get("RATE", "16"))
# Between two stops, when both are there again.
PAUSE_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 10.0
SLOW: Final = {"latency_ms": 1500, "path": "/v1/contacts"}
# How often the control stops; one that waits for nobody cuts a slow call off nearly each time.
CONTROL_STOPS: Final = 4


class Callers:
    """Makes calls of five kinds in turn at a steady rate, and counts how they end."""

    def __init__(self, pair: Pair, tenant: Tenant) -> None:
        self.ended: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._pair = pair
        self._tenant = tenant
        self._sent = 0
        self._trust = ssl.create_default_context(cafile=str(pair.mesh.mesh.ca_file))

    @property
    def subject(self) -> str:
        return f"stop {self._sent} of {self._tenant.workspace}"

    async def go_on(self, stopping: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Calls until `stopping` has returned, and until what is under way then has ended."""
        running: set[asyncio.Task[None]] = set()
        async with (
            Client(f"localhost:{self._pair.public}", token=self._tenant.token, ca_file=self._trusted) as client,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._trust)) as browser,
        ):
            await Desk.reach(client, self._tenant)
            kinds = {
                "write": self._write,
                "list": self._list,
                "slow": self._slow,
                "forwarded": self._forwarded,
                "forwarded, slow": self._forwarded_slow,
            }
            stopper, begun = asyncio.create_task(stopping()), time.monotonic()
            while not stopper.done():
                name = list(kinds)[self._sent % len(kinds)]
                task = asyncio.create_task(self._count(name, kinds[name](client, browser)))
                running.add(task)
                task.add_done_callback(running.discard)
                self._sent += 1
                await asyncio.sleep(max(0.0, begun + self._sent / RATE - time.monotonic()))
            await asyncio.gather(stopper, *running)

    @property
    def _trusted(self) -> str:
        return str(self._pair.mesh.mesh.ca_file)

    async def _count(self, name: str, call: Awaitable[str]) -> None:
        problem = await call
        self.ended[name] += 1
        if problem:
            self.failed[f"{name}: {problem}"] += 1

    async def _execute(self, client: Client, action: str, **fields: str) -> str:
        try:
            await client.execute(self._tenant.connection, action, fields, timeout=30)
        except CordboardError as error:
            return f"{error.code.name} {error.reason} {error}"[:160]
        return ""

    def _write(self, client: Client, _: aiohttp.ClientSession) -> Awaitable[str]:
        return self._execute(client, "create_ticket", subject=self.subject, requester_id="con_00000001")

    def _slow(self, client: Client, _: aiohttp.ClientSession) -> Awaitable[str]:
        return self._execute(client, "list_contacts")

    async def _list(self, client: Client, _: aiohttp.ClientSession) -> str:
        request = proxy.ListCallsRequest(parent=f"workspaces/{self._tenant.workspace}", page_size=1)
        try:
            await client.proxy.ListCalls(request, timeout=30)
        except CordboardError as error:
            return f"{error.code.name} {error.reason} {error}"[:160]
        return ""

    def _forwarded(self, _: Client, browser: aiohttp.ClientSession) -> Awaitable[str]:
        return self._get(browser, "me")

    def _forwarded_slow(self, _: Client, browser: aiohttp.ClientSession) -> Awaitable[str]:
        return self._get(browser, "contacts")

    async def _get(self, browser: aiohttp.ClientSession, path: str) -> str:
        url = f"https://localhost:{self._pair.public}/proxy/{CONNECTION}/{path}"
        headers = {"authorization": f"Bearer {self._tenant.token}"}
        try:
            async with browser.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=30)) as answer:
                body = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{type(error).__name__} {error}"[:160]
        return "" if answer.status == 200 else f"{answer.status} {body}"[:160]


async def test_no_call_fails_while_proxies_are_stopped_one_after_the_other(desk: Desk) -> None:
    tenant = await desk.tenant()
    took: list[float] = []

    async with two(desk.mesh) as pair:
        callers = Callers(pair, tenant)

        async def stopping() -> None:
            for number in range(STOPS):
                await pair.both()
                await asyncio.sleep(PAUSE_SECONDS)
                took.append(await pair.stop(OTHER if number % 2 else ONE))
            await pair.both()

        with desk.broken(**SLOW):
            await callers.go_on(stopping)
    twice = {subject: count for subject, count in desk.tickets().items() if tenant.workspace in subject and count > 1}
    for problem, count in callers.failed.most_common():
        print(f"\n{count} times {problem}", end="")
    print(
        f"\n{STOPS} stops, {callers.ended.total()} calls {dict(callers.ended)}: failed {dict(callers.failed)}; "
        f"twice {len(twice)}; ends took {min(took):.1f} to {max(took):.1f} s; load {os.getloadavg()[0]:.1f}"
    )
    assert callers.failed == {}
    assert twice == {}
    assert max(took) < DRAIN_SECONDS


async def test_a_proxy_that_waits_for_nobody_is_missed(desk: Desk) -> None:
    """The control: one that ends at once, with all that is under way."""
    tenant = await desk.tenant()
    async with two(desk.mesh) as pair:
        callers = Callers(pair, tenant)
        await pair.stop(OTHER, grace_seconds="0")

        async def stopping() -> None:
            for _ in range(CONTROL_STOPS):
                await pair.both()
                await asyncio.sleep(PAUSE_SECONDS)
                await pair.stop(OTHER, grace_seconds="0")
            await pair.both()

        with desk.broken(**SLOW):
            await callers.go_on(stopping)
    print(f"\nwithout a grace: {CONTROL_STOPS} stops, {callers.ended.total()} calls, failed {dict(callers.failed)}")
    assert callers.failed.total() > 0
