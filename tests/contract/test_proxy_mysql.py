"""Statements on a real MariaDB: typed rows, limits, reads that cannot write, verified TLS, what failures mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.v1 import definition_pb2
from cordboard.local.certificates import Identities
from tests.fixtures.mariadb import MariaDb
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.databases import Ledger, a_database, a_statement
from tests.unit.proxy.running import a_mesh, until

MYSQL = definition_pb2.DATABASE_ENGINE_MYSQL
TYPED = """
    SELECT 1 AS a, 9007199254740993 AS b, CAST(1.10 AS DECIMAL(5,2)) AS c, 'x' AS d, 1.5e0 AS e, NULL AS f,
      TIMESTAMP '2026-01-02 03:04:05' AS g, X'00ff' AS i, DATE '2026-01-02' AS l, TIME '01:00:00' AS m, 'é' AS n
"""
ACTIONS = (
    a_statement("all", "SELECT * FROM thing ORDER BY id"),
    a_statement("typed", TYPED),
    a_statement("find", "SELECT id, name FROM thing WHERE name = :name OR id = :id OR name = :name", "name", "id"),
    a_statement("echo", "SELECT :value AS value, :other AS other", "value", "other"),
    a_statement("add", "INSERT INTO thing (id, name) VALUES (:id, :name)", "id", "name", method="POST"),
    a_statement("back", "INSERT INTO thing (id, name) VALUES (:id, 'x') RETURNING id", "id", method="POST"),
    a_statement("sly", "SELECT sly()"),
    a_statement("limited", "SELECT seq FROM seq_1_to_100000 LIMIT 90000"),
    a_statement("many", "SELECT seq, REPEAT('x', 100) AS t FROM seq_1_to_100000"),
    a_statement("wide", "SELECT REPEAT('x', 400000) FROM seq_1_to_1000"),
    a_statement("slow", "SELECT SLEEP(30)"),
    a_statement("broken", "SELECT * FROM nothing_of_the_kind"),
    a_statement("session", "SELECT @left := 'behind', GET_LOCK('left', 0)"),
    a_statement("left", "SELECT @left AS value, IS_USED_LOCK('left') AS held, @@time_zone AS zone"),
    a_statement("stamp", "SELECT at FROM stamped"),
)


@dataclass
class Books(Ledger):
    """A mesh that is connected to a database, and the database."""

    server: MariaDb
    database: str
    authority: str

    async def connect(self, url: str = "", generation: int = 1, **changes: Any) -> None:
        """Has the connection reach the database at this address."""
        definition = a_database(url or f"https://localhost:{self.server.port}", *ACTIONS, max_rows=50, engine=MYSQL)
        variables = {"database": self.database, "ca": self.authority} | changes.pop("configuration", {})
        login = {"username": self.server.user, "password": self.server.password} | changes
        await self.reach(definition, generation, variables, login)

    def seen(self, statements: str) -> list[str]:
        """Asks the database without the mesh; returns the lines of the answer."""
        return self.server.run(f"USE {self.database}; {statements}").splitlines()


@pytest.fixture
async def books(
    serving: Serving, identities: Identities, database: Databases, mariadb: MariaDb
) -> AsyncIterator[Books]:
    found = await asyncio.to_thread(mariadb.database)
    authority = (identities.directory("proxy") / "ca.crt").read_text()
    async with a_mesh(serving, identities, database("proxy").url, max_response_bytes=1 << 20) as mesh:
        await mesh.around.set_flags(integration__ledger=True)
        one = Books(mesh, mariadb, found, authority)
        one.seen("CREATE TABLE thing (id int PRIMARY KEY, name varchar(50) NOT NULL)")
        one.seen("CREATE TABLE stamped (at timestamp NOT NULL)")
        one.seen("SET time_zone = '+02:00'; INSERT INTO stamped VALUES ('2026-01-02 03:04:05')")
        one.seen("INSERT INTO thing VALUES (1, 'one'), (2, 'two')")
        body = "BEGIN INSERT INTO thing VALUES (99, 'sly'); RETURN 1; END"
        one.seen(f"\nDELIMITER //\nCREATE FUNCTION sly() RETURNS INT MODIFIES SQL DATA {body}//")
        await one.connect()
        await one.well()
        yield one


def test_the_definition_can_be_published() -> None:
    assert problems(a_database("https://db.example:3306", *ACTIONS, engine=MYSQL)) == []


def test_a_statement_that_reads_cannot_write_a_file_of_the_server() -> None:
    action = a_statement("a", "SELECT * FROM thing INTO\n OUTFILE '/tmp/x'")
    found = {one.field for one in problems(a_database("https://db.example:3306", action, engine=MYSQL))}
    assert found == {"actions[0].statement.text"}
    # The control: it is a word of MySQL's.
    assert problems(a_database("https://db.example:5432", action)) == []


async def test_rows_come_with_their_types(books: Books) -> None:
    found = await books.call("typed")
    types = {one["name"]: one["type"] for one in found["columns"]}
    assert (types["c"], types["l"], types["i"], types["d"]) == ("newdecimal", "date", "var_string", "text")
    (row,) = found["rows"]
    assert (row["a"], row["c"], row["d"], row["e"], row["f"]) == (1, "1.10", "x", 1.5, None)
    assert (row["g"], row["i"], row["l"]) == ("2026-01-02T03:04:05", "AP8=", "2026-01-02")
    assert (row["m"], row["n"]) == (3600.0, "é")
    assert (await books.call("stamp"))["rows"] == [{"at": "2026-01-02T01:04:05+00:00"}]


async def test_values_are_parameters_and_never_a_part_of_the_statement(books: Books) -> None:
    assert (await books.call("find", {"name": "two"}))["rows"] == [{"id": 2, "name": "two"}]
    assert (await books.call("find", {"id": 1}))["rows"] == [{"id": 1, "name": "one"}]
    for text in ("' OR 1=1 -- ", "two'; DROP TABLE thing; -- ", "\\' OR 1=1 -- ", ":id", "?", "\0", "%s", "\U0001f600"):
        assert (await books.call("find", {"name": text}))["rows"] == []
        assert (await books.call("echo", {"value": text}))["rows"] == [{"value": text, "other": None}]
    given = {"value": 2**53 - 1, "other": {"a": ["'"]}}
    assert (await books.call("echo", given))["rows"] == [{"value": 2**53 - 1, "other": '{"a":["\'"]}'}]
    assert (await books.call("echo", {"value": True, "other": -1.5e-7}))["rows"] == [{"value": 1, "other": -1.5e-7}]
    assert books.seen("SELECT COUNT(*) FROM thing") == ["2"]


async def test_what_writes_does_so_once_and_what_reads_cannot(books: Books) -> None:
    found = await books.call("add", {"id": 7, "name": "seven"}, idempotency_key="book-7")
    assert found["affected"] == 1
    assert (await books.call("add", {"id": 7, "name": "seven"}, idempotency_key="book-7")) == found
    again = await books.refused("add", {"id": 7, "name": "seven"})
    assert (again.reason, again.metadata["vendor_status"]) == ("VENDOR_ERROR", "409")
    assert "seven" not in again.text
    returned = await books.call("back", {"id": 8})
    assert (returned["affected"], returned["rows"]) == (1, [{"id": 8}])
    refused = await books.refused("sly")
    assert (refused.reason, refused.metadata["vendor_status"]) == ("VENDOR_ERROR", "403")
    assert books.seen("SELECT id FROM thing ORDER BY id") == ["1", "2", "7", "8"]
    # The control: the same function writes where it may.
    assert books.seen("SELECT sly(); SELECT id FROM thing WHERE id = 99") == ["1", "99"]


async def test_rows_bytes_and_time_are_limited(books: Books) -> None:
    for action in ("many", "limited"):
        found = await books.call(action)
        assert (len(found["rows"]), found["truncated"]) == (50, True), action
    assert (await books.call("all"))["truncated"] is False
    wide = await books.refused("wide")
    assert (wide.reason, "more bytes than are taken" in wide.text) == ("VENDOR_ERROR", True)
    late = await books.refused("slow", timeout=2)
    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED

    async def is_ended() -> bool:
        running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(30)%' AND id <> "
        return await asyncio.to_thread(books.seen, f"{running} CONNECTION_ID()") == ["0"]

    # Nobody waits for it any more, and so it does not run on.
    await until(is_ended)


async def test_a_session_is_used_again_without_what_was_left_in_it(books: Books) -> None:
    await books.call("session")
    assert (await books.call("left"))["rows"] == [{"value": None, "held": None, "zone": "+00:00"}]


async def test_failures_have_the_causes_of_every_other_vendor(books: Books) -> None:
    broken = await books.refused("broken")
    assert (broken.reason, broken.metadata["vendor_status"]) == ("VENDOR_ERROR", "400")
    assert "nothing_of_the_kind" not in broken.text
    await books.connect(generation=2, password="wrong")
    await books.fails("RECONNECT_REQUIRED")
    await books.connect(generation=3, configuration={"database": "nowhere"})
    await books.fails("VENDOR_ERROR", vendor_status="403")


@pytest.mark.usefixtures("usual_authorities")
async def test_tls_is_verified_for_the_name(books: Books) -> None:
    await books.connect(generation=2, configuration={"ca": ""})
    await books.fails("VENDOR_UNREACHABLE", problem="tls")
    # The same certificate, trusted, at an address that it does not name.
    await books.connect(f"https://127.0.0.2:{books.server.port}", 3)
    await books.fails("VENDOR_UNREACHABLE", problem="tls")


async def test_nothing_is_sent_to_a_server_without_tls(books: Books) -> None:
    """A server that says that it knows no TLS gets neither the user nor the password."""
    got = bytearray()
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Protocol 10, an id, a scramble of 20 bytes, and everything a client could ask for but TLS (0x0800).
        greeting = b"\x0a5.5.5-10.11.0-MariaDB\0" + (7).to_bytes(4, "little") + b"12345678\0" + b"\xfe\xf7" + b"\x2d"
        greeting += b"\2\0" + b"\xff\x81" + b"\x15" + b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
        writer.write(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        with contextlib.suppress(OSError):
            async with asyncio.timeout(10):
                got.extend(await reader.read(65_536))
        asked.set()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await books.connect(f"https://localhost:{server.sockets[0].getsockname()[1]}", 2)
        await books.fails("VENDOR_UNREACHABLE")
        assert asked.is_set()
        assert books.server.user.encode() not in got
    finally:
        server.close()
        await server.wait_closed()


async def test_an_address_that_is_not_allowed_is_not_connected_to(books: Books) -> None:
    # The control: the address of the fixture is private too, and an operator has opened it.
    assert len((await books.call("all"))["rows"]) == 2
    await books.connect("https://10.255.255.1:3306", 2)
    await books.fails("EGRESS_DENIED")
