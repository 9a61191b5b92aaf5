"""A database as an integration: its definition, a mesh that is connected to it, a door with TLS to a PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from sqlalchemy.engine import make_url

from cordboard.catalog.v1 import definition_pb2 as pb
from tests.unit.proxy.running import Mesh, execute, read, refusal, until
from tests.unit.proxy.samples import a_parameter, an_action

SLUG = "ledger"
CONNECTION = "workspaces/acme/connections/books"
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@dataclass
class Ledger:
    """A mesh that is connected to a database."""

    mesh: Mesh

    async def reach(
        self, definition: pb.Definition, generation: int, variables: dict[str, str], login: dict[str, str]
    ) -> None:
        """Publishes the definition of the database, and has the connection reach it."""
        definition.version = f"1.0.{generation}"
        await self.mesh.around.publish(definition)
        await self.mesh.around.connect(
            CONNECTION,
            integration=SLUG,
            auth_scheme="login",
            generation=generation,
            configuration=variables,
            basic=login,
        )
        await self.mesh.around.change(CONNECTION, generation)

    async def call(self, action: str, values: dict[str, Any] | None = None, **fields: Any) -> Any:
        """Returns the output of an action."""
        response = await self.mesh.stub().Execute(execute(action, values, connection=CONNECTION, **fields))
        return json_format.MessageToDict(response.output)

    async def well(self) -> None:
        """Returns once everything can be read."""

        async def reached() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool(await self.call("all"))
            return False

        await until(reached)

    async def fails(self, reason: str = "", **metadata: str) -> None:
        """Returns once reading everything fails in this way: what is published and connected reaches a Proxy soon."""
        others: Counter[str] = Counter()

        async def failing() -> bool:
            try:
                await self.call("all")
            except grpc.aio.AioRpcError as error:
                found = read(error)
                if found.reason == reason and metadata.items() <= found.metadata.items():
                    return True
                others[f"{found.reason} {found.metadata}"] += 1
            else:
                others["none"] += 1
            return False

        try:
            await until(failing)
        except TimeoutError:
            raise AssertionError(f"calls ended with {others}") from None

    async def refused(self, action: str, values: dict[str, Any] | None = None, **given: Any) -> Any:
        """Returns the error of an action."""
        return await refusal(self.mesh.stub().Execute(execute(action, values, connection=CONNECTION), **given))


def a_statement(action_id: str, text: str, *names: str, method: str = "GET", **fields: Any) -> pb.Action:
    """Makes an action that runs a statement."""
    schema = {"type": "object", "properties": {name: {} for name in names}}
    action = an_action(action_id, method, "/", *map(a_parameter, names), schema=schema, **fields)
    action.statement.text = text
    return action


def a_database(url: str, *actions: pb.Action, **fields: Any) -> pb.Definition:
    """Makes the definition of a database behind this address."""
    fields.setdefault("engine", pb.DATABASE_ENGINE_POSTGRESQL)
    about = pb.Database(name="{database}", authority_variable="ca", **fields)
    return pb.Definition(
        slug=SLUG,
        version="1.0.0",
        title="Ledger",
        servers=[pb.Server(url=url)],
        config_variables=[pb.ConfigVariable(name="database"), pb.ConfigVariable(name="ca")],
        auth_schemes=[pb.AuthScheme(id="login", basic=pb.Basic())],
        database=about,
        actions=actions,
    )


def told(url: str) -> tuple[str, int, str, str, str]:
    """Returns host, port, user, password and name of the database in a URL."""
    parts = make_url(url)
    return parts.host or "", parts.port or 0, parts.username or "", str(parts.password), parts.database or ""


@contextlib.asynccontextmanager
async def a_door(port: int, identity: Path | None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serves TLS in front of a PostgreSQL, as its own server would; None: it refuses TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if identity is not None:
        context.load_cert_chain(identity / "tls.crt", identity / "tls.key")
    tasks: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        tasks.add(own)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            assert await reader.readexactly(8) == SSL_REQUEST
            writer.write(b"S" if identity is not None else b"N")
            await writer.drain()
            if identity is not None:
                await writer.start_tls(context)
                there, back = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await asyncio.gather(pipe(reader, back), pipe(there, writer))
                finally:
                    back.transport.abort()
        # Nobody waits at either end for what the other one still has to say.
        writer.transport.abort()
        tasks.discard(own)

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
