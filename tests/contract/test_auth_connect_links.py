"""Links to the connect page: what a person without a token can do with one, and what nobody can."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import Any

import pytest

from cordboard import sandbox
from cordboard.auth.v1 import connect_link_service_pb2 as pb
from cordboard.auth.v1 import connect_page_service_pb2 as page_pb
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1.connect_link_service_pb2_grpc import ConnectLinkServiceStub
from cordboard.auth.v1.connect_page_service_pb2_grpc import ConnectPageServiceStub
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from cordboard.core.structs import to_struct
from tests.fixtures.auth import (
    API_KEY,
    BASIC,
    NOT_FOUND,
    PUBLIC_URL,
    STATE_CONFLICT,
    UNAVAILABLE,
    Auth,
    a_definition,
    consented,
    refused,
)

PENDING, CONNECTED = pb.ConnectLink.STATE_PENDING, pb.ConnectLink.STATE_CONNECTED
EXPIRED = pb.ConnectLink.STATE_EXPIRED
KEY = {"api_key": "sk_1"}


class Visitor:
    """A person's browser: it has a link, and nothing else."""

    def __init__(self, auth: Auth, link: pb.ConnectLink) -> None:
        place, _, self.key = link.url.partition("#")
        self.id = place.rpartition("/")[2]
        self.stub = ConnectPageServiceStub(auth.served.channel("envoy"))
        self.cookie = ""

    async def open(self, **fields: Any) -> page_pb.ConnectPage:
        told: dict[str, Any] = {"link": self.id, "key": self.key, "brief": True} | fields
        page: page_pb.ConnectPage = await self.stub.OpenConnectPage(page_pb.OpenConnectPageRequest(**told))
        return page

    async def submit(self, scheme: str, values: dict[str, Any] | None = None, **settings: str) -> page_pb.ConnectPage:
        call = self.stub.SubmitConnectPage(
            page_pb.SubmitConnectPageRequest(
                link=self.id, key=self.key, auth_scheme=scheme, values=to_struct(values or {}), settings=settings
            )
        )
        page: page_pb.ConnectPage = await call
        self.cookie = str(dict(await call.initial_metadata()).get("set-cookie", ""))
        return page


@pytest.fixture
def desk(auth: Auth) -> Auth:
    """Auth, with an integration that has an API key and a password."""
    auth.catalog.definitions["desk"] = a_definition("desk", API_KEY, BASIC)
    return auth


async def a_link(auth: Auth, workspace: str = "acme", **fields: Any) -> pb.ConnectLink:
    stub = await auth.as_member(ConnectLinkServiceStub, workspace)
    request = pb.CreateConnectLinkRequest(parent=f"workspaces/{workspace}", integration="integrations/desk", **fields)
    link: pb.ConnectLink = await stub.CreateConnectLink(request)
    return link


async def now(auth: Auth, link: pb.ConnectLink) -> pb.ConnectLink:
    stub = await auth.as_member(ConnectLinkServiceStub)
    found: pb.ConnectLink = await stub.GetConnectLink(pb.GetConnectLinkRequest(name=link.name))
    return found


async def test_a_link_connects_once_without_a_token(desk: Auth) -> None:
    link = await a_link(desk, connection_id="desk-one", display_name="Support", environment="staging")
    visitor = Visitor(desk, link)
    page = await visitor.submit("key", KEY)
    assert (page.state, page.connection) == (
        page_pb.ConnectPage.STATE_CONNECTED,
        "workspaces/acme/connections/desk-one",
    )
    found = await now(desk, link)
    assert (found.state, found.connection, found.environment) == (CONNECTED, page.connection, "staging")
    assert (await desk.lease()).generation == 1
    assert await refused(visitor.submit("key", KEY)) == STATE_CONFLICT
    assert (await visitor.open()).state == page_pb.ConnectPage.STATE_CONNECTED


async def test_of_the_key_only_a_hash_is_kept_and_it_is_told_once(desk: Auth) -> None:
    link = await a_link(desk)
    visitor = Visitor(desk, link)
    assert link.url == f"{PUBLIC_URL}/connect/{visitor.id}#{visitor.key}"
    assert len(visitor.key) == 43
    assert (await now(desk, link)).url == ""
    stored = await desk.sql("SELECT row_to_json(connect_link)::text AS text FROM connect_link")
    assert visitor.key not in stored[0]["text"]
    life = await desk.sql("SELECT extract(epoch FROM expire_time - create_time)::int AS seconds FROM connect_link")
    assert life[0]["seconds"] == 1800


async def test_whoever_has_not_the_key_hears_the_same_of_every_id(desk: Auth) -> None:
    visitor, other = Visitor(desk, await a_link(desk)), Visitor(desk, await a_link(desk))
    for link, key in (
        (visitor.id, other.key), (visitor.id, "x"), ("0" * 26, visitor.key), ("\x00" * 26, visitor.key),
        (visitor.id + "\x00", visitor.key), ("' OR 1=1 --", visitor.key), (visitor.id.upper(), visitor.key),
    ):  # fmt: skip
        assert await refused(visitor.open(link=link, key=key)) == NOT_FOUND
    await desk.sql("UPDATE connect_link SET expire_time = now() - interval '1 ms'")
    assert await refused(visitor.open()) == NOT_FOUND
    assert await refused(visitor.submit("key", KEY)) == NOT_FOUND


async def test_a_link_that_nobody_used_ends(desk: Auth) -> None:
    link = await a_link(desk)
    assert (await now(desk, link)).state == PENDING
    await desk.sql("UPDATE connect_link SET expire_time = now() - interval '1 ms'")
    assert (await now(desk, link)).state == EXPIRED


async def test_wrong_values_can_be_given_again(desk: Auth) -> None:
    link = await a_link(desk)
    visitor = Visitor(desk, link)
    wrong = visitor.submit("basic", {"username": "a:b", "password": "x"})
    assert await refused(wrong) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["values.username"])
    assert (await visitor.open()).state == page_pb.ConnectPage.STATE_OPEN
    await visitor.submit("basic", {"username": "ada", "password": "x"})
    assert (await now(desk, link)).state == CONNECTED


async def test_a_link_offers_what_it_was_made_for_and_nothing_else(desk: Auth) -> None:
    visitor = Visitor(desk, await a_link(desk, auth_schemes=["basic"]))
    for scheme in ("key", "nothing", ""):
        found = await refused(visitor.submit(scheme, KEY))
        assert found == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["auth_scheme"])
    assert await refused(a_link(desk, auth_schemes=["nothing"])) == NOT_FOUND


async def test_a_person_is_asked_for_the_variables_that_are_missing(desk: Auth) -> None:
    variables = [
        definition.ConfigVariable(name="region", title="Region", required=True),
        definition.ConfigVariable(name="shared_secret", required=True, secret=True),
        definition.ConfigVariable(name="tier", required=True),
    ]
    desk.catalog.definitions["desk"] = a_definition("desk", API_KEY, config_variables=variables)
    visitor = Visitor(desk, await a_link(desk, configuration={"tier": "gold"}))
    missing = await refused(visitor.submit("key", KEY))
    assert missing[2] == ["configuration.region", "secret_configuration.shared_secret"]
    # What the link says is not the person's to change.
    assert (await refused(visitor.submit("key", KEY, tier="lead")))[2] == ["settings.tier"]
    await visitor.submit("key", KEY, region="eu", shared_secret="s" * 20)
    rows = await desk.sql("SELECT configuration FROM connection")
    assert json.loads(rows[0]["configuration"]) == {"region": "eu", "tier": "gold"}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"origin": "https://app.example/path"}, ["origin"]),
        ({"origin": "https://app.example; script-src *"}, ["origin"]),
        ({"return_url": "javascript:alert(1)"}, ["return_url"]),
        ({"connection_id": "Not An Id", "environment": "\x00"}, ["environment", "connection_id"]),
        ({"scopes": ["read"]}, ["scopes"]),
        ({"configuration": {"nothing": "x"}}, ["configuration.nothing"]),
    ],
)
async def test_a_link_that_is_wrong_is_not_made(desk: Auth, fields: dict[str, Any], wrong: list[str]) -> None:
    assert await refused(a_link(desk, **fields)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", wrong)


async def test_the_page_can_be_framed_by_the_declared_origin_alone(desk: Auth) -> None:
    declared = Visitor(desk, await a_link(desk, origin="https://app.example:8443"))
    for link, ancestors in (
        (declared.id, "https://app.example:8443"),
        (Visitor(desk, await a_link(desk)).id, "'none'"),
        ("no-such-link", "'none'"),
    ):
        call = declared.stub.ShowConnectPage(page_pb.ShowConnectPageRequest(link=link))
        body, headers = await call, dict(await call.initial_metadata())
        policy = str(headers["content-security-policy"]).split("; ")
        assert f"frame-ancestors {ancestors}" in policy
        assert {"default-src 'none'", "script-src 'self'", "form-action 'none'", "trusted-types 'none'"} <= set(policy)
        # It holds nothing of the link.
        assert declared.id not in body.data.decode()
    asset = declared.stub.GetConnectAsset(page_pb.GetConnectAssetRequest(asset="../settings.py"))
    assert await refused(asset) == NOT_FOUND


async def test_the_files_of_the_page_are_small_and_keep_for_ever(desk: Auth) -> None:
    visitor = Visitor(desk, await a_link(desk))
    page = await visitor.stub.ShowConnectPage(page_pb.ShowConnectPageRequest(link=visitor.id))
    names = re.findall(r"/connect/assets/([^\"]+)", page.data.decode())
    assert len(names) == 2
    for name in names:
        call = visitor.stub.GetConnectAsset(page_pb.GetConnectAssetRequest(asset=name))
        file, headers = await call, dict(await call.initial_metadata())
        assert headers["content-encoding"] == "gzip"
        assert "immutable" in str(headers["cache-control"])
        assert len(file.data) < 15_000
        assert hashlib.sha256(gzip.decompress(file.data)).hexdigest().startswith(name.split(".")[1])


async def test_consent_is_bound_to_the_browser_and_the_page_goes_on(auth: Auth, vendor: sandbox.Vendor) -> None:
    link = await a_link(auth, connection_id="desk-one")
    visitor = Visitor(auth, link)
    first = await visitor.submit("oauth")
    assert first.state == page_pb.ConnectPage.STATE_WAITING
    # Another browser brings no cookie.
    stolen = await auth.call_back(**await consented(first.authorization_url))
    assert "sk_" not in stolen
    assert (await now(auth, link)).error == "browser"
    page = await visitor.submit("oauth")
    request = connect_pb.HandleCallbackRequest(**await consented(page.authorization_url))
    cookie = visitor.cookie.partition(";")[0]
    stub = ConnectServiceStub(auth.served.channel("envoy"))
    body = await stub.HandleCallback(request, metadata=(("cookie", cookie),))
    assert f'content="0;url=/connect/{visitor.id}"' in body.data.decode()
    assert (await now(auth, link)).state == CONNECTED
    assert "authorization_url" not in str(await visitor.open())
    for word in ("__Host-cordboard-connect=", "HttpOnly", "Secure", "SameSite=Lax"):
        assert word in visitor.cookie


async def test_without_uqi_the_page_says_so(desk: Auth) -> None:
    visitor = Visitor(desk, await a_link(desk))
    assert await refused(visitor.open(brief=False)) == UNAVAILABLE


async def test_a_link_and_what_came_of_it_are_in_the_journal_as_its_makers(desk: Auth) -> None:
    visitor = Visitor(desk, await a_link(desk))
    await visitor.submit("key", KEY)
    query = "SELECT body::json->>'action' AS action, body::json->>'actor' AS actor FROM audit_entry ORDER BY sequence"
    rows = [row for row in await desk.sql(query) if row["action"].startswith("auth.connect")]
    assert [row["action"] for row in rows] == [
        "auth.connect-link.create", "auth.connect-session.create", "auth.connection.create"
    ]  # fmt: skip
    assert len({row["actor"] for row in rows}) == 1
