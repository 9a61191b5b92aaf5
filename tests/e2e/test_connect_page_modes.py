"""Ways to authenticate that a definition can declare: from the connect page, in Chromium, to a call that goes well.

Three of them; `tests/soak/test_connect_modes.py` has all.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import pytest

from cordboard.auth.v1 import connect_link_service_pb2 as pb
from cordboard.auth.v1.connection_service_pb2 import GetConnectionRequest
from cordboard.client import Client, CordboardError
from cordboard.uqi.v1 import form_service_pb2 as forms
from tests.e2e import test_auth_modes
from tests.e2e.test_auth_modes import WAYS, Vendors, Way, publish
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import until

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

# A code at a device, a private key that is pasted, two schemes in one form.
SOME: Final = ("device", "jwt_bearer", "all_of")
# A browser on a busy machine takes its time.
BOUND: Final = 120.0

vendors = test_auth_modes.vendors


async def labels(member: Client, slug: str) -> dict[str, str]:
    """Returns what stands beside each field of the scheme's form, by name; waits until there is one."""

    async def form() -> Any:
        try:
            request = forms.GetFormDocumentRequest(name=f"integrations/{slug}/forms/auth.it")
            return await member.forms.GetFormDocument(request)
        except CordboardError:
            return None

    found = await until(form, f"the form of {slug}", patience=BOUND)
    return {each.wire_name: each.label for each in found.fields}


def typed(way: Way, label: dict[str, str]) -> list[list[str]]:
    """Returns what a person does to fill the form in: a text of several lines is pasted, as people do."""
    return [["paste" if "\n" in value else "fill", label[name], value] for name, value in way.values.items()]


async def connect_and_call(desk: Desk, tenant: Tenant, vendors: Vendors, browser: Browser, kind: str) -> None:
    """Publishes an integration of this kind, connects it at the page as a person does, and calls it."""
    way, slug = WAYS[kind](vendors), f"page-{kind.replace('_', '-')}"
    path = "/v1/me" if way.means else "/openapi.json"
    server = vendors.sandbox.tls_url if kind == "mtls" else vendors.sandbox.url
    await publish(desk, slug, server, way, {"request": {"method": "GET", "path": path}})
    if kind == "all_of":
        vendors.sandbox.change({"app_key_required": True})
    answer = await connect_at_page(desk, tenant, browser, slug, way, kind)
    assert answer.get("authenticated_by", "") == way.means
    assert way.means or answer["openapi"]


async def connect_at_page(desk: Desk, tenant: Tenant, browser: Browser, slug: str, way: Way, kind: str) -> Any:
    """Connects an integration at the page as a person does; returns what a call of it answers."""
    async with desk.mesh.client(tenant.token) as member:
        request = pb.CreateConnectLinkRequest(
            parent=f"workspaces/{tenant.workspace}",
            integration=f"integrations/{slug}",
            auth_schemes=["it"],
            connection_id=slug,
        )
        fields = typed(way, await labels(member, slug)) if way.values else []
        link = await member.connect_links.CreateConnectLink(request)
        consents = kind in ("oauth2", "oauth1", "device")
        given: dict[str, Any] = {"url": link.url, "mode": "window", "origin": "https://app.test"}
        given["acts"] = [*fields, ["click", f"Go on to {slug}" if consents else "Connect"]]
        given |= {"code" if kind == "device" else "consent": "Allow"} if consents else {}
        (seen,) = await asyncio.to_thread(browser, given)
        assert seen["wrong"] == [], seen
        now = await member.connect_links.GetConnectLink(pb.GetConnectLinkRequest(name=link.name))
        assert now.state == pb.ConnectLink.STATE_CONNECTED
        shown = str(await member.connections.GetConnection(GetConnectionRequest(name=now.connection)))
        secrets = [value for name, value in way.values.items() if name not in ("username", "user.username")]
        assert not [value for value in secrets if value in shown or value in seen["said"]]
        return await until(partial(called, member, now.connection), f"a call of {slug}", patience=BOUND)


async def called(member: Client, connection: str) -> Any:
    """Returns what the vendor answers; None while the rollout has not reached the Proxy."""
    try:
        return (await member.execute(connection, "me")).output
    except CordboardError:
        return None


@pytest.mark.parametrize("kind", SOME)
async def test_a_kind_connects_at_the_page_and_calls(
    person: Browser, desk: Desk, northwind: Tenant, vendors: Vendors, kind: str
) -> None:
    await connect_and_call(desk, northwind, vendors, person, kind)
