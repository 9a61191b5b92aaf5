"""OAuth at a real authorization server, npm's oidc-provider: from `cordboard connect` to a call that an API lets in."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.test_auth_modes import AtPage, Way, called, connected, publish
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.oidc import CLIENT, INSTALLED, SECRET, Provider, allowed, provider, signed_in
from tests.fixtures.sites import listening

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason="npm's oidc-provider is not installed")]

PERSON: Final = "ada"


@dataclass(frozen=True)
class Api:
    """An API that asks the authorization server about each token that it is shown (RFC 7662)."""

    of: Provider
    url: str = ""

    async def me(self, request: web.Request) -> web.Response:
        """Answers who calls, or 401."""
        headers = {"Authorization": aiohttp.encode_basic_auth(CLIENT, SECRET)}
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.of.issuer}/token/introspection", data={"token": token}, headers=headers) as answer,
        ):
            told = await answer.json()
        if not told["active"]:
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response({"client": told["client_id"], "person": told.get("sub", "")})


@contextlib.asynccontextmanager
async def an_api(of: Provider) -> AsyncIterator[Api]:
    """Runs the API."""
    app = web.Application()
    app.router.add_get("/me", Api(of).me)
    async with listening(app) as url:
        yield Api(of, url)


@dataclass(frozen=True)
class AtProvidersPage(AtPage):
    """Signs in and consents at the page that the command shows, and goes back."""

    async def does(self, page: str) -> None:
        """Does what a person does."""
        mesh = self.desk.mesh
        query = await signed_in(page, login=PERSON, until=mesh.mesh.public_url)
        assert query["iss"]
        back = await mesh.http("GET", "/connect/callback", params=query)
        assert back.status == 200, back.text


@dataclass(frozen=True)
class AtDevice:
    """Signs in and allows the device whose code the command shows."""

    def reads(self, told: str) -> str:
        """Returns the page and the code."""
        found = re.search(r"(https?://\S+)\n.*this code: (\S+)", told, re.DOTALL)
        return " ".join(found.groups()) if found else ""

    async def does(self, asked: str) -> None:
        """Does what a person does."""
        page, code = asked.split()
        await allowed(page, code, login=PERSON)


def way(kind: str, at: Provider) -> Way:
    """Returns how a kind is declared for this server, and what a person types in."""
    grant = {"token_url": f"{at.issuer}/token", "scopes": ["desk:read"]}
    client = (CLIENT, SECRET)
    if kind == "client_credentials":
        return Way({kind: {"grant": grant}}, "", {"client_id": CLIENT, "client_secret": SECRET})
    if kind == "device":
        return Way(
            {kind: {"device_authorization_url": f"{at.issuer}/device/auth", "grant": grant}}, PERSON, client=client
        )
    return Way({"oauth2": at.fields(default_scopes=["desk:read"])}, PERSON, client=client)


@pytest.mark.parametrize("kind", ["oauth2", "device", "client_credentials"])
async def test_a_grant_of_a_real_server_connects_and_calls(desk: Desk, northwind: Tenant, kind: str) -> None:
    person: Any = {"oauth2": AtProvidersPage(desk), "device": AtDevice()}.get(kind)
    slug = f"provider-{kind.replace('_', '-')}"
    async with provider(f"{desk.mesh.mesh.public_url}/connect/callback") as running, an_api(running) as api:
        declared = way(kind, running)
        await publish(desk, slug, api.url, declared, {"request": {"method": "GET", "path": "/me"}})
        made = await connected(desk, northwind.workspace, slug, declared.values, person)
        answer = await called(desk, northwind.workspace, slug)
    assert answer == {"client": CLIENT, "person": declared.means or answer["person"]}
    assert SECRET not in json.dumps(made)
