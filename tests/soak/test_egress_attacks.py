"""A running Proxy is led to inside addresses: by 128 spellings, and by a name that changes its answer 1,000 times.

A definition that names a payload as its server is what a hostile catalogue, or a value of a config variable, would be.
What is reached is counted at listeners on loopback. TIMES in the environment says how often names change.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import grpc

from cordboard.core.egress import Egress
from cordboard.core.errors import EgressDenied
from cordboard.local.certificates import Identities
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import point
from tests.unit.proxy.running import a_mesh, execute, refusal
from tests.unit.proxy.samples import an_action
from tests.unit.proxy.test_egress import INSIDE, MALFORMED, FixedNames, Listener, send

TIMES: Final = int(os.environ.get("TIMES", "1000"))
# What stands for the vendor: an address that an operator has allowed, beside others that are inside.
ALLOWED: Final = "127.0.0.77"


class Addressed(Listener):
    """Counts who reaches it by the address at which it was reached."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: Counter[str] = Counter()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached[str(writer.get_extra_info("sockname")[0])] += 1
        await super()._answer(reader, writer)

    @property
    def inside(self) -> int:
        """Returns how often it was reached where nobody may."""
        return self.reached.total() - self.reached[ALLOWED]


async def test_no_spelling_of_an_inside_address_is_reached_by_a_running_proxy(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    refused: Counter[str] = Counter()
    settings: dict[str, Any] = {"egress_allowed_networks": (), "workspace_rate": 100_000, "caller_rate": 100_000}
    async with a_mesh(serving, identities, database("proxy").url, **settings) as mesh, Addressed().listening() as to:
        urls = [f"http://{host}:{to.port}" for host in INSIDE]
        urls += [form.replace("{port}", str(to.port)) for form in MALFORMED]
        stub = mesh.stub()
        for url in urls:
            await point(mesh, url, an_action("get", path="/x"))
            found = await refusal(stub.Execute(execute("get"), timeout=30))
            refused[found.reason] += 1
            assert found.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (url, found)
            assert "127.0.0" not in found.text, found
        assert to.hits == 0
        # The control: the listener can be reached from here.
        async with aiohttp.ClientSession() as plain:
            await send(plain, f"http://127.0.0.1:{to.port}/")
        assert to.hits == 1
    print(f"\n{len(urls)} payloads: {dict(refused)}, 0 reached an inside address; load {os.getloadavg()[0]:.1f}")
    assert refused.total() == len(urls) >= 128


class Rebinding(FixedNames):
    """A name whose answers change from question to question, and hold what is allowed and what is not."""

    PATTERNS: Final = (
        (ALLOWED,), ("127.0.0.1",), ("::1",), (ALLOWED, "127.0.0.1"), ("127.0.0.1", ALLOWED), ("::1", ALLOWED),
        (ALLOWED, ALLOWED, "127.0.0.2", ALLOWED, ALLOWED), ("::ffff:127.0.0.1",), ("10.0.0.1", "127.0.0.1"),
    )  # fmt: skip

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.asked = 0

    async def resolve(self, *given: Any, **named: Any) -> Any:
        self.asked += 1
        self._addresses = self._chance.choice(self.PATTERNS)
        return await super().resolve(*given, **named)


async def rebound(times: int, opened: Any) -> Addressed:
    """Asks so many times for a name that changes, each time with what `opened` gives."""
    async with Addressed().listening() as to:
        for _ in range(times):
            with contextlib.suppress(EgressDenied, aiohttp.ClientError, OSError):
                async with opened(to) as session:
                    await send(session, f"http://vendor.example:{to.port}/")
        return to


async def test_a_name_that_changes_its_answer_never_leads_inside() -> None:
    chance = random.Random(3)
    names = Rebinding(chance)
    to = await rebound(TIMES, lambda _: Egress([f"{ALLOWED}/32"], resolver=names).session(timeout=30))
    print(
        f"\n{names.asked} answers of a name that changes: {to.inside} led inside, {to.reached[ALLOWED]} to where they "
        f"may; load {os.getloadavg()[0]:.1f}"
    )
    assert names.asked >= TIMES
    assert to.inside == 0
    assert to.reached[ALLOWED] > TIMES / 10


async def test_a_check_before_the_connection_is_led_inside() -> None:
    """The control: the name is asked, its answer is judged, and the name is asked again by what connects."""
    chance = random.Random(4)

    @contextlib.asynccontextmanager
    async def checked(to: Addressed) -> AsyncIterator[aiohttp.ClientSession]:
        names = Rebinding(chance)
        await Egress([f"{ALLOWED}/32"], resolver=names).address("vendor.example", to.port)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=names)) as session:
            yield session

    to = await rebound(100, checked)
    print(f"\nthe control: {to.inside} of 100 led inside")
    assert to.inside > 0
