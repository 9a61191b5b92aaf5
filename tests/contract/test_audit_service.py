"""A journal as it is served: listed, exported, verified whole, and compared with what was noted outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import jsonschema_rs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cordboard.common.v1 import audit_service_pb2 as pb
from cordboard.common.v1.audit_service_pb2_grpc import AuditServiceStub
from cordboard.core.anchors import Anchors
from cordboard.core.audit import Entry, Journal, chained
from cordboard.core.audit_chains import Chains
from cordboard.core.database import Database
from cordboard.core.egress import Egress
from cordboard.core.errors import EgressDenied
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from cordboard.core.times import SystemClock
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

OCSF = json.loads((Path(__file__).parents[1] / "schemas" / "ocsf-event.json").read_text())
LENGTH = 1000


async def start(process: Process[Settings]) -> None:
    """Keeps a journal, and does nothing else."""
    process.journal()


@dataclass
class Books:
    """A served journal, and the ways around it."""

    where: ServiceDatabase
    served: Served
    journal: Journal

    @property
    def audit(self) -> Any:
        return AuditServiceStub(self.served.as_role("operator"))

    async def write(self, count: int, chain: str = "acme", action: str = "catalog.thing.create") -> None:
        async with self.served.process.database().everywhere() as connection:
            bodies = [
                (chain, self.journal.body(Entry(action, f"things/{number}", chain, details={"n": number})))
                for number in range(count)
            ]
            await self.journal.append_bodies(connection, bodies)

    async def tamper(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.where.superuser_url.replace("+asyncpg", ""))
        try:
            await connection.execute("SET search_path TO catalog")
            await connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER ALL")
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def verified(self, *anchors: pb.AuditAnchor) -> pb.VerifyAuditResponse:
        found: pb.VerifyAuditResponse = await self.audit.VerifyAudit(pb.VerifyAuditRequest(anchors=anchors))
        return found


@pytest.fixture
async def books(serving: Serving, database: Databases) -> AsyncIterator[Books]:
    where = database("catalog")
    async with serving("catalog", Settings, start, database_url=where.url) as served:
        yield Books(where, served, served.process.journal())


async def test_a_whole_journal_holds_with_its_anchors(books: Books) -> None:
    await books.write(LENGTH)
    await books.write(3, "other")
    found = await books.verified()
    assert (found.chain_count, found.entry_count, list(found.breaks)) == (2, LENGTH + 3, [])
    assert {(head.chain, head.sequence) for head in found.heads} == {("acme", LENGTH), ("other", 3)}
    await books.write(5)
    again = await books.verified(*found.heads)
    assert (again.anchor_count, list(again.breaks)) == (2, [])


TAMPERINGS = [
    ("UPDATE audit_entry SET body = replace(body, 'catalog', 'cataloq') WHERE sequence = 700", 700, "changed"),
    ("DELETE FROM audit_entry WHERE sequence = 700", 700, "missing"),
    ("DELETE FROM audit_entry WHERE sequence > 990", 991, "missing"),
    ("DELETE FROM audit_entry WHERE workspace_id = 'acme'", 1, "missing"),
    (
        "UPDATE audit_entry e SET body = o.body FROM audit_entry o WHERE e.sequence + o.sequence = 1401 "
        "AND e.sequence IN (700, 701) AND o.sequence IN (700, 701)",
        700,
        "changed",
    ),
    ("UPDATE audit_head SET hash = sha256(hash) WHERE chain = 'acme'", LENGTH, "changed"),
    ("UPDATE audit_head SET sequence = 1002 WHERE chain = 'acme'", 1001, "missing"),
]


@pytest.mark.parametrize(("statement", "sequence", "problem"), TAMPERINGS)
async def test_a_change_by_the_superuser_is_found_where_it_is(
    books: Books, statement: str, sequence: int, problem: str
) -> None:
    await books.write(LENGTH)
    assert list((await books.verified()).breaks) == []
    await books.tamper(statement)
    [found] = (await books.verified()).breaks
    assert (found.chain, found.sequence, found.problem) == ("acme", sequence, problem)


def rewritten(sequence: int, body: str, digest: bytes) -> str:
    """Returns a statement that puts another entry in the place of one."""
    place = f"workspace_id = 'acme' AND sequence = {sequence}"
    return f"UPDATE audit_entry SET body = $${body}$$, hash = '\\x{digest.hex()}' WHERE {place}"


async def test_a_chain_that_was_computed_anew_or_cut_with_its_head_is_found_by_an_anchor_alone(books: Books) -> None:
    await books.write(50)
    anchors = list((await books.verified()).heads)
    rows = await _rows(books)
    previous, statements = bytes(32), []
    for sequence, body in rows:
        changed = body.replace("things/10", "things/99")
        previous = chained(sequence, previous, changed)
        statements.append(rewritten(sequence, changed, previous))
    await books.tamper(*statements, f"UPDATE audit_head SET hash = '\\x{previous.hex()}' WHERE chain = 'acme'")
    assert list((await books.verified()).breaks) == [], "in itself the chain holds: the control"
    [found] = (await books.verified(*anchors)).breaks
    assert (found.sequence, found.problem) == (50, "anchor")

    keep = chained(*_cut(rows))
    await books.tamper(
        "DELETE FROM audit_entry WHERE workspace_id = 'acme' AND sequence > 1",
        rewritten(1, rows[0][1], keep),
        f"UPDATE audit_head SET sequence = 1, hash = '\\x{keep.hex()}' WHERE chain = 'acme'",
    )
    # To verify is written down too, into the chain of what belongs to no workspace.
    assert [each for each in (await books.verified()).breaks if each.chain == "acme"] == []
    [found] = (await books.verified(*anchors)).breaks
    assert (found.sequence, found.problem) == (2, "missing")


async def _rows(books: Books) -> list[tuple[int, str]]:
    connection = await asyncpg.connect(books.where.superuser_url.replace("+asyncpg", ""))
    try:
        found = await connection.fetch(
            "SELECT sequence, body FROM catalog.audit_entry WHERE workspace_id = 'acme' ORDER BY 1"
        )
    finally:
        await connection.close()
    return [(row["sequence"], row["body"]) for row in found]


def _cut(rows: list[tuple[int, str]]) -> tuple[int, bytes, str]:
    return 1, bytes(32), rows[0][1]


async def test_entries_are_listed_in_order_page_by_page_and_by_action(books: Books) -> None:
    await books.write(25)
    await books.write(5, action="catalog.other.delete")
    request, seen = pb.ListAuditEntriesRequest(chain="acme", page_size=10), []
    while True:
        page = await books.audit.ListAuditEntries(request)
        seen += [entry.sequence for entry in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == list(range(1, 31))
    found = await books.audit.ListAuditEntries(pb.ListAuditEntriesRequest(chain="acme", action_prefix="catalog.other"))
    assert [entry.action for entry in found.entries] == ["catalog.other.delete"] * 5
    nothing = await books.audit.ListAuditEntries(pb.ListAuditEntriesRequest(chain="nobody"))
    assert list(nothing.entries) == []


async def test_an_export_is_whole_goes_on_after_a_cut_and_is_itself_written_down(books: Books) -> None:
    await books.write(2500)
    lines = [each async for each in books.audit.ExportAudit(pb.ExportAuditRequest(chain="acme", one_chain=True))]
    assert [each.sequence for each in lines] == list(range(1, 2501))
    previous = bytes(32)
    for each in lines:
        value = json.loads(each.line)
        previous = chained(value["sequence"], previous, value["body"])
        assert previous.hex() == value["hash"]
    rest = pb.ExportAuditRequest(chain="acme", one_chain=True, after_sequence=2400)
    assert [each.sequence async for each in books.audit.ExportAudit(rest)] == list(range(2401, 2501))
    told = await books.audit.ListAuditEntries(pb.ListAuditEntriesRequest())
    assert [entry.action for entry in told.entries] == ["catalog.audit.export"] * 2


async def test_an_ocsf_export_keeps_to_its_schema(books: Books) -> None:
    actions = ["auth.token.issue", "auth.connection.delete", "auth.credential.lease", "flags.flag.update", "odd"]
    for action in actions:
        await books.write(2, action=action)
    validator = jsonschema_rs.validator_for(OCSF)
    request = pb.ExportAuditRequest(format=pb.ExportAuditRequest.FORMAT_OCSF, chain="acme", one_chain=True)
    events = [json.loads(each.line) async for each in books.audit.ExportAudit(request)]
    assert len(events) == 2 * len(actions)
    for event in events:
        validator.validate(event)
    assert [event["type_uid"] for event in events[::2]] == [300101, 600304, 600302, 600303, 600399]
    for wrong in ({"class_uid": 6003}, {"time": "now"}, {"more": 1}, {"user": None}):
        assert not validator.is_valid(events[0] | wrong), wrong


async def test_only_operators_reach_a_journal(books: Books) -> None:
    await books.write(1)
    for roles in (("reader",), ("member",), ("workspace-admin",), ("publisher",)):
        stub = AuditServiceStub(books.served.as_role(*roles, workspace="acme"))
        for call in (
            stub.ListAuditEntries(pb.ListAuditEntriesRequest(chain="acme")),
            stub.VerifyAudit(pb.VerifyAuditRequest()),
            stub.ExportAudit(pb.ExportAuditRequest()).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "anchor",
    [pb.AuditAnchor(sequence=0, hash=bytes(32)), pb.AuditAnchor(sequence=1), pb.AuditAnchor(sequence=-1, hash=b"x")],
)
async def test_an_anchor_that_is_none_is_refused(books: Books, anchor: pb.AuditAnchor) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await books.verified(anchor)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_heads_are_noted_in_a_file_and_at_a_webhook_and_verify(books: Books, tmp_path: Path) -> None:
    posted: list[str] = []
    answers = [500, 200, 200]

    async def take(request: web.Request) -> web.Response:
        posted.append(await request.text())
        return web.Response(status=answers.pop(0))

    application = web.Application()
    application.router.add_post("/anchors", take)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server()
    database = Database(books.where.url)
    file = tmp_path / "anchors.jsonl"
    anchors = Anchors(
        "catalog",
        Chains(database),
        SystemClock(),
        file=file,
        url=f"http://127.0.0.1:{server.port}/anchors",
        egress=Egress(["127.0.0.0/8"]),
    )
    try:
        await books.write(3)
        with pytest.raises(Exception, match="500"):
            await anchors.note()
        assert await anchors.note() == 1, "what was not taken is noted again"
        assert await anchors.note() == 0, "what did not grow is not noted again"
        await books.write(2)
        await books.write(1, "other")
        assert await anchors.note() == 2
    finally:
        await server.close()
        await database.close()
    noted = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(each["chain"], each["sequence"]) for each in noted] == [
        ("acme", 3),
        ("acme", 3),
        ("acme", 5),
        ("other", 1),
    ]
    assert [json.loads(line) for line in "".join(posted).splitlines()] == noted
    given = [
        pb.AuditAnchor(chain=each["chain"], sequence=each["sequence"], hash=bytes.fromhex(each["hash"]))
        for each in noted
    ]
    assert list((await books.verified(*given)).breaks) == []


async def test_anchors_leave_only_into_networks_that_are_open(books: Books) -> None:
    await books.write(1)
    database = Database(books.where.url)
    url = "http://127.0.0.1:9/anchors"
    closed = Anchors("catalog", Chains(database), SystemClock(), file=None, url=url, egress=Egress())
    with pytest.raises(EgressDenied):
        await closed.note()
    await database.close()


async def test_a_service_notes_its_heads_on_its_schedule(serving: Serving, database: Databases, tmp_path: Path) -> None:
    where, file = database("catalog"), tmp_path / "anchors.jsonl"
    settings = {"audit_anchor_file": file, "audit_anchor_seconds": 0.05}
    async with serving("catalog", Settings, start, database_url=where.url, **settings) as served:
        await served.process.journal().append_batched(Entry("catalog.thing.create", "things/1"))
        for _ in range(400):
            if file.exists() and file.read_text():
                break
            await asyncio.sleep(0.05)
    assert json.loads(file.read_text().splitlines()[0])["sequence"] == 1
