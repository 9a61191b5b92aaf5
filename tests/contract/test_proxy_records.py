"""The records of calls: written before the answer is given, chained in the journal, and apart for each workspace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import grpc
import pytest
from sqlalchemy import make_url, text

from cordboard.core.audit import Journal, Link, verify
from cordboard.core.database import Database
from cordboard.core.errors import AuditUnavailable, NotFound
from cordboard.local.certificates import Identities
from cordboard.proxy import recorder as recording
from cordboard.proxy.archive import Archive
from cordboard.proxy.calls import CallRecord
from cordboard.proxy.recorder import Recorder, digest
from cordboard.proxy.store import ProxyStore
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import TICKET, Mesh, a_mesh, calls, execute, refusal, until


def a_record(call_id: str = "c1", *, workspace: str = "acme", **fields: Any) -> CallRecord:
    values: dict[str, Any] = {
        "workspace_id": workspace, "id": call_id, "connection": "workspaces/acme/connections/main",
        "integration": "acme-desk", "action": "act", "version": "1.0.0",
        "outcome": int(pb.Call.OUTCOME_OK), "reason": "", "vendor_status": 200, "attempts": 1, "duration_us": 1234,
        "caller": "somebody", "peer": "envoy", "token_id": "t", "trace_id": "0" * 32, "generation": 1,
        "create_time": datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC),
    }  # fmt: skip
    return CallRecord(**values | fields)


@pytest.fixture
async def kept(database: Databases) -> AsyncIterator[ServiceDatabase]:
    yield database("proxy")


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    parts = make_url(url)
    connection = await asyncpg.connect(
        host=parts.host, port=parts.port, user=parts.username, password=parts.password, database=parts.database
    )
    try:
        await connection.execute("SET search_path TO proxy")
        yield connection
    finally:
        await connection.close()


async def sql(kept: ServiceDatabase, statement: str, *values: Any) -> Any:
    async with connected(kept.superuser_url) as connection:
        return await connection.fetch(statement, *values)


@contextlib.asynccontextmanager
async def a_recorder(kept: ServiceDatabase) -> AsyncIterator[tuple[Recorder, ProxyStore]]:
    database = Database(kept.url)
    recorder = Recorder(database, Journal(database))
    recorder.open()
    try:
        yield recorder, ProxyStore(database)
    finally:
        await recorder.close()
        await database.close()


async def test_what_was_recorded_is_read_back_as_it_was(kept: ServiceDatabase) -> None:
    async with a_recorder(kept) as (recorder, store):
        await recorder.record(a_record())
        assert await store.call("acme", "c1") == a_record()
        assert await store.call("globex", "c1") is None


async def test_a_call_that_ended_is_read_once_and_one_that_runs_is_read_until_it_ends(kept: ServiceDatabase) -> None:
    async with a_recorder(kept) as (recorder, store):
        archive = Archive(store, kept=2)
        await recorder.intend(a_record(outcome=int(pb.Call.OUTCOME_UNSPECIFIED)))
        assert (await archive.call("acme", "c1")).outcome == pb.Call.OUTCOME_UNSPECIFIED
        for call_id in ("c1", "c2", "c3"):
            await recorder.record(a_record(call_id))
            assert (await archive.call("acme", call_id)).outcome == pb.Call.OUTCOME_OK
        await sql(kept, "DELETE FROM call")
        assert (await archive.call("acme", "c3")) == a_record("c3")
        for workspace, call_id in (("globex", "c3"), ("acme", "c1")):
            with pytest.raises(NotFound):
                await archive.call(workspace, call_id)


async def test_rows_of_one_moment_are_written_in_one_commit(kept: ServiceDatabase) -> None:
    async with a_recorder(kept) as (recorder, _):
        await asyncio.gather(*(recorder.record(a_record(f"c{number}")) for number in range(100)))
    rows = await sql(kept, "SELECT count(*) AS calls, count(DISTINCT batch) AS batches FROM call")
    assert rows[0]["calls"] == 100
    assert rows[0]["batches"] <= 3


async def test_a_call_that_was_noted_and_never_ended_shows(kept: ServiceDatabase) -> None:
    noted = a_record(outcome=int(pb.Call.OUTCOME_UNSPECIFIED))
    async with a_recorder(kept) as (recorder, store):
        await recorder.intend(noted)
        assert await store.call("acme", "c1") == noted
        assert await sql(kept, "SELECT body FROM audit_entry") == []
        await recorder.record(a_record())
        assert await store.call("acme", "c1") == a_record()


async def test_the_journal_holds_and_a_changed_row_shows(kept: ServiceDatabase) -> None:
    async with a_recorder(kept) as (recorder, _):
        for number in range(3):
            rows = (a_record(f"c{number}{letter}", workspace=letter * 3) for letter in "abc")
            await asyncio.gather(*map(recorder.record, rows))

    async def broken() -> list[str]:
        entries = await sql(kept, "SELECT * FROM audit_entry ORDER BY sequence")
        links = [Link("", row["sequence"], row["body"], bytes(row["hash"])) for row in entries]
        assert verify(links) is None
        found = []
        for entry in (json.loads(link.body) for link in links):
            names = ", ".join(CallRecord.__dataclass_fields__)
            batch = entry["details"]["batch"]
            rows = await sql(kept, f"SELECT {names} FROM call WHERE batch = $1", batch)
            if digest([CallRecord(**dict(row)) for row in rows]) != entry["details"]["sha256"]:
                found.append(batch)
        assert sum(json.loads(link.body)["details"]["calls"] for link in links) == 9
        return found

    assert await broken() == []
    await sql(kept, "UPDATE call SET vendor_status = 404 WHERE id = 'c1b'")
    [changed] = await sql(kept, "SELECT batch FROM call WHERE id = 'c1b'")
    assert await broken() == [changed["batch"]]


async def test_the_service_may_not_write_the_journal_by_itself(kept: ServiceDatabase) -> None:
    async with connected(kept.url) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO audit_entry VALUES ('', 1, '{}', '')")


async def test_row_level_security_is_the_second_lock(kept: ServiceDatabase) -> None:
    async with a_recorder(kept) as (recorder, _):
        await recorder.record(a_record(workspace="acme"))
        await recorder.record(a_record(workspace="globex"))
    database = Database(kept.url)
    try:
        for opened, expected in (
            (database.workspace("acme"), 1), (database.workspace("nobody"), 0), (database.shared(), 0),
            (database.everywhere(), 2),
        ):  # fmt: skip
            async with opened as connection:
                assert (await connection.execute(text("SELECT count(*) FROM call"))).scalar_one() == expected
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def away(kept: ServiceDatabase) -> AsyncIterator[None]:
    """Takes the table of calls away from the service, as an outage would."""
    await sql(kept, "REVOKE ALL ON call FROM cordboard_proxy")
    try:
        yield
    finally:
        await sql(kept, "GRANT SELECT, INSERT, UPDATE, DELETE ON call TO cordboard_proxy")


async def test_rows_wait_for_a_database_that_is_away_and_none_is_lost(kept: ServiceDatabase) -> None:
    async with a_recorder(kept) as (recorder, store):
        async with away(kept):
            began = time.monotonic()
            for number in range(20):
                await recorder.record(a_record(f"c{number:02}"))
            assert time.monotonic() - began < 20
            with pytest.raises(AuditUnavailable):
                await recorder.intend(a_record("x", outcome=0))

        async def all_there() -> bool:
            return len(await store.calls("acme", before="", limit=100)) == 20

        await until(all_there)


async def test_when_no_more_rows_can_wait_no_call_begins(
    kept: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "WAITING_ROWS", 3)
    async with a_recorder(kept) as (recorder, _), away(kept):
        for number in range(3):
            with recorder.expecting():
                recorder.submit(a_record(f"c{number}"))
        with pytest.raises(AuditUnavailable), recorder.expecting():
            pass


# Through the server.


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, kept: ServiceDatabase) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, kept.url) as one:
        yield one


async def test_without_the_journal_nothing_that_changes_something_is_begun_and_reads_go_on(
    mesh: Mesh, kept: ServiceDatabase
) -> None:
    async with away(kept):
        refused = await refusal(mesh.stub().Execute(execute("create_ticket", TICKET)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        assert mesh.requests == []
        assert (await mesh.stub().Execute(execute())).vendor_status == 200

    async def written() -> bool:
        return len(await calls(mesh)) == 2

    await until(written)
    assert [kept_call.action for kept_call in await calls(mesh)] == ["get_me", "create_ticket"]


async def test_the_answer_is_given_after_the_commit(mesh: Mesh) -> None:
    for _ in range(30):
        answer = await mesh.stub().Execute(execute())
        assert (await calls(mesh))[0].name == answer.call.name


async def test_a_write_is_noted_before_it_is_sent(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=300)
    running = asyncio.ensure_future(mesh.stub().Execute(execute("create_ticket", TICKET)))
    await until(lambda: mesh.requests)
    [noted] = await calls(mesh)
    assert (noted.outcome, noted.action) == (pb.Call.OUTCOME_UNSPECIFIED, "create_ticket")
    answer = await running
    [ended] = await calls(mesh)
    assert (ended.name, ended.outcome) == (answer.call.name, pb.Call.OUTCOME_OK)


async def test_no_record_holds_a_body_or_a_credential(mesh: Mesh, kept: ServiceDatabase) -> None:
    await mesh.stub().Execute(execute("create_ticket", TICKET | {"subject": "canary-in-a-body"}))
    rows = await sql(kept, "SELECT call::text AS row FROM call UNION ALL SELECT body FROM audit_entry")
    everything = " ".join(row["row"] for row in rows)
    assert "create_ticket" in everything
    assert "canary-in-a-body" not in everything
    assert mesh.vendor.settings.api_key not in everything
