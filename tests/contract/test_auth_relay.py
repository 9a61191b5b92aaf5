"""Connecting at a mesh that no vendor can reach: browsers come back over another one."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as pb
from tests.fixtures.auth import OAUTH_FAILED, Auth, a_definition, an_oauth_scheme, auth_serving, consented, refused
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving

HUB = "https://hub.test/connect/callback"
TARGETS = ("north=https://north.test", "south=http://localhost:8443")


@pytest.fixture
async def edge(auth: Auth) -> AsyncIterator[Auth]:
    """Auth at a mesh without a public address, which the other one knows as `north`."""
    async with auth.replica(relay_uri=HUB, relay_name="north") as served:
        yield replace(auth, served=served)


@pytest.fixture
async def hub(
    auth: Auth,
    serving: Serving,
    database: Databases,
    catalog: tuple[Any, str],
    kek_dir: Path,
) -> AsyncIterator[Auth]:
    """Auth at the mesh that vendors reach, with a database of its own."""
    copy = database("auth")
    async with auth_serving(serving, copy, catalog[1], kek_dir, relay_targets=TARGETS) as served:
        yield replace(auth, served=served, database=copy)


@pytest.fixture
async def vendor(auth: Auth) -> AsyncIterator[sandbox.Vendor]:
    """A vendor that knows the hub's callback alone."""
    async with sandbox.serving(sandbox.Settings(redirect_uris=(HUB,))) as running:
        auth.catalog.definitions["desk"] = a_definition("desk", an_oauth_scheme(running.url))
        await auth.set_client(running)
        yield running


def onward(page: str) -> str:
    """Returns where a page goes on to, or an empty text."""
    return html.unescape(next(iter(re.findall(r'http-equiv="refresh" content="0;url=([^"]*)"', page)), ""))


async def test_a_person_connects_at_a_mesh_that_the_vendor_cannot_reach(
    edge: Auth, hub: Auth, vendor: sandbox.Vendor
) -> None:
    session = await edge.begin(connection_id="desk-one")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(session.authorization_url).query).items()}
    assert asked["redirect_uri"] == HUB
    assert asked["state"].startswith("north~")
    back = await consented(session.authorization_url)
    url = urlsplit(onward(await hub.call_back(**back)))
    assert (url.scheme, url.netloc, url.path) == ("https", "north.test", "/connect/callback")
    assert dict(parse_qsl(url.query)) == back
    assert "is connected" in await edge.call_back(**dict(parse_qsl(url.query)))
    assert (await edge.session(session.name)).state == pb.ConnectSession.STATE_CONNECTED
    assert vendor.grants.access((await edge.lease()).access_token) is not None
    # What passed is used up.
    assert await refused(edge.call_back(**back)) == OAUTH_FAILED


async def test_the_mesh_between_finishes_nothing_and_keeps_nothing(
    edge: Auth, hub: Auth, vendor: sandbox.Vendor
) -> None:
    session = await edge.begin(connection_id="desk-one")
    back = await consented(session.authorization_url)
    assert onward(await hub.call_back(**back))
    state = back["state"].partition("~")[2]
    assert await refused(hub.call_back(**(back | {"state": state}))) == OAUTH_FAILED
    assert vendor.grants.tally.grants == 0
    for table in ("connect_session", "connection", "audit_entry"):
        found = await hub.sql(f"SELECT t::text AS row FROM {table} t")
        assert not [row for row in found if back["code"] in row["row"] or state in row["row"]]
    # At the edge it is as good as ever.
    assert "is connected" in await edge.call_back(**back)


@pytest.mark.parametrize(
    "state",
    [
        "west~abc",
        "~abc",
        "north",
        "https://evil.test~abc",
        "north.evil.test~abc",
        "NORTH~abc",
        "north ~abc",
        "north=https://evil.test~abc",
        "x" * 300,
    ],
)
async def test_no_state_names_an_address(hub: Auth, state: str) -> None:
    assert await refused(hub.call_back(state=state, code="c")) == OAUTH_FAILED


async def test_what_passes_cannot_change_where_it_goes(hub: Auth) -> None:
    hostile = 'x&code=other#https://evil.test/"><script>'
    page = await hub.call_back(state="south~abc", code=hostile, error="e", iss="https://evil.test")
    url = urlsplit(onward(page))
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("http", "localhost:8443", "/connect/callback", "")
    assert dict(parse_qsl(url.query)) == {
        "state": "south~abc",
        "code": hostile,
        "error": "e",
        "iss": "https://evil.test",
    }
    assert "<script" not in page


async def test_without_targets_nobody_is_sent_anywhere(auth: Auth) -> None:
    # The control: the same state at a mesh that relays for nobody.
    assert await refused(auth.call_back(state="north~abc", code="c")) == OAUTH_FAILED
