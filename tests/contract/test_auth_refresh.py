"""Refreshing: once, whoever asks, and never over what is newer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cordboard import sandbox
from cordboard.auth import refresh
from cordboard.auth.oauth import TokenEndpoints
from cordboard.auth.refresh import Refresher
from cordboard.auth.store import connections as rows
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.common.v1 import options_pb2 as roles
from cordboard.sandbox.grants import Client, Issued
from tests.fixtures.auth import (
    NOT_FOUND,
    RECONNECT,
    REDIRECT_URI,
    UNAVAILABLE,
    Auth,
    a_definition,
    an_oauth_scheme,
    refused,
    until,
)
from tests.fixtures.serving import Served

NAME = "workspaces/acme/connections/desk-one"


@pytest.fixture
async def replicas(auth: Auth) -> AsyncIterator[list[Served]]:
    """Four processes' worth of Auth on one database."""
    async with contextlib.AsyncExitStack() as stack:
        more = [await stack.enter_async_context(auth.replica()) for _ in range(3)]
        yield [auth.served, *more]


def oauth(vendor: sandbox.Vendor) -> dict[str, int]:
    counts: dict[str, int] = vendor.stats(last=0)["oauth"]
    return counts


def token_requests(vendor: sandbox.Vendor) -> int:
    return sum(request["path"] == "/oauth/token" for request in vendor.stats(last=100)["recent"])


async def storm(auth: Auth, replicas: list[Served], calls: int) -> list[Any]:
    """Leases the same connection from every replica at once."""
    stubs = [auth.proxy(replica) for replica in replicas]
    request = pb.LeaseCredentialRequest(connection=NAME)
    # Each channel stands before the storm begins.
    await asyncio.gather(*(stub.LeaseCredential(request) for stub in stubs))
    await auth.age(-1)
    return await asyncio.gather(
        *(stubs[index % len(stubs)].LeaseCredential(request) for index in range(calls)), return_exceptions=True
    )


async def test_200_leases_of_an_expired_token_in_four_replicas_make_one_refresh(
    auth: Auth, vendor: sandbox.Vendor, replicas: list[Served]
) -> None:
    await auth.connect()
    answers = await storm(auth, replicas, 200)
    assert {answer.generation for answer in answers} == {2}
    assert {vendor.grants.access(answer.access_token) is not None for answer in answers} == {True}
    assert oauth(vendor)["refreshes"] == 1
    assert oauth(vendor)["reuses"] == 0


async def test_without_the_lease_the_storm_breaks_the_grant(
    auth: Auth, vendor: sandbox.Vendor, replicas: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control of the storm: what makes it one refresh is the lease between processes.
    async def always(*_: Any, **__: Any) -> bool:
        return True

    monkeypatch.setattr(rows, "take_lease", always)
    await auth.connect()
    vendor.faults.put(sandbox.Fault(latency_ms=50, path="/oauth/token"))
    await storm(auth, replicas, 200)
    assert oauth(vendor)["reuses"] > 0


async def test_without_the_shared_task_one_process_asks_its_database_again_and_again(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    claim = Refresher._claim

    async def counted(self: Refresher, *args: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        return await claim(self, *args, **named)

    monkeypatch.setattr(Refresher, "_claim", counted)
    await auth.connect()
    vendor.faults.put(sandbox.Fault(latency_ms=500, path="/oauth/token"))
    await storm(auth, [auth.served], 100)
    # Whoever read the row before the refresh and asks after it begins one that finds nothing left to do.
    assert asked < 50
    # The control: each call for itself. None goes on before fifty have read the row, however slow the machine is.
    asked = arrived = 0
    crowd = asyncio.Event()

    async def alone(self: Refresher, held: Any, forced: bool) -> Any:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            crowd.set()
        await crowd.wait()
        return await self._refresh(held, forced=forced)

    monkeypatch.setattr(
        Refresher, "start", lambda self, held, forced=False: asyncio.ensure_future(alone(self, held, forced))
    )
    answers = await storm(auth, [auth.served], 100)
    assert asked >= 50
    assert {answer.generation for answer in answers} == {3}


async def test_twenty_refreshes_in_a_row_each_use_the_token_before(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    for generation in range(2, 22):
        await auth.age(-1)
        leased = await auth.lease()
        assert leased.generation == generation
        assert vendor.grants.access(leased.access_token) is not None
    assert oauth(vendor) == {"grants": 1, "refreshes": 20, "revocations": 0, "reuses": 0}


async def test_a_young_token_is_leased_until_it_is_time_to_refresh_it(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    leased = await auth.lease()
    row = (await auth.sql("SELECT expire_time, refresh_time, update_time FROM connection"))[0]
    assert leased.expire_time.ToDatetime(row["refresh_time"].tzinfo) == row["refresh_time"]
    life = (row["expire_time"] - row["update_time"]).total_seconds()
    early = (row["refresh_time"] - row["update_time"]).total_seconds()
    assert abs(life - vendor.settings.access_token_seconds) < 2
    assert 0.7 * life < early < 0.9 * life
    assert oauth(vendor)["refreshes"] == 0


async def test_a_token_that_still_lives_is_given_at_once_and_renewed_meanwhile(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    await auth.connect()
    await auth.age(300)
    vendor.faults.put(sandbox.Fault(latency_ms=500, path="/oauth/token"))
    assert (await auth.lease()).generation == 1
    await until(lambda: generation_is(auth, 2))
    assert oauth(vendor)["refreshes"] == 1


async def generation_is(auth: Auth, generation: int) -> bool:
    return bool((await auth.sql("SELECT generation FROM connection"))[0]["generation"] == generation)


async def test_a_grant_that_is_over_asks_for_a_person_and_is_not_asked_about_again(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    await auth.connect()
    vendor.grants.revoke_all()
    await auth.age(-1)
    for _ in range(5):
        assert await refused(auth.lease()) == RECONNECT
    assert token_requests(vendor) == 2  # the code, and one try to refresh
    stub = await auth.as_member(ConnectionServiceStub)
    shown = await stub.GetConnection(connection_pb.GetConnectionRequest(name=NAME))
    assert shown.state == connection_pb.Connection.STATE_RECONNECT_REQUIRED
    # A person connects again, and everything is well.
    await auth.connect()
    assert (await auth.lease()).generation == 2


@pytest.mark.parametrize(
    "fault",
    [
        sandbox.Fault(status=500, path="/oauth/token"),
        sandbox.Fault(status=429, retry_after=2, path="/oauth/token"),
        sandbox.Fault(cut_connections=True, path="/oauth/token"),
    ],
    ids=["500", "429", "cut"],
)
async def test_while_nobody_knows_the_old_token_is_served_and_the_vendor_is_left_alone(
    auth: Auth, vendor: sandbox.Vendor, fault: sandbox.Fault
) -> None:
    await auth.connect()
    await auth.age(5)
    await auth.sql("UPDATE connection SET refresh_time = now() - interval '60 s'")
    vendor.faults.put(fault)
    leases = [await auth.lease()]
    (waits,) = await auth.sql("SELECT retry_time > now() - interval '10 s' AS told FROM connection")
    assert waits["told"]
    # However slow this machine is, the pause is not over before the others come.
    await auth.sql("UPDATE connection SET retry_time = now() + interval '30 s'")
    leases += [await auth.lease() for _ in range(19)]
    assert {leased.generation for leased in leases} == {1}
    assert token_requests(vendor) == 2  # the code, and one try to refresh
    # When it has expired there is nothing to serve, and the answer says when to ask again.
    await auth.sql("UPDATE connection SET expire_time = now(), retry_time = now() + interval '30 s'")
    assert await refused(auth.lease()) == UNAVAILABLE
    # When the vendor is back, so are we; nobody had to connect again.
    vendor.faults.clear()
    await auth.sql("UPDATE connection SET retry_time = now()")
    if not fault.cut_connections:
        assert (await auth.lease()).generation == 2


async def test_each_failure_makes_the_pause_longer_up_to_five_minutes(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    vendor.faults.put(sandbox.Fault(status=503, path="/oauth/token"))
    pauses = []
    for _ in range(12):
        await auth.sql("UPDATE connection SET expire_time = now(), refresh_time = now(), retry_time = now()")
        assert await refused(auth.lease()) == UNAVAILABLE
        found = await auth.sql("SELECT extract(epoch FROM retry_time - now())::float8 AS pause FROM connection")
        pauses.append(found[0]["pause"])
    assert 0 < pauses[0] <= 1
    assert 140 < pauses[-1] <= 300
    assert all(pause <= min(2**index, 300) for index, pause in enumerate(pauses))


async def test_a_failed_refresh_is_found_among_failures_with_what_the_vendor_said(
    auth: Auth, vendor: sandbox.Vendor, spans: InMemorySpanExporter
) -> None:
    await auth.connect()
    vendor.faults.put(sandbox.Fault(status=503, path="/oauth/token"))
    await auth.sql("UPDATE connection SET expire_time = now(), refresh_time = now(), retry_time = now()")
    assert await refused(auth.lease()) == UNAVAILABLE
    tried = {span.name: span for span in spans.get_finished_spans()}
    asked = tried["oauth refresh"]
    assert asked.status.status_code is StatusCode.ERROR
    assert asked.attributes is not None
    assert asked.attributes["http.response.status_code"] == 503
    host, port = asked.attributes["server.address"], asked.attributes["server.port"]
    assert vendor.url == f"http://{host!s}:{port!s}"
    assert tried["refresh"].status.status_code is StatusCode.ERROR
    assert (tried["refresh"].attributes or {})["cordboard.refresh.problem"] == "http_503"
    # One that waits for its time says so, and does not stand among the failures: it would hide the one before.
    spans.clear()
    await auth.sql("UPDATE connection SET retry_time = now() + interval '1 hour'")
    assert await refused(report(auth, 1)) == UNAVAILABLE
    waited = [span for span in spans.get_finished_spans() if span.name == "refresh"]
    assert [(span.attributes or {}).get("cordboard.refresh.problem") for span in waited] == ["waiting"]
    assert waited[0].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("grace", "longest"), [(30, 15), (0, 300)])
async def test_a_lost_answer_is_asked_for_again_while_a_used_token_still_works(
    auth: Auth, vendor: sandbox.Vendor, grace: int, longest: int
) -> None:
    """The control: without a grace the pause is as long as so many failures make it."""
    scheme = an_oauth_scheme(vendor.url, refresh_grace=Duration(seconds=grace))
    auth.catalog.definitions["graced"] = a_definition("graced", scheme)
    await auth.set_client(vendor, "graced")
    await auth.connect(slug="graced")
    await auth.age(-1)
    await auth.sql("UPDATE connection SET failures = 12")
    vendor.faults.put(sandbox.Fault(cut_connections=True, after_work=True, path="/oauth/token", times=1))
    assert await refused(auth.lease()) == UNAVAILABLE
    found = await auth.sql("SELECT extract(epoch FROM retry_time - now())::float8 AS pause FROM connection")
    assert longest / 2 - 5 < found[0]["pause"] <= longest


async def test_the_deadline_of_a_caller_does_not_end_the_refresh_for_the_others(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    await auth.connect()
    await auth.age(-1)
    vendor.faults.put(sandbox.Fault(latency_ms=700, path="/oauth/token"))
    stub, request = auth.proxy(), pb.LeaseCredentialRequest(connection=NAME)
    hurried = [asyncio.ensure_future(stub.LeaseCredential(request, timeout=0.2)) for _ in range(20)]
    patient = [asyncio.ensure_future(stub.LeaseCredential(request, timeout=40)) for _ in range(5)]
    ended = await asyncio.gather(*hurried, return_exceptions=True)
    codes = {error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert {(await call).generation for call in patient} == {2}
    assert oauth(vendor)["refreshes"] == 1


async def test_who_lost_its_lease_does_not_overwrite_what_is_newer(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the leader had been stopped for longer than its lease: a person connects again before its answer is written.
    await auth.connect()
    await auth.age(-1)
    gate = held_back(monkeypatch)
    slow = asyncio.ensure_future(auth.lease())
    await until(lambda: leased_out(auth))
    again = await auth.connect()
    assert again.credential_generation == 2
    current = await auth.sql("SELECT sealed FROM credential ORDER BY field")
    gate.set()
    assert (await slow).generation == 2
    assert await auth.sql("SELECT sealed FROM credential ORDER BY field") == current
    assert vendor.grants.access((await auth.lease()).access_token) is not None


@pytest.mark.usefixtures("vendor")
async def test_without_comparing_the_generation_it_would_overwrite(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    # The control: the same race, with the comparison taken out.
    advance = rows.advance

    async def blind(connection: Any, workspace: str, connection_id: str, generation: int, *rest: Any) -> bool:
        found = await rows.connection(connection, workspace, connection_id)
        return found is not None and await advance(connection, workspace, connection_id, found.generation, *rest)

    monkeypatch.setattr(rows, "advance", blind)
    await auth.connect()
    await auth.age(-1)
    gate = held_back(monkeypatch)
    slow = asyncio.ensure_future(auth.lease())
    await until(lambda: leased_out(auth))
    await auth.connect()
    current = await auth.sql("SELECT sealed FROM credential ORDER BY field")
    gate.set()
    await asyncio.wait([slow])
    assert await auth.sql("SELECT sealed FROM credential ORDER BY field") != current


def held_back(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Keeps the answers of token endpoints from whoever refreshes, until the event is set."""
    gate, ask = asyncio.Event(), TokenEndpoints.refresh

    async def held(self: TokenEndpoints, *args: Any) -> Any:
        answer = await ask(self, *args)
        await gate.wait()
        return answer

    monkeypatch.setattr(TokenEndpoints, "refresh", held)
    return gate


async def leased_out(auth: Auth) -> bool:
    return bool((await auth.sql("SELECT lease_owner FROM connection"))[0]["lease_owner"])


async def test_a_connection_deleted_while_it_is_refreshed_stays_deleted(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await auth.connect()
    await auth.age(-1)
    gate = held_back(monkeypatch)
    slow = asyncio.ensure_future(auth.lease())
    await until(lambda: leased_out(auth))
    stub = await auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    await stub.DeleteConnection(connection_pb.DeleteConnectionRequest(name=NAME))
    gate.set()
    assert await refused(slow) == NOT_FOUND
    assert await auth.sql("SELECT * FROM connection") == []
    assert await auth.sql("SELECT * FROM credential") == []
    # What the vendor gave meanwhile is revoked too.
    await until(lambda: nothing_to_revoke(auth))
    assert all(not token.grant.alive for token in vendor.grants._refresh.values())
    # Both tokens of the generation that was there, and both of the one that came too late.
    assert oauth(vendor)["revocations"] == 4


async def nothing_to_revoke(auth: Auth) -> bool:
    return not await auth.sql("SELECT * FROM revocation")


async def test_a_lease_that_was_never_given_back_is_taken_over_when_it_ends(auth: Auth, vendor: sandbox.Vendor) -> None:
    # As after kill -9 of the leader.
    await auth.connect()
    await auth.age(-1)
    await auth.sql("UPDATE connection SET lease_owner = 'dead', lease_until = now() + interval '1 s'")
    assert (await auth.lease()).generation == 2
    assert oauth(vendor)["refreshes"] == 1


async def slowest_read(auth: Auth, vendor: sandbox.Vendor, seconds: float) -> float:
    """Returns how long the slowest of unrelated reads took while a vendor took so many seconds to refresh 24 tokens."""
    names = [f"desk-{index:02}" for index in range(24)]
    for name in names:
        await auth.connect(connection_id=name)
        await auth.age(-1, name)
    vendor.faults.put(sandbox.Fault(latency_ms=round(seconds * 1000), path="/oauth/token"))
    leases = asyncio.gather(*(auth.lease(name) for name in names), return_exceptions=True)
    stub = await auth.as_member(ConnectionServiceStub)
    slowest, loop = 0.0, asyncio.get_running_loop()
    while not leases.done():
        began = loop.time()
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.ListConnections(connection_pb.ListConnectionsRequest(parent="workspaces/acme"))
        slowest = max(slowest, loop.time() - began)
        await asyncio.sleep(0.02)
    return slowest


async def test_a_slow_vendor_does_not_hold_the_database(auth: Auth, vendor: sandbox.Vendor) -> None:
    assert await slowest_read(auth, vendor, 5.0) < 4.0
    assert oauth(vendor)["refreshes"] == 24


async def test_a_connection_held_during_the_request_would_hold_everybody(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control of the test above.
    database, ask = auth.served.process.database(), TokenEndpoints.refresh

    async def holding(self: TokenEndpoints, *args: Any) -> Any:
        async with database.shared() as connection:
            await connection.exec_driver_sql("SELECT 1")
            return await ask(self, *args)

    monkeypatch.setattr(TokenEndpoints, "refresh", holding)
    assert await slowest_read(auth, vendor, 5.0) > 4.0


async def test_a_vendor_that_forgives_a_second_use_needs_no_person_after_an_answer_was_lost(
    auth: Auth, vendor: sandbox.Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed = vendor.grants.refresh

    def forgiven(client: Client, token: str, *, scope: str | None) -> Issued:
        # As within a grace window: a token that was used still works.
        vendor.grants._refresh[token].used = False
        return refreshed(client, token, scope=scope)

    monkeypatch.setattr(vendor.grants, "refresh", forgiven)
    await auth.connect()
    await auth.age(-1)
    lost = sandbox.Fault(cut_connections=True, after_work=True, path="/oauth/token", times=1)
    vendor.faults.put(lost)
    assert await refused(auth.lease()) == UNAVAILABLE
    assert oauth(vendor)["refreshes"] == 1
    await auth.sql("UPDATE connection SET retry_time = NULL")
    leased = await auth.lease()
    assert leased.generation == 2
    assert vendor.grants.access(leased.access_token) is not None
    # The control: where it is not forgiven, a person is needed.
    monkeypatch.undo()
    await auth.age(-1)
    vendor.faults.put(lost)
    assert await refused(auth.lease()) == UNAVAILABLE
    await auth.sql("UPDATE connection SET retry_time = NULL")
    assert await refused(auth.lease()) == RECONNECT


async def test_a_token_without_a_refresh_token_ends_with_its_time(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    await auth.sql("UPDATE connection SET refreshable = false")
    await auth.sql("DELETE FROM credential WHERE field = 'refresh_token'")
    await auth.age(5)
    leased = await auth.lease()
    row = (await auth.sql("SELECT expire_time FROM connection"))[0]
    assert leased.expire_time.ToDatetime(row["expire_time"].tzinfo) == row["expire_time"]
    await auth.age(-1)
    assert await refused(auth.lease()) == RECONNECT
    assert (await auth.sql("SELECT problem FROM connection"))[0]["problem"] == "expired"
    assert oauth(vendor)["refreshes"] == 0


# --- reports -----------------------------------------------------------------------------------------------------


async def report(auth: Auth, generation: int, name: str = NAME) -> pb.ReportCredentialResponse:
    request = pb.ReportCredentialRequest(connection=name, generation=generation)
    answer: pb.ReportCredentialResponse = await auth.proxy().ReportCredential(request)
    return answer


async def test_a_refused_token_is_refreshed_before_its_time(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    vendor.grants.expire_access()
    answers = await asyncio.gather(*(report(auth, 1) for _ in range(50)))
    assert {answer.generation for answer in answers} == {2}
    assert oauth(vendor)["refreshes"] == 1
    assert vendor.grants.access((await auth.lease()).access_token) is not None


async def test_a_report_about_an_older_generation_refreshes_nothing(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    await auth.connect()
    answer = await report(auth, 1)
    assert (answer.generation, answer.state) == (2, connection_pb.Connection.STATE_READY)
    assert (await report(auth, 9)).generation == 2
    assert oauth(vendor)["refreshes"] == 0


async def test_a_vendor_that_refuses_every_token_is_not_asked_without_end(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    generation, began = 1, time.monotonic()
    for _ in range(40):
        generation = (await report(auth, generation)).generation
    later = math.ceil((time.monotonic() - began) / refresh.FORCED_SPACING)
    assert refresh.FORCED_BURST <= oauth(vendor)["refreshes"] <= refresh.FORCED_BURST + later < 40


async def test_while_the_token_endpoint_is_away_no_report_asks_to_connect_again(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    await auth.connect()
    vendor.faults.put(sandbox.Fault(status=503, path="/oauth/token"))
    for _ in range(2 * refresh.FORCED_BURST):
        await auth.sql("UPDATE connection SET retry_time = now()")
        assert await refused(report(auth, 1)) == UNAVAILABLE
    vendor.faults.clear()
    await auth.sql("UPDATE connection SET retry_time = now(), forced_until = NULL")
    assert (await report(auth, 1)).generation == 2


async def test_a_report_about_a_grant_that_is_over_says_so(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    vendor.grants.revoke_all()
    answer = await report(auth, 1)
    assert (answer.generation, answer.state) == (1, connection_pb.Connection.STATE_RECONNECT_REQUIRED)


async def test_a_typed_key_cannot_be_refreshed(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    answer = await report(auth, 1, "workspaces/acme/connections/typed")
    assert (answer.generation, answer.state) == (1, connection_pb.Connection.STATE_READY)


async def test_a_refresh_survives_a_definition_that_went_away(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    await auth.age(-1)
    auth.catalog.away = True
    assert (await auth.lease()).generation == 2
    async with auth.replica() as fresh:
        await auth.age(-1)
        assert await refused(auth.lease(at=fresh)) == UNAVAILABLE
    assert (await auth.sql("SELECT state FROM connection"))[0]["state"] == "ready"


async def test_a_rotating_clients_secret_is_read_anew(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    vendor.grants.register(Client(vendor.settings.client_id, "another", (REDIRECT_URI,), "Cordboard"))
    await auth.age(-1)
    assert await refused(auth.lease()) == UNAVAILABLE
    await auth.operator(ConnectServiceStub).SetOAuthClient(
        connect_pb.SetOAuthClientRequest(
            name="integrations/desk/oauthClient", client_id=vendor.settings.client_id, client_secret="another"
        )
    )
    await auth.sql("UPDATE connection SET retry_time = NULL")
    assert (await auth.lease()).generation == 2


async def test_scopes_that_shrink_with_a_refresh_are_shown(auth: Auth, vendor: sandbox.Vendor) -> None:
    auth.catalog.definitions["desk"] = a_definition("desk", an_oauth_scheme(vendor.url))
    made = await auth.connect()
    await auth.sql("UPDATE connection SET scopes = '{more}'")
    await auth.age(-1)
    assert list((await auth.lease()).connection.scopes) == list(made.scopes)
