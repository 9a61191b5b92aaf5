"""OpenFeature's providers for the web, unmodified, in Chromium: a page of a product asks the mesh through Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from cordboard.client import Client
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.e2e.test_ofrep import put, workspace
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.mesh import RunningMesh

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]


class Page:
    """A page that is open."""

    def __init__(self, browser: Browser, name: str, opened: dict[str, Any]) -> None:
        self._browser = browser
        self._name = name
        self.opened = opened

    async def ask(self, key: str, **how: Any) -> dict[str, Any]:
        """Returns what the page gets for a flag."""
        [found] = await asyncio.to_thread(self._browser, {"open": self._name, "key": key, **how})
        assert "failed" not in found, found["failed"]
        return found


@asynccontextmanager
async def page(browser: Browser, mesh: RunningMesh, token: str, provider: str, **how: Any) -> AsyncIterator[Page]:
    """Opens a page, of the mesh's own origin unless `how` says another one."""
    name, origin = uuid4().hex, mesh.mesh.public_url
    told = {"open": name, "site": origin, "mesh": origin, "token": token, "provider": provider, **how}
    [opened] = await asyncio.to_thread(browser, told)
    assert "failed" not in opened, opened["failed"]
    try:
        yield Page(browser, name, opened)
    finally:
        await asyncio.to_thread(browser, {"close": name})


async def test_a_page_hears_of_a_change_by_the_stream_of_ofrep(
    running_mesh: RunningMesh, operator: Client, products: Browser
) -> None:
    key, mine = f"web-{uuid4().hex[:8]}", await workspace(operator)
    token = await running_mesh.token("member", workspace=mine)
    await put(operator, key, {"a": "one", "b": "two"}, "a", pb.Rule(workspaces=[mine], variant="b"))
    deaf = {"options": {"changeDetection": "none"}}
    async with (
        page(products, running_mesh, token, "ofrep") as hearing,
        page(products, running_mesh, token, "ofrep", **deaf) as other,
    ):
        assert (hearing.opened["state"], hearing.opened["wrong"]) == ("READY", [])
        found = await hearing.ask(key)
        assert (found["value"], found["variant"], found["reason"]) == ("two", "b", "TARGETING_MATCH")
        await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason="fire"))
        # Nobody polls: what is not heard is not known.
        changed = await hearing.ask(key, until="one", told=True)
        assert changed["seen"]["/ofrep/v1/events"] >= 1
        # The control: a page that does not listen has what it had.
        still = await other.ask(key)
        assert (still["value"], still["news"]) == ("two", [])
        assert "/ofrep/v1/events" not in still["seen"]


async def test_a_page_of_another_origin_gets_nothing(
    running_mesh: RunningMesh, operator: Client, products: Browser
) -> None:
    key = f"web-{uuid4().hex[:8]}"
    token = await running_mesh.token("member", workspace=await workspace(operator))
    await put(operator, key, {"a": "one"}, "a")
    async with page(products, running_mesh, token, "ofrep", site="https://elsewhere.test") as foreign:
        found = await foreign.ask(key)
        assert (foreign.opened["state"], found["value"]) == ("ERROR", "of the code")
        assert any("CORS" in each for each in foreign.opened["wrong"])


async def test_flagd_s_provider_gets_values_and_hears_of_a_change_by_connect(
    running_mesh: RunningMesh, operator: Client, products: Browser
) -> None:
    key, mine = f"web-{uuid4().hex[:8]}", await workspace(operator)
    token = await running_mesh.token("member", workspace=mine)
    await put(operator, key, {"a": "one", "b": "two"}, "a", pb.Rule(workspaces=[mine], variant="b"))
    await put(operator, f"{key}-number", {"a": 7}, "a")
    await put(operator, f"{key}-boolean", {"a": True}, "a")
    await put(operator, f"{key}-object", {"a": {"color": "red", "sizes": [1, 2]}}, "a")
    async with page(products, running_mesh, token, "flagd") as flagd:
        assert flagd.opened["state"] == "READY", flagd.opened
        found = await flagd.ask(key)
        assert (found["value"], found["variant"], found["reason"]) == ("two", "b", "TARGETING_MATCH")
        for kind, value in (("number", 7), ("boolean", True), ("object", {"color": "red", "sizes": [1, 2]})):
            assert (await flagd.ask(f"{key}-{kind}", kind=kind))["value"] == value
        assert (await flagd.ask(f"{key}-none"))["error"] == "FLAG_NOT_FOUND"
        await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason="fire"))
        # It asks for everything again as soon as it hears of a change, and never else.
        assert (await flagd.ask(key, until="one"))["variant"] == "a"
    # The control: without a good token there is nothing.
    async with page(products, running_mesh, f"{token}x", "flagd", options={"maxRetries": 1}) as refused:
        assert (await refused.ask(key))["value"] == "of the code"
