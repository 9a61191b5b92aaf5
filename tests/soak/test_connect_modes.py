"""Every way to authenticate that a definition can declare: from the connect page, in Chromium, to a call.

API keys go to every place that there is for them, from the command as well.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiohttp import web

from tests.e2e import test_auth_modes
from tests.e2e.test_auth_modes import KINDS, Vendors, Way, called, connected, publish, role
from tests.e2e.test_connect_page_modes import connect_and_call, connect_at_page
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, Tenant

pytestmark = pytest.mark.node
in_chromium = pytest.mark.skipif(not INSTALLED, reason=MISSING)

PLACES: Final = ("header", "query", "cookie", "path", "body")
NAME: Final = "access"
KEY: Final = "key-of-a-place-3e0f"

vendors = test_auth_modes.vendors


@dataclass(frozen=True)
class Api:
    """An API that takes a key in one place alone."""

    place: str
    url: str = ""

    async def me(self, request: web.Request) -> web.Response:
        """Answers where the key was, or 401."""
        body = await request.json() if request.can_read_body else {}
        found = {
            "header": request.headers.get(NAME),
            "query": request.query.get(NAME),
            "cookie": request.cookies.get(NAME),
            "path": request.match_info.get("key"),
            "body": body.get(NAME),
        }
        there = {place for place, key in found.items() if key is not None}
        if there != {self.place} or found[self.place] != KEY:
            return web.json_response({"error": "no such key"}, status=401)
        return web.json_response({"key_in": self.place})


@contextlib.asynccontextmanager
async def an_api(place: str) -> AsyncIterator[Api]:
    """Runs the API."""
    app = web.Application()
    app.router.add_route("*", "/me", Api(place).me)
    app.router.add_route("*", "/{key}/me", Api(place).me)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Api(place, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def way(place: str) -> tuple[Way, dict[str, Any]]:
    """Returns how a key is declared that goes there, and the action that takes it."""
    scheme = {"api_key": {"placement": place, "name": NAME}}
    request: dict[str, Any] = {"method": "GET", "path": f"/{{{NAME}}}/me" if place == "path" else "/me"}
    if place == "body":
        request |= {"method": "POST", "body": {"encoding": "json"}}
    return Way(scheme, place, {"api_key": KEY}), {"request": request, "idempotency": "safe"}


@in_chromium
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_connects_at_the_page_and_calls(
    person: Browser, desk: Desk, northwind: Tenant, vendors: Vendors, kind: str
) -> None:
    await connect_and_call(desk, northwind, vendors, person, kind)


@in_chromium
async def test_a_role_of_aws_connects_at_the_page_and_calls(
    person: Browser, desk: Desk, northwind: Tenant, vendors: Vendors
) -> None:
    declared, action = role(vendors)
    await publish(desk, "page-role", vendors.aws.url.rstrip("/"), declared, action)
    answer = await connect_at_page(desk, northwind, person, "page-role", declared, "aws_sigv4")
    assert ":assumed-role/desk/cordboard" in json.dumps(answer)


@in_chromium
@pytest.mark.parametrize("place", PLACES)
async def test_a_key_connects_at_the_page_and_goes_where_it_belongs(
    person: Browser, desk: Desk, northwind: Tenant, place: str
) -> None:
    slug, (declared, action) = f"page-key-in-{place}", way(place)
    async with an_api(place) as api:
        await publish(desk, slug, api.url, declared, action)
        assert await connect_at_page(desk, northwind, person, slug, declared, "api_key") == {"key_in": place}


@pytest.mark.parametrize("place", PLACES)
async def test_a_key_connects_from_the_command_and_goes_where_it_belongs(
    desk: Desk, northwind: Tenant, place: str
) -> None:
    slug, (declared, action) = f"key-in-{place}", way(place)
    async with an_api(place) as api:
        await publish(desk, slug, api.url, declared, action)
        made = await connected(desk, northwind.workspace, slug, declared.values)
        assert await called(desk, northwind.workspace, slug) == {"key_in": place}
    assert KEY not in json.dumps(made)
