"""A Proxy as a process of its own, for tests that kill it: `python -m tests.soak.proxy_process SETTINGS`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from cordboard.core.server import Process
from cordboard.proxy.__main__ import start
from cordboard.proxy.settings import ProxySettings


async def serve(given: dict[str, Any]) -> None:
    """Serves until it is killed; says on which port."""
    keys = given.pop("jwks")

    async def jwks() -> str:
        return str(keys)

    process: Process[ProxySettings] = Process("proxy", ProxySettings(**given))
    process.verify_with(jwks)
    await start(process)
    await process.serve()
    print(process.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
