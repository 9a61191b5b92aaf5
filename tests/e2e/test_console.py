"""The console, used in Chromium: Envoy, every service, PostgreSQL and the sandbox vendor as they are."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from cordboard.client import Client
from tests.e2e.test_command import as_json
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.trouble import WORKSPACE, trouble

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

# All that the page is made of, as it travels.
LIGHT = 150_000


class Operator:
    """Somebody at the console."""

    def __init__(self, desk: Desk, browser: Browser) -> None:
        self._desk = desk
        self._browser = browser

    async def come(self, *acts: list[str], dark: bool = False) -> dict[str, Any]:
        """Opens the console as `cordboard console` does, and does things there."""
        opened = await as_json(self._desk, "console")
        return await self._play({"url": opened["url"], "acts": acts, "dark": dark})

    async def go_on(self, *acts: list[str]) -> dict[str, Any]:
        """Does more things in the same browser."""
        return await self._play({"acts": acts})

    async def _play(self, request: dict[str, Any]) -> dict[str, Any]:
        [found] = await asyncio.to_thread(self._browser, request)
        assert found["wrong"] == [], found
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def troubled(desk: Desk) -> Tenant:
    """A workspace with things to see."""
    return await trouble(desk)


@pytest.fixture
def ada(desk: Desk, troubled: Tenant, console_browser: Browser) -> Operator:
    """An operator, on a mesh where not everything is well."""
    return Operator(desk, console_browser)


async def test_an_operator_sees_what_is_wrong_and_finds_why(ada: Operator) -> None:
    seen = await ada.come(["see", "dead letters"], ["see", "calls fail"], ["judge"])
    assert WORKSPACE in seen["said"]
    assert 10_000 < sum(seen["sizes"].values()) < LIGHT, seen["sizes"]
    # The session is a cookie that no script can read; nothing else is kept, and the code is not in the address.
    [cookie] = [each for each in seen["cookies"] if each["name"] == "__Host-cordboard-session"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert json.loads(seen["kept"]) == [{}, {}]
    assert "code" not in seen["address"]
    why = await ada.go_on(["follow", "Slowest one"], ["see", "its time went into"], ["judge"])
    assert "VENDOR_ERROR" in why["said"]
    assert "acme-desk" in why["said"]


async def test_a_session_lasts_past_the_page_and_ends_when_the_operator_signs_out(ada: Operator) -> None:
    await ada.come(["see", "Attention"], ["reload"], ["see", "Newest failures"])
    gone = await ada.go_on(["click", "Sign out"], ["see", "Operators sign in"], ["judge"])
    assert "Newest failures" not in gone["said"]
    back = await ada.go_on(
        ["reload"], ["see", "Operators sign in"], ["click", "Sign in"], ["see", "no sign-in provider"]
    )
    assert "cordboard console" in back["said"]


async def test_traces_are_searched_and_the_search_is_in_the_address(ada: Operator, operator: Client) -> None:
    found = await ada.come(
        ["see", "Attention"],
        ["go", f"#/traces?workspace={WORKSPACE}"],
        ["see", "Through"],
        ["fill", "Integration", "acme-desk"],
        ["address", "integration=acme-desk"],
        ["see", "Through"],
        ["judge"],
        dark=True,
    )
    assert f"workspace={WORKSPACE}" in found["address"]
    none = await ada.go_on(["fill", "Service", "nobody"], ["see", "No trace has a span that fits"])
    assert "Through" not in none["said"]
    graph = await ada.go_on(["go", "#/traces?view=graph"], ["see", "integrations/acme-desk"], ["judge"])
    assert "envoy" in graph["said"]
