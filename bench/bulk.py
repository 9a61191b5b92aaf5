"""A vendor of large bodies: it takes what is sent and forgets it, and sends as many bytes as are asked for."""

from __future__ import annotations

import argparse
import asyncio
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from bench import processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BLOCK = bytes(64 * 1024)
NOTE = b'{"id": "1", "subject": "The line is dead"}'


def blocks(size: int) -> AsyncIterator[bytes]:
    """Yields so many bytes in blocks."""

    async def each() -> AsyncIterator[bytes]:
        for _ in range(size // len(BLOCK)):
            yield BLOCK
        yield BLOCK[: size % len(BLOCK)]

    return each()


async def take(request: web.Request) -> web.Response:
    """Reads a body to its end, and says how long it was."""
    size = 0
    async for block in request.content.iter_any():
        size += len(block)
    return web.json_response({"size": size})


async def give(request: web.Request) -> web.StreamResponse:
    """Sends as many bytes as the query asks for."""
    size = int(request.query["size"])
    answer = web.StreamResponse(headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"})
    await answer.prepare(request)
    async for block in blocks(size):
        await answer.write(block)
    return answer


async def note(_request: web.Request) -> web.Response:
    """Gives something small."""
    return web.Response(body=NOTE, content_type="application/json")


def document(url: str) -> str:
    """Returns the API's description."""
    described = {
        "openapi": "3.1.0",
        "info": {"title": "Bulk", "version": "1"},
        "servers": [{"url": url}],
        "security": [{"key": []}],
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}},
        "paths": {"/note": {"get": {"operationId": "note", "responses": {"200": {"description": "a note"}}}}},
    }
    return json.dumps(described)


async def _main(ready_file: Path) -> None:
    application = web.Application(client_max_size=0)
    application.add_routes([web.put("/bulk", take), web.get("/bulk", give), web.get("/note", note)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await asyncio.to_thread(processes.tell, ready_file, runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.bulk")
    parser.add_argument("--ready-file", type=Path, required=True)
    processes.run(partial(_main, parser.parse_args().ready_file))
