"""A bare grpc.aio server with mutual TLS whose every answer waits for one commit: what any RPC that writes costs.

The row it inserts is as long as an entry of the journal, and the statement is prepared once.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from bench import processes

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

METHOD = "/bench.Commit/Commit"
URL_VARIABLE = "BENCH_DATABASE_URL"
ENTRY_BYTES = 350


class Commit:
    """Answers once a row is on disk."""

    def __init__(self, insert: PreparedStatement) -> None:
        """Takes the statement that inserts a row, and commits."""
        self._insert = insert

    async def answer(self, request: BytesValue, _context: Any) -> BytesValue:
        """Returns the request."""
        await self._insert.fetch("x" * ENTRY_BYTES)
        return request


async def _main(identity: Path, ready_file: Path) -> None:
    connection = await asyncpg.connect(os.environ[URL_VARIABLE])
    try:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS bench")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS bench.entry (id bigserial PRIMARY KEY, body text NOT NULL)"
        )
        insert = await connection.prepare("INSERT INTO bench.entry (body) VALUES ($1)")
        handler = grpc.unary_unary_rpc_method_handler(
            Commit(insert).answer, BytesValue.FromString, BytesValue.SerializeToString
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Commit", {"Commit": handler}),))
        await processes.serve(server, identity, ready_file)
    finally:
        await connection.execute("DROP SCHEMA bench CASCADE")
        await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.commit")
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    given = parser.parse_args()
    processes.run(partial(_main, given.identity, given.ready_file))
