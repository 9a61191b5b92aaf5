"""Connections: shown, listed, watched and removed, over the real server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest

from cordboard import sandbox
from cordboard.auth import revocations
from cordboard.auth.connections import Connections
from cordboard.auth.store import connections as rows
from cordboard.auth.v1 import connection_service_pb2 as pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.common.v1 import options_pb2 as roles
from tests.fixtures.auth import BOUND, NOT_FOUND, Auth, a_definition, an_oauth_scheme, refused, until
from tests.fixtures.serving import Served

NAME = "workspaces/acme/connections/desk-one"


async def get(auth: Auth, name: str = NAME, *, at: Served | None = None) -> Any:
    workspace = name.split("/")[1]
    stub = ConnectionServiceStub((at or auth.served).channel("envoy", await auth.token(workspace)))
    return await stub.GetConnection(pb.GetConnectionRequest(name=name))


async def delete(auth: Auth, name: str = NAME) -> None:
    stub = await auth.as_member(ConnectionServiceStub, name.split("/")[1], roles.ROLE_WORKSPACE_ADMIN)
    await stub.DeleteConnection(pb.DeleteConnectionRequest(name=name))


async def test_a_connection_is_shown_without_any_secret(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "canary-77"}, auth_scheme="key", connection_id="desk-one", display_name="Support")
    shown = await get(auth)
    assert "canary-77" not in str(shown)
    assert (shown.display_name, shown.auth_scheme, shown.environment) == ("Support", "key", "production")


async def test_another_workspaces_connection_is_not_there(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("evil")
    await auth.type_in({}, auth_scheme="open", connection_id="desk-one")
    await get(auth)  # it is in the cache now
    stub = await auth.as_member(ConnectionServiceStub, "evil", roles.ROLE_WORKSPACE_ADMIN)
    for name in (NAME, NAME.replace("acme", "evil"), "workspaces/acme/connections/nothing"):
        assert await refused(stub.GetConnection(pb.GetConnectionRequest(name=name))) == NOT_FOUND
        assert await refused(stub.DeleteConnection(pb.DeleteConnectionRequest(name=name))) == NOT_FOUND
    listed = await stub.ListConnections(pb.ListConnectionsRequest(parent="workspaces/evil"))
    assert list(listed.connections) == []
    assert await refused(stub.ListConnections(pb.ListConnectionsRequest(parent="workspaces/acme"))) == NOT_FOUND


async def test_the_same_id_in_two_workspaces_is_two_connections(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("other")
    for workspace, key in (("acme", "k-acme"), ("other", "k-other")):
        await auth.type_in({"api_key": key}, workspace, auth_scheme="key", connection_id="same")
    for _ in range(2):  # from the database, and from the cache
        for workspace in ("acme", "other"):
            name = f"workspaces/{workspace}/connections/same"
            assert (await get(auth, name)).name == name
    assert (await auth.lease("same", "acme")).api_key == "k-acme"
    assert (await auth.lease("same", "other")).api_key == "k-other"


async def test_a_list_is_paged_filtered_and_bound_to_its_filter(auth: Auth, vendor: sandbox.Vendor) -> None:
    auth.catalog.definitions["other"] = a_definition("other")
    for index in range(7):
        await auth.type_in({}, auth_scheme="open", connection_id=f"desk-{index}")
        await auth.type_in({}, slug="other", connection_id=f"other-{index}")
    stub = await auth.as_member(ConnectionServiceStub)

    async def page(token: str = "", integration: str = "integrations/desk") -> Any:
        return await stub.ListConnections(
            pb.ListConnectionsRequest(parent="workspaces/acme", page_size=3, page_token=token, integration=integration)
        )

    names: list[str] = []
    token = ""
    while True:
        found = await page(token)
        names += [connection.name.rsplit("/", 1)[1] for connection in found.connections]
        token = found.next_page_token
        if not token:
            break
    assert names == [f"desk-{index}" for index in range(7)]
    first = (await page()).next_page_token
    assert (await refused(page(first, "integrations/other")))[2] == ["page_token"]
    assert (await refused(page("", "desk")))[2] == ["integration"]


async def test_a_change_is_seen_by_every_replica(auth: Auth, vendor: sandbox.Vendor) -> None:
    async with auth.replica() as other:
        await auth.connect()
        assert (await get(auth, at=other)).credential_generation == 1
        await auth.connect()
        assert (await get(auth)).credential_generation == 2

        async def newer() -> bool:
            return bool((await get(auth, at=other)).credential_generation == 2)

        await until(newer)
        await delete(auth)
        assert await refused(get(auth)) == NOT_FOUND

        async def gone() -> bool:
            try:
                await get(auth, at=other)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.NOT_FOUND
            return False

        await until(gone)


async def test_a_cache_that_is_not_told_would_go_on_showing_what_was(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: it is the following of changes that makes the other replica see them.
    async def deaf(_self: Connections) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Connections, "follow", deaf)
    async with auth.replica() as other:
        await auth.connect()
        assert (await get(auth, at=other)).credential_generation == 1
        await auth.connect()
        assert (await get(auth)).credential_generation == 2
        assert (await get(auth, at=other)).credential_generation == 1


async def test_a_read_that_a_change_overtook_is_not_kept(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await auth.connect()
    read, forget = rows.connection, Connections.forget
    begun, go_on = asyncio.Event(), asyncio.Event()
    told: set[int] = set()

    async def slow(*args: Any) -> Any:
        found = await read(*args)
        begun.set()
        await go_on.wait()
        return found

    def noted(self: Connections, *args: str) -> None:
        forget(self, *args)
        told.add(id(self))

    async def both_told() -> bool:
        return len(told) == 2

    async with auth.replica() as other:
        monkeypatch.setattr(rows, "connection", slow)
        reading = asyncio.ensure_future(get(auth, at=other))
        await begun.wait()
        monkeypatch.setattr(rows, "connection", read)
        monkeypatch.setattr(Connections, "forget", noted)
        assert (await auth.connect()).credential_generation == 2
        await until(both_told)
        go_on.set()
        assert (await reading).credential_generation == 1
        assert (await get(auth, at=other)).credential_generation == 2


# --- deleting ----------------------------------------------------------------------------------------------------


async def test_a_deleted_connection_is_revoked_at_the_vendor(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    leased = await auth.lease()
    await delete(auth)
    assert await refused(auth.lease()) == NOT_FOUND
    assert await auth.sql("SELECT * FROM credential") == []

    async def revoked() -> bool:
        return vendor.grants.access(leased.access_token) is None and not await auth.sql("SELECT * FROM revocation")

    await until(revoked)
    told = await auth.sql(
        "SELECT body::json->>'action' AS action, body::json->>'outcome' AS outcome FROM audit_entry "
        "WHERE workspace_id = 'acme' ORDER BY sequence DESC LIMIT 3"
    )
    assert [tuple(row) for row in told] == [
        ("auth.credential.revoke", "ok"),
        ("auth.credential.revoke", "ok"),
        ("auth.connection.delete", "ok"),
    ]


async def test_a_vendor_that_is_down_is_asked_again_until_it_is_done(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(revocations, "LOOK_EVERY", 0.05)
    await auth.connect()
    leased = await auth.lease()
    vendor.faults.put(sandbox.Fault(status=503, path="/oauth/revoke"))
    await delete(auth)  # which answers at once

    async def tried() -> bool:
        rows = await auth.sql("SELECT attempts FROM revocation")
        return len(rows) == 2 and all(row["attempts"] >= 2 for row in rows)

    await until(tried)
    assert vendor.grants.access(leased.access_token) is not None
    vendor.faults.clear()

    async def revoked() -> bool:
        return not await auth.sql("SELECT * FROM revocation")

    await until(revoked)
    assert vendor.grants.access(leased.access_token) is None


async def test_where_the_definition_knows_no_revocation_the_token_is_just_forgotten(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    auth.catalog.definitions["plain"] = a_definition("plain", an_oauth_scheme(vendor.url, revocation_url=""))
    await auth.set_client(vendor, "plain")
    await auth.connect(slug="plain")
    await delete(auth)

    async def forgotten() -> bool:
        return not await auth.sql("SELECT * FROM revocation")

    await until(forgotten)
    assert vendor.stats(last=0)["oauth"]["revocations"] == 0


async def test_an_id_that_is_used_again_goes_on_with_its_generations(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    await auth.connect()
    await delete(auth)
    assert (await auth.connect()).credential_generation == 3


async def test_only_a_workspace_admin_deletes(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({}, auth_scheme="open", connection_id="desk-one")
    for role in (roles.ROLE_READER, roles.ROLE_MEMBER):
        stub = await auth.as_member(ConnectionServiceStub, "acme", role)
        assert (await refused(stub.DeleteConnection(pb.DeleteConnectionRequest(name=NAME))))[0] == "PERMISSION_DENIED"


# --- watching ----------------------------------------------------------------------------------------------------


async def watched(stub: Any, after: int, count: int) -> list[tuple[int, str, int]]:
    call = stub.WatchConnections(credential_pb.WatchConnectionsRequest(after_sequence=after))
    found = []
    async with asyncio.timeout(BOUND):
        async for change in call:
            found.append((change.sequence, change.connection, change.generation))
            if len(found) == count:
                break
    call.cancel()
    return found


async def test_the_proxy_hears_of_every_change_as_it_is_committed(auth: Auth, vendor: sandbox.Vendor) -> None:
    call = auth.proxy().WatchConnections(credential_pb.WatchConnectionsRequest())
    stands = await asyncio.wait_for(call.read(), BOUND)
    assert (stands.connection, stands.generation) == ("", 0)

    async def heard() -> tuple[str, int]:
        change = await asyncio.wait_for(call.read(), BOUND)
        return change.connection, change.generation

    await auth.connect()
    assert await heard() == (NAME, 1)
    await auth.age(-1)
    await auth.lease()
    assert await heard() == (NAME, 2)
    vendor.grants.revoke_all()
    await auth.age(-1)
    await refused(auth.lease())
    assert await heard() == (NAME, 2)
    await delete(auth)
    assert await heard() == (NAME, 0)
    call.cancel()


async def test_a_stream_that_broke_is_resumed_after_the_last_number(auth: Auth, vendor: sandbox.Vendor) -> None:
    ids = [f"c-{index}" for index in range(5)]
    for each in ids:
        await auth.type_in({}, auth_scheme="open", connection_id=each)
    names = [f"workspaces/acme/connections/{each}" for each in ids]
    whole = await watched(auth.proxy(), 1, 5)
    assert whole == [(1, "", 0), *((index + 2, names[index + 1], 1) for index in range(4))]
    assert await watched(auth.proxy(), 3, 3) == [(3, "", 0), (4, names[3], 1), (5, names[4], 1)]
    # A number of another database: from now on.
    assert await watched(auth.proxy(), 10**9, 1) == [(5, "", 0)]


async def test_no_change_is_missed_under_concurrent_commits(auth: Auth, vendor: sandbox.Vendor) -> None:
    async with auth.replica() as other:
        call = auth.proxy(other).WatchConnections(credential_pb.WatchConnectionsRequest())
        await asyncio.wait_for(call.read(), BOUND)
        ids = [f"c-{index:02}" for index in range(40)]
        await asyncio.gather(*(auth.type_in({}, auth_scheme="open", connection_id=each) for each in ids))
        numbers: list[int] = []
        seen: set[str] = set()
        async with asyncio.timeout(BOUND):
            while len(seen) < len(ids):
                change = await call.read()
                numbers.append(change.sequence)
                seen.add(change.connection.rsplit("/", 1)[1])
        call.cancel()
    assert seen == set(ids)
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("peer", ["envoy", "catalog", "uqi", "flags", "operator"])
async def test_nobody_but_the_proxy_leases_reports_or_watches(auth: Auth, vendor: sandbox.Vendor, peer: str) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="desk-one")
    for token in ("", auth._operator_token):
        stub = CredentialServiceStub(auth.served.channel(peer, token))
        lease = stub.LeaseCredential(credential_pb.LeaseCredentialRequest(connection=NAME))
        report = stub.ReportCredential(credential_pb.ReportCredentialRequest(connection=NAME, generation=1))
        watch = stub.WatchConnections(credential_pb.WatchConnectionsRequest())
        for call in (lease, report, watch.read()):
            assert (await refused(call))[0] == "PERMISSION_DENIED"
        with contextlib.suppress(asyncio.CancelledError):
            watch.cancel()


async def test_every_lease_stands_in_the_journal(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    await asyncio.gather(*(auth.lease() for _ in range(10)))
    rows = await auth.sql(
        "SELECT body::json->>'peer' AS peer FROM audit_entry WHERE body::json->>'action' = 'auth.credential.lease'"
    )
    assert [row["peer"] for row in rows] == ["proxy"] * 10


async def test_what_cannot_be_written_down_is_not_leased(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "canary-88"}, auth_scheme="key", connection_id="desk-one")
    await auth.sql("REVOKE EXECUTE ON FUNCTION auth.audit_append(text, text[]) FROM cordboard_auth")
    assert await refused(auth.lease()) == ("UNAVAILABLE", "AUDIT_UNAVAILABLE", [])
