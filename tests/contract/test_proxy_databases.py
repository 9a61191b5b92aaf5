"""Statements on a real PostgreSQL: typed rows, limits, reads that cannot write, verified TLS, what failures mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.v1 import definition_pb2
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.databases import CONNECTION, Ledger, a_database, a_door, a_statement, told
from tests.unit.proxy.running import a_mesh, execute, refusal, until
from tests.unit.proxy.samples import an_action

Code = grpc.StatusCode
ALL = "SELECT * FROM thing ORDER BY id"
TYPED = """
    SELECT 1::int4 AS a, 9007199254740993::int8 AS b, 1.10::numeric AS c, 'x'::text AS d, true AS e, NULL::text AS f,
      '2026-01-02T03:04:05+00'::timestamptz AS g, '{"k": [1]}'::jsonb AS h, '\\x00ff'::bytea AS i, ARRAY[1, 2] AS j,
      'b2f5ff47-4366-4b8b-9f06-5d1a5b1c0001'::uuid AS k, date '2026-01-02' AS l
"""
ACTIONS = (
    a_statement("all", ALL),
    a_statement("typed", TYPED),
    a_statement("find", "SELECT id, name FROM thing WHERE name = :name OR id = :id", "name", "id"),
    a_statement("add", "INSERT INTO thing (id, name) VALUES (:id, :name) RETURNING id", "id", "name", method="POST"),
    a_statement("sly", "WITH x AS (INSERT INTO thing VALUES (99, 'sly') RETURNING id) SELECT * FROM x"),
    a_statement("sequence", "SELECT nextval('counter')"),
    a_statement("many", "SELECT n, repeat('x', 100) AS t FROM generate_series(1, 100000) n"),
    a_statement("wide", "SELECT repeat('x', 400000) FROM generate_series(1, 1000)"),
    a_statement("slow", "SELECT pg_sleep(30)"),
    a_statement("broken", "SELECT * FROM nothing_of_the_kind"),
    a_statement("session", "SELECT set_config('application_name', 'left-behind', false)"),
    a_statement("application", "SELECT current_setting('application_name') AS name, pg_backend_pid() AS pid"),
)


@dataclass
class Books(Ledger):
    """A mesh that is connected to a database, and the database."""

    database: ServiceDatabase
    root: Path

    async def connect(self, url: str = "", generation: int = 1, **changes: Any) -> None:
        """Has the connection reach the database at this address."""
        host, port, user, password, name = told(self.database.superuser_url)
        definition = a_database(url or f"http://{host}:{port}", *ACTIONS, max_rows=50)
        variables = {"database": name, "ca": (self.root / "ca.crt").read_text()} | changes.pop("configuration", {})
        login = {"username": user, "password": password} | changes
        await self.reach(definition, generation, variables, login)

    async def seen(self, query: str) -> Any:
        """Asks the database without the mesh."""
        connection = await asyncpg.connect(self.database.superuser_url.replace("+asyncpg", ""))
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()


@pytest.fixture
async def books(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Books]:
    found = database("proxy")
    async with a_mesh(serving, identities, found.url, max_response_bytes=1 << 20) as mesh:
        await mesh.around.set_flags(integration__ledger=True)
        one = Books(mesh, found, identities.directory("proxy"))
        await one.seen("CREATE TABLE thing (id int PRIMARY KEY, name text NOT NULL)")
        await one.seen("CREATE SEQUENCE counter")
        await one.seen("INSERT INTO thing VALUES (1, 'one'), (2, 'two')")
        await one.connect()
        await one.well()
        yield one


def test_the_definition_can_be_published() -> None:
    assert problems(a_database("https://db.example:5432", *ACTIONS)) == []


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (a_statement("a", "DELETE FROM thing"), "actions[0].statement.text"),
        (a_statement("a", "SELECT 1; DELETE FROM thing", method="POST"), "actions[0].statement.text"),
        (a_statement("a", "SELECT :id"), "actions[0].statement.text"),
        (a_statement("a", "SELECT 1", "id"), "actions[0].request.parameters"),
        (a_statement("a", "SELECT 1", method="PUT"), "actions[0].request.method"),
        (an_action("a", path="/"), "actions[0].statement"),
    ],
)
def test_what_could_not_be_run_is_refused_at_publish(action: definition_pb2.Action, field: str) -> None:
    assert field in {one.field for one in problems(a_database("https://db.example:5432", action))}


async def test_rows_come_with_their_types(books: Books) -> None:
    found = await books.call("typed")
    assert {one["name"]: one["type"] for one in found["columns"]}["c"] == "numeric"
    (row,) = found["rows"]
    assert (row["a"], row["c"], row["d"], row["e"], row["f"]) == (1, "1.10", "x", True, None)
    assert (row["g"], row["h"], row["i"]) == ("2026-01-02T03:04:05+00:00", {"k": [1]}, "AP8=")
    assert (row["j"], row["k"], row["l"]) == ([1, 2], "b2f5ff47-4366-4b8b-9f06-5d1a5b1c0001", "2026-01-02")
    text = await books.mesh.stub().Execute(execute("typed", connection=CONNECTION, output_format=pb.OUTPUT_FORMAT_JSON))
    assert '"b":9007199254740993' in text.output_json


async def test_values_are_parameters_and_never_a_part_of_the_statement(books: Books) -> None:
    assert (await books.call("find", {"name": "two"}))["rows"] == [{"id": 2, "name": "two"}]
    for text in ("' OR 1=1 --", "two'; DROP TABLE thing; --", "\\'; SELECT 1", ":id", "$1"):
        assert (await books.call("find", {"name": text}))["rows"] == []
    assert len(await books.seen("SELECT * FROM thing")) == 2
    wrong = await books.refused("find", {"id": "not a number"})
    assert (wrong.code, list(wrong.fields)) == (Code.INVALID_ARGUMENT, ["input.id"])


async def test_what_writes_does_so_once_and_what_reads_cannot(books: Books) -> None:
    found = await books.call("add", {"id": 7, "name": "seven"}, idempotency_key="book-7")
    assert (found["affected"], found["rows"]) == (1, [{"id": 7}])
    assert (await books.call("add", {"id": 7, "name": "seven"}, idempotency_key="book-7")) == found
    again = await books.refused("add", {"id": 7, "name": "seven"})
    assert (again.reason, again.metadata["vendor_status"]) == ("VENDOR_ERROR", "409")
    for action in ("sly", "sequence"):
        refused = await books.refused(action)
        assert (refused.reason, refused.metadata["vendor_status"]) == ("VENDOR_ERROR", "403"), action
    # The control: the same statement writes where it may.
    assert sorted(row["id"] for row in await books.seen("SELECT id FROM thing")) == [1, 2, 7]


async def test_rows_bytes_and_time_are_limited(books: Books) -> None:
    found = await books.call("many")
    assert (len(found["rows"]), found["truncated"]) == (50, True)
    assert (await books.call("all"))["truncated"] is False
    wide = await books.refused("wide")
    assert (wide.reason, "more bytes than are taken" in wide.text) == ("VENDOR_ERROR", True)
    request = execute("slow", connection=CONNECTION)
    late = await refusal(books.mesh.stub().Execute(request, timeout=2))
    assert late.code is Code.DEADLINE_EXCEEDED

    async def is_ended() -> bool:
        return not await books.seen("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")

    # Nobody waits for it any more, and so it does not run on.
    await until(is_ended)


async def test_a_session_is_used_again_without_what_was_left_in_it(books: Books) -> None:
    before = (await books.call("application"))["rows"][0]
    await books.call("session")
    after = (await books.call("application"))["rows"][0]
    assert after == before
    assert before["name"] == "cordboard"


async def test_failures_have_the_causes_of_every_other_vendor(books: Books) -> None:
    broken = await books.refused("broken")
    assert (broken.reason, broken.metadata["vendor_status"]) == ("VENDOR_ERROR", "400")
    assert "nothing_of_the_kind" not in broken.text
    await books.connect(generation=2, password="wrong")
    await books.fails("RECONNECT_REQUIRED")
    await books.connect(generation=3, configuration={"database": "nowhere"})
    await books.fails("VENDOR_ERROR", vendor_status="404")


@pytest.mark.usefixtures("usual_authorities")
async def test_tls_is_verified_for_the_name_and_nothing_is_sent_without_it(
    books: Books, identities: Identities
) -> None:
    port = told(books.database.superuser_url)[1]
    identity = identities.directory("proxy")
    async with (
        a_door(port, identity) as good,
        a_door(port, None) as plain,
        a_door(port, identity, "127.0.0.2") as unnamed,
    ):
        await books.connect(f"https://localhost:{good}", 2)

        async def version(wanted: str) -> bool:
            response = await books.mesh.stub().Execute(execute("all", connection=CONNECTION))
            return bool(response.call.definition_version == wanted)

        await until(lambda: version("1.0.2"))
        await books.connect(f"https://localhost:{plain}", 3)
        await books.fails("VENDOR_UNREACHABLE", problem="refused")
        await books.connect(f"https://localhost:{good}", 4, configuration={"ca": ""})
        await books.fails("VENDOR_UNREACHABLE", problem="tls")
        # The same certificate, trusted, at an address that it does not name.
        await books.connect(f"https://127.0.0.2:{unnamed}", 5)
        await books.fails("VENDOR_UNREACHABLE", problem="tls")


async def test_an_address_that_is_not_allowed_is_not_connected_to(books: Books) -> None:
    # The control: the address of the fixture is private too, and an operator has opened it.
    assert len((await books.call("all"))["rows"]) == 2
    await books.connect("http://10.255.255.1:5432", 2)
    await books.fails("EGRESS_DENIED")


async def test_nothing_is_forwarded_to_a_database(books: Books) -> None:
    from cordboard.proxy.v1 import forward_service_pb2 as forward_pb
    from cordboard.proxy.v1.forward_service_pb2_grpc import ForwardServiceStub

    async def sent() -> AsyncIterator[Any]:
        yield forward_pb.ForwardRequest(head=forward_pb.ForwardHead(connection=CONNECTION, method="GET", path="/"))

    async def forwarded() -> list[Any]:
        stub = ForwardServiceStub(books.mesh.served.as_role("member", workspace="acme"))
        return [part async for part in stub.Forward(sent())]

    assert (await refusal(forwarded())).metadata["state"] == "backend"
