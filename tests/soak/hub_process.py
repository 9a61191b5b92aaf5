"""Hubs as processes of their own, for tests that kill them: `python -m tests.soak.hub_process`.

Each line of its input has the settings of a hub, which it makes as a fork of itself: that is there at once, because
what it imports is imported already. The output says `began PID`, `serving`, and `gone`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from cordboard.catalog import __main__ as catalog
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.store import CatalogStore
from cordboard.core.server import Process

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.store import VersionRecord


class Careless(CatalogStore):
    """What must not be: a store that makes a version durable before its state.

    Of the first one of an integration PostgreSQL itself would refuse that.
    """

    async def put_state(self, connection: AsyncConnection, record: VersionRecord) -> None:
        """Writes where a version is in its life, in a transaction of its own."""
        if record.version != "1.0.0":
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None
            await raw.driver_connection.execute("COMMIT; BEGIN; SELECT set_config('app.ws', '*', true)")
            await asyncio.sleep(0.3)
        await super().put_state(connection, record)


async def serve(settings: dict[str, Any]) -> None:
    """Is the hub until it is killed."""
    if settings.pop("careless", ""):
        vars(catalog)["CatalogStore"] = Careless
    keys = settings.pop("keys")

    async def jwks() -> str:
        return str(keys)

    process = Process("catalog", CatalogSettings(**settings))
    process.verify_with(jwks)
    await catalog.start(process)
    await process.serve()
    print("serving", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Makes hubs, one after the other."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(serve(json.loads(line)))
        print("began", child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main()
