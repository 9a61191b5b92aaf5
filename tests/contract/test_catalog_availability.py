"""What a workspace is shown as available: by the flags of a real stream, as the Proxy decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest

from cordboard.catalog.availability import Availability
from cordboard.catalog.reach import Reach
from cordboard.core.caller import Caller
from cordboard.core.errors import CordboardError, DependencyUnavailable, InvalidFields, SwitchedOff
from cordboard.core.settings import MAX_STALENESS
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.proxy.snapshot import Flags
from tests.fixtures.ways import ways
from tests.unit.proxy.running import until

HOSTS = {
    "desk": ["api.desk.example"], "mail": ["mail.other:8443"], "half": ["{site}.half.example", "{host}:{port}"],
    "none": [], "far": ["api.desk.example", "far.elsewhere"],
}  # fmt: skip


class Switchboard:
    """Flags that says what it is told."""

    def __init__(self) -> None:
        self.sets: asyncio.Queue[str] = asyncio.Queue()
        self.said = 0

    async def watch(self, _request: pb.WatchFlagsRequest, _context: Any) -> AsyncIterator[pb.WatchFlagsResponse]:
        """Answers WatchFlags."""
        while True:
            text = await self.sets.get()
            self.said += 1
            yield pb.WatchFlagsResponse(sequence=self.said, flag_configuration=text)

    def handler(self) -> grpc.GenericRpcHandler:
        """Returns what serves it."""
        watch = grpc.unary_stream_rpc_method_handler(
            cast("Any", self.watch), pb.WatchFlagsRequest.FromString, pb.WatchFlagsResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler("cordboard.flags.v1.FlagService", {"WatchFlags": watch})


@dataclass(frozen=True)
class Boards:
    """Both of them."""

    each: tuple[Switchboard, Switchboard]

    async def say(self, text: str) -> None:
        """Says a set of flags to all who listen."""
        for board in self.each:
            await board.sets.put(text)


def flagd(**rules: Any) -> str:
    variants = {"on": True, "off": False}
    flags = {
        f"integration.{slug}": {
            "state": "ENABLED", "variants": variants, "defaultVariant": "off", "targeting": {"if": [rule, "on"]},
        }
        for slug, rule in rules.items()
    }  # fmt: skip
    return json.dumps({"flags": flags})


@pytest.fixture
async def both() -> AsyncIterator[tuple[Boards, Availability, Flags]]:
    """Flags, the Catalog's copy of them, and the Proxy's."""
    boards, server = (Switchboard(), Switchboard()), (grpc.aio.server(), grpc.aio.server())
    there = []
    for board, each in zip(boards, server, strict=True):
        each.add_generic_rpc_handlers((board.handler(),))
        port = each.add_insecure_port("127.0.0.1:0")
        await each.start()
        there.append(ways(grpc.aio.insecure_channel(f"127.0.0.1:{port}")))
    reach = Reach(("*.example", "mail.other:8443"), HOSTS.__getitem__)
    catalog, proxy = Availability(there[0], MAX_STALENESS, reach), Flags(there[1], MAX_STALENESS)
    running = [asyncio.create_task(catalog.run()), asyncio.create_task(proxy.run())]

    yield Boards(boards), catalog, proxy
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for each in server:
        await each.stop(None)


def lets_through(proxy: Flags, slug: str, caller: Caller) -> bool:
    context = {
        "targetingKey": caller.workspace, "workspace": caller.workspace, "customer": caller.customer,
        "tier": caller.tier, "region": caller.region, "environment": caller.environment,
    }  # fmt: skip
    try:
        proxy.gate(slug, "any", context)
    except SwitchedOff:
        return False
    return True


async def test_what_is_shown_is_what_is_let_through(both: tuple[Boards, Availability, Flags]) -> None:
    board, catalog, proxy = both
    acme = Caller("envoy", workspace="acme", tier="business", region="eu", environment="production")
    with pytest.raises(DependencyUnavailable):
        catalog.of(acme)
    await board.say(
        flagd(
            desk={"in": [{"var": "tier"}, ["business"]]},
            mail={"in": [{"var": "region"}, ["us"]]},
            far={"in": [{"var": "tier"}, ["business"]]},
            half={"fractional": [{"cat": ["half", {"var": "workspace"}]}, [True, 50], [False, 50]]},
        )
    )

    def known() -> bool:
        try:
            return lets_through(proxy, "desk", acme) and catalog.of(acme)("desk")
        except CordboardError:
            return False

    await until(known)
    slugs = ("desk", "mail", "half", "none")
    shown = set()
    for number in range(100):
        tier, region = ("business", "eu") if number % 2 else ("free", "us")
        caller = Caller("envoy", workspace=f"w-{number}", tier=tier, region=region, environment="production")
        available = catalog.of(caller)
        found = tuple(available(slug) for slug in slugs)
        assert found == tuple(lets_through(proxy, slug, caller) for slug in slugs)
        shown.add(found)
    # Everybody's own: tier and region by turns, and a half of each; nobody has what has no flag.
    assert shown == {(first, not first, half, False) for first in (True, False) for half in (True, False)}
    # What cannot be reached from here is not shown, whatever the flags say.
    assert lets_through(proxy, "far", acme)
    assert not catalog.of(acme)("far")
    with pytest.raises(InvalidFields):
        catalog.of(Caller("envoy"))
    await board.say(flagd())
    await until(lambda: not catalog.of(acme)("desk"))
