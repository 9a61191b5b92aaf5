"""An edge as a process of its own, for tests that kill it: `python -m tests.soak.edge_process SETTINGS`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc

from cordboard.catalog.sync.bootstrap import Bootstrap
from tests.fixtures.edges import Edge


async def follow(settings: dict[str, str]) -> None:
    """Follows the hub until it is killed."""
    identity = Path(settings["identity"])

    def dial() -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            (identity / "ca.crt").read_bytes(), (identity / "tls.key").read_bytes(), (identity / "tls.crt").read_bytes()
        )
        options = [("grpc.ssl_target_name_override", "catalog.cordboard.internal")]
        return grpc.aio.secure_channel(settings["hub"], credentials, options=options)

    edge = Edge(settings["database"], Bootstrap.read(Path(settings["bootstrap"])), dial)
    async with edge.following():
        print("following", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(follow(json.loads(sys.argv[1])))
