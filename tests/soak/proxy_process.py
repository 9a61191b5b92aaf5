"""A Proxy as a process of its own, for tests that kill it: a child of the fork server, see tests.soak.killed."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, Final

from cordboard.core.server import Process
from cordboard.proxy.__main__ import start
from cordboard.proxy.settings import ProxySettings

SETTINGS: Final = "CORDBOARD_SOAK_SETTINGS"


async def serve(given: dict[str, Any]) -> None:
    """Serves until it is killed; says on which port."""
    keys = given.pop("jwks")

    async def jwks() -> str:
        return str(keys)

    process: Process[ProxySettings] = Process("proxy", ProxySettings(**given))
    process.verify_with(jwks)
    await start(process)
    await process.serve()
    print(f"port {process.port}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serves with the settings in the environment."""
    asyncio.run(serve(json.loads(os.environ[SETTINGS])))
