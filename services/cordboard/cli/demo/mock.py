"""The mock server of an API description: prism, other people's program, which validates each request that arrives.

Descriptions whose answers refer to each other in large circles keep prism from ever starting. It then gets the same
description without the schemas of its answers: what is judged, the requests, stays whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.demo.parts import end, start, until

WHOLE_SECONDS: Final = 15.0
REQUESTS_SECONDS: Final = 60.0
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_ANSWER: Final = {"200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}}


@dataclass(frozen=True)
class Mock:
    """A mock that runs."""

    url: str
    whole: bool
    """Whether it knows the answers' schemas; otherwise it answers everything with an empty object."""


@contextlib.asynccontextmanager
async def mock(program: str, document: Path, folder: Path) -> AsyncIterator[Mock]:
    """Runs the mock of a description; raises StepFailed when it does not start."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(_running(program, document, folder, WHOLE_SECONDS))
            found = Mock(url, whole=True)
        except StepFailed:
            requests = folder / f"{document.stem}-requests.json"
            await asyncio.to_thread(_write_requests, document, requests)
            url = await stack.enter_async_context(_running(program, requests, folder, REQUESTS_SECONDS))
            found = Mock(url, whole=False)
        yield found


@contextlib.asynccontextmanager
async def _running(program: str, document: Path, folder: Path, patience: float) -> AsyncIterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with (folder / f"mock-{document.stem}.log").open("wb") as log:
        process = await start((program, "mock", "--host", "127.0.0.1", "--port", str(port), str(document)), log)
        url = f"http://127.0.0.1:{port}"

        async def answers() -> bool:
            if process.returncode is not None:
                raise StepFailed(f"prism ended with {process.returncode}; see {log.name}")
            with contextlib.suppress(aiohttp.ClientError):
                async with aiohttp.ClientSession() as session, session.get(url):
                    return True
            return False

        try:
            await until(answers, "prism to read the description", patience=patience, every=0.1)
            yield url
        finally:
            await end(process)


def _write_requests(document: Path, target: Path) -> None:
    described = yaml.load(document.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    target.write_text(json.dumps(request_side(described), default=str))


def request_side(described: dict[str, Any]) -> dict[str, Any]:
    """Returns a description without the schemas of its answers, and without the components that only they used."""
    paths = {
        path: {
            key: {**part, "responses": _ANSWER} if key in _METHODS and isinstance(part, dict) else part
            for key, part in item.items()
        }
        for path, item in described.get("paths", {}).items()
    }
    used: set[str] = set()
    waiting = _references(paths)
    while waiting:
        reference = waiting.pop()
        used.add(reference)
        waiting |= _references(_at(described, reference)) - used
    components = {
        kind: {
            name: part
            for name, part in parts.items()
            if kind == "securitySchemes" or f"#/components/{kind}/{name}" in used
        }
        for kind, parts in described.get("components", {}).items()
    }
    return {**described, "paths": paths, "components": components}


def _references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = part.get("$ref")
        found = {own} if isinstance(own, str) and own.startswith("#/") else set()
        return found.union(*(_references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(_references(value) for value in part))
    return set()


def _at(described: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        described = described.get(key) if isinstance(described, dict) else None
    return described
