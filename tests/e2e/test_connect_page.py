"""The connect page, clicked through in Chromium: Envoy, Auth, UQI and the sandbox vendor as they are."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from cordboard.auth.v1 import connect_link_service_pb2 as pb
from cordboard.auth.v1.connection_service_pb2 import GetConnectionRequest
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import RunningMesh, until

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

ORIGIN = "https://app.test"
LIGHT = 45_000
# A browser on a busy machine takes its time.
BOUND = 120.0
OWN = """
slug: acme-asking
title: Acme Desk, with a server of one's own
servers:
- {id: own, url: 'http://127.0.0.1:{port}/v1'}
config_variables:
- {name: port, title: The port, required: true, schema: {type: string, pattern: '^[0-9]{2,5}$'}}
- {name: app_key, title: Second key, required: true, secret: true}
auth_schemes:
- {id: key, api_key: {placement: header, name: X-Api-Key}}
actions:
- id: list_tickets
  request:
    method: GET
    path: /tickets
    constants:
    - {placement: header, name: X-App-Key, config_variable: app_key}
"""
CONNECTED = pb.ConnectLink.STATE_CONNECTED


async def a_link(member: Client, tenant: Tenant, **fields: Any) -> pb.ConnectLink:
    """A link for the tenant."""
    request = pb.CreateConnectLinkRequest(
        parent=f"workspaces/{tenant.workspace}", integration=INTEGRATION, connection_id="by-page", **fields
    )
    link: pb.ConnectLink = await member.connect_links.CreateConnectLink(request)
    return link


class Person:
    """Opens links in Chromium."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    async def play(self, link: pb.ConnectLink, mode: str = "window", **given: Any) -> dict[str, Any]:
        """Returns what the person saw, and what the product's page heard."""
        request = {"url": link.url, "mode": mode, "origin": ORIGIN, **given}
        (found,) = await asyncio.to_thread(self._browser, request)
        return found


@pytest.fixture(scope="module")
def ada(person: Browser) -> Person:
    """A person with a browser."""
    return Person(person)


async def after(member: Client, link: pb.ConnectLink) -> pb.ConnectLink:
    """The link as it is now."""
    found: pb.ConnectLink = await member.connect_links.GetConnectLink(pb.GetConnectLinkRequest(name=link.name))
    return found


async def connected(member: Client, link: pb.ConnectLink) -> bool:
    """Tells whether there is a connection."""
    return (await after(member, link)).state == CONNECTED


def key_of(link: pb.ConnectLink) -> str:
    """What follows the `#`."""
    return str(link.url.partition("#")[2])


async def test_an_account_is_connected_by_an_api_key(
    ada: Person, desk: Desk, northwind: Tenant, member: Client
) -> None:
    link = await a_link(member, northwind, return_url="https://app.test/done?a=1")
    acts = [["choose", "API key"], ["fill", "API key", desk.vendor.settings.api_key], ["click", "Connect"]]
    page = asyncio.create_task(ada.play(link, acts=acts, dark=True, after="has accepted it in a call"))
    await until(partial(connected, member, link), "the connection", patience=BOUND)
    now = await after(member, link)
    assert (now.connection, now.url) == (f"workspaces/{northwind.workspace}/connections/by-page", "")
    await member.execute(now.connection, "get_me")
    seen = await page
    assert seen["wrong"] == [], seen
    assert "northwind" in seen["said"]
    assert seen["focused"] == "H1"
    # The key is not where others could read it.
    assert key_of(link) not in seen["address"]
    assert sum(seen["sizes"].values()) < LIGHT, seen["sizes"]
    # Whoever has the key sees what came of it, and can do no more with it.
    again = await ada.play(link)
    assert again["wrong"] == [], again


async def test_a_popup_is_connected_by_a_password_and_tells_its_origin(
    ada: Person, desk: Desk, northwind: Tenant, member: Client
) -> None:
    link = await a_link(member, northwind, origin=ORIGIN)
    settings = desk.vendor.settings
    acts = [
        ["choose", "User name and password"],
        ["fill", "User name", "a:b"],
        ["fill", "Password", settings.basic_password],
        ["click", "Connect"],
        ["wait", "must not have a colon"],
        ["fill", "User name", settings.basic_user],
        ["click", "Connect"],
    ]
    seen = await ada.play(link, "popup", acts=acts)
    assert [each for each in seen["wrong"] if "400" not in each] == [], seen
    now = await after(member, link)
    assert now.state == CONNECTED
    told = {"type": "cordboard.connect", "link": link.name, "connection": now.connection, "error": ""}
    page = link.url.partition("/connect/")[0]
    assert seen["heard"] == [{**told, "state": "connected", "origin": page}]


async def test_a_person_consents_at_the_vendor_and_comes_back(
    ada: Person, desk: Desk, northwind: Tenant, member: Client
) -> None:
    link = await a_link(member, northwind, auth_schemes=[desk.schemes["oauth2"]])
    denied = await ada.play(
        link, acts=[["click", "Go on to Acme Desk"]], consent="Deny", ends="Connect Acme Desk", after="was not allowed"
    )
    assert denied["wrong"] == [], denied
    now = await after(member, link)
    assert (now.state, now.error) == (pb.ConnectLink.STATE_PENDING, "access_denied")
    seen = await ada.play(link, acts=[["click", "Go on to Acme Desk"]], consent="Allow")
    assert seen["wrong"] == [], seen
    assert (await after(member, link)).state == CONNECTED
    [cookie] = [each for each in seen["cookies"] if each["name"] == "__Host-cordboard-connect"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")


async def test_a_frame_of_the_declared_origin_goes_on_when_the_person_has_consented(
    ada: Person, desk: Desk, northwind: Tenant, member: Client
) -> None:
    link = await a_link(member, northwind, auth_schemes=[desk.schemes["oauth2"]], origin=ORIGIN)
    seen = await ada.play(link, "frame", acts=[["click", "Go on to Acme Desk"]], consent="Allow")
    assert seen["wrong"] == [], seen
    assert (await after(member, link)).state == CONNECTED
    assert [each["state"] for each in seen["heard"]] == ["connected"]


async def test_a_person_is_asked_for_the_variables_that_nobody_has_set(
    ada: Person, running_mesh: RunningMesh, desk: Desk, northwind: Tenant, member: Client
) -> None:
    async with running_mesh.operator() as operator:
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=OWN))
    request = pb.CreateConnectLinkRequest(
        parent=f"workspaces/{northwind.workspace}", integration="integrations/acme-asking", connection_id="asking"
    )
    link = await member.connect_links.CreateConnectLink(request)
    acts = [
        ["fill", "API key", "sk_1"],
        ["click", "Connect"],
        ["wait", "The port is required"],
        ["fill", "The port", "x"],
        ["fill", "Second key", "k2"],
        ["click", "Connect"],
        ["wait", "There is a problem"],
        ["fill", "The port", "8080"],
        ["fill", "API key", "sk_1"],
        ["fill", "Second key", "k2"],
        ["click", "Connect"],
    ]
    seen = await ada.play(link, acts=acts)
    assert [each for each in seen["wrong"] if "400" not in each] == [], seen
    made = await member.connections.GetConnection(GetConnectionRequest(name=(await after(member, link)).connection))
    assert dict(made.configuration) == {"port": "8080"}


async def test_another_origin_sees_no_frame_and_hears_nothing(
    ada: Person, desk: Desk, northwind: Tenant, member: Client
) -> None:
    for origin in ("https://other.test", ""):
        link = await a_link(member, northwind, auth_schemes=[desk.schemes["api_key"]], origin=origin)
        framed = await ada.play(link, "frame", refused=True)
        assert framed["refusedFrame"], origin
        assert any("frame-ancestors" in each for each in framed["wrong"]), framed["wrong"]
        acts = [["fill", "API key", desk.vendor.settings.api_key], ["click", "Connect"]]
        popup = await ada.play(link, "popup", acts=acts)
        assert (await after(member, link)).state == CONNECTED
        assert popup["heard"] == []


async def test_a_link_with_another_key_opens_nothing(
    ada: Person, desk: Desk, northwind: Tenant, member: Client
) -> None:
    link = await a_link(member, northwind, origin=ORIGIN)
    link.url = link.url[:-2] + ("AA" if not link.url.endswith("AA") else "BB")
    seen = await ada.play(link, "popup", ends="This link does not work")
    assert [each for each in seen["wrong"] if "404" not in each] == [], seen
    assert seen["heard"] == []
    assert "Acme" not in seen["said"]
