"""Edges as processes of their own, for tests that kill them: `python -m tests.soak.edge_process`.

Each line of its input has the settings of an edge, which it makes as a fork of itself: that is there at once, because
what it imports is imported already. The output says `began PID`, `applying` and `applied` for envelopes, and `gone`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from cordboard.catalog.sync.bootstrap import Bootstrap
from cordboard.catalog.sync.replica import Replica
from cordboard.catalog.sync.store import ReplicaStore
from tests.fixtures.edges import Edge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.store import VersionRecord
    from cordboard.catalog.sync.envelope import Place
    from cordboard.catalog.v1.sync_service_pb2 import Envelope


def say(*words: object) -> None:
    """Writes a line that is there at once."""
    print(*words, flush=True)


class Telling(Replica):
    """A replica that says when it begins with an envelope, and when it is done."""

    async def apply(self, envelope: Envelope) -> Place:
        """Applies an envelope."""
        say("applying")
        place = await super().apply(envelope)
        say("applied")
        return place


class Careless(ReplicaStore):
    """What must not be: a store that makes the versions of an envelope durable before their states."""

    async def put_states(self, connection: AsyncConnection, records: Sequence[VersionRecord]) -> None:
        """Writes where versions are in their lives, in a transaction of its own."""
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.execute("COMMIT; BEGIN; SELECT set_config('app.ws', '*', true)")
        await asyncio.sleep(0.05)
        await super().put_states(connection, records)


async def follow(settings: dict[str, str]) -> None:
    """Follows the hub until it is killed."""
    identity = Path(settings["identity"])

    def dial() -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            (identity / "ca.crt").read_bytes(), (identity / "tls.key").read_bytes(), (identity / "tls.crt").read_bytes()
        )
        options = [("grpc.ssl_target_name_override", "catalog.cordboard.internal")]
        return grpc.aio.secure_channel(settings["hub"], credentials, options=options)

    store = Careless if "careless" in settings else ReplicaStore
    edge = Edge(
        settings["database"], Bootstrap.read(Path(settings["bootstrap"])), dial, store=store, replica=Telling
    )  # fmt: skip
    async with edge.following():
        # Each runs for ever: one that ends says why.
        ended, _ = await asyncio.wait(edge.jobs, return_when=asyncio.FIRST_COMPLETED)
        say(*(f"ended: {task!r}" for task in ended))


def serve() -> None:
    """Makes edges, one after the other."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(follow(json.loads(line)))
        say("began", child)
        os.waitpid(child, 0)
        say("gone")


if __name__ == "__main__":
    serve()
