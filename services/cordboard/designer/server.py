"""The designer's page and what it asks for, served to one person on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeAlias

from aiohttp import web

from cordboard.auth.callback_page import CONTENT_TYPE
from cordboard.auth.page_files import PageFiles
from cordboard.core.errors import NotFound
from cordboard.designer.editors import Refused, Wrong
from cordboard.designer.workbench import Workbench

Act: TypeAlias = Callable[[Workbench, Mapping[str, Any]], Any]

MAX_BODY_BYTES: Final = 1024 * 1024
_GRACE_SECONDS: Final = 1.0


@contextlib.asynccontextmanager
async def serving(workbench: Workbench, port: int = 0) -> AsyncIterator[str]:
    """Serves the designer inside the block, on a free port when `port` is 0; yields the link to it.

    Raises OSError when it cannot listen.
    """
    token = secrets.token_urlsafe(32)
    listener = socket.create_server(("127.0.0.1", port))
    place = f"127.0.0.1:{listener.getsockname()[1]}"
    runner = web.AppRunner(_application(workbench, token, place), access_log=None, shutdown_timeout=_GRACE_SECONDS)
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        # What follows the # is sent to nobody.
        yield f"http://{place}/design#token={token}"
    finally:
        await runner.cleanup()
        listener.close()


def _application(workbench: Workbench, token: str, place: str) -> web.Application:
    files = PageFiles("design", "Designer")
    # One change after the other, and none in the way of the page's files.
    turn = asyncio.Lock()

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        # A page of the web whose name was made to lead here has another host, and a form of one another origin.
        if request.headers.get("host", "") != place or request.headers.get("origin", f"http://{place}") != (
            f"http://{place}"
        ):
            return web.Response(status=403)
        found: web.StreamResponse = await handler(request)
        return found

    async def page(_: web.Request) -> web.Response:
        shown = files.page()
        return web.Response(body=shown.text.encode(), headers={**dict(shown.headers), "content-type": CONTENT_TYPE})

    async def asset(request: web.Request) -> web.Response:
        try:
            file = files.file(request.match_info["name"])
        except NotFound:
            return web.Response(status=404)
        return web.Response(body=file.data, headers={**dict(file.headers), "content-type": file.content_type})

    async def call(request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return _refused(401, Wrong("", "this link is not the one that `cordboard design` printed last"))
        act = ACTS.get(request.match_info["act"])
        if act is None or request.content_type != "application/json":
            return web.Response(status=404)
        try:
            asked = json.loads(await request.text())
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            return _refused(400, Wrong("", "the request is not a JSON object"))
        try:
            async with turn:
                answer = await asyncio.to_thread(act, workbench, asked)
        except Refused as error:
            # Ordinary while a person types: not a failure of the page.
            return _refused(200, *error.problems)
        return _json(200, {} if answer is None else answer)

    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.get("/design", page),
            web.get("/design/assets/{name}", asset),
            web.post("/design/api/{act}", call),
        ]
    )
    return app


def _refused(status: int, *problems: Wrong) -> web.Response:
    told = [{"pointer": one.pointer, "fieldId": one.field_id, "text": one.text} for one in problems]
    return _json(status, {"problems": told})


def _json(status: int, answer: Any) -> web.Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return web.json_response(answer, status=status, headers=headers)


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise Refused(Wrong("", f"{name} must be text"))
    return value


def _values(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    value = asked.get("values", {})
    if not isinstance(value, dict):
        raise Refused(Wrong("", "values must be an object"))
    return value


def _by(asked: Mapping[str, Any]) -> int:
    return 1 if asked.get("by", 1) == 1 else -1


ACTS: Final[Mapping[str, Act]] = {
    "definitions": lambda bench, _: {"definitions": bench.definitions()},
    "opened": lambda bench, asked: bench.opened(_text(asked, "file")),
    "form": lambda bench, asked: bench.form(_text(asked, "file"), _text(asked, "form"), _text(asked, "language")),
    "editor": lambda bench, asked: bench.editor(_text(asked, "file"), _text(asked, "form"), _text(asked, "part")),
    "new": lambda bench, asked: bench.new(_text(asked, "form")),
    "change": lambda bench, asked: bench.change(
        _text(asked, "file"), _text(asked, "form"), _text(asked, "part"), _values(asked)
    ),
    "add": lambda bench, asked: {"part": bench.add(_text(asked, "file"), _text(asked, "form"), _values(asked))},
    "remove": lambda bench, asked: bench.remove(_text(asked, "file"), _text(asked, "form"), _text(asked, "part")),
    "move": lambda bench, asked: bench.move(
        _text(asked, "file"), _text(asked, "form"), _text(asked, "part"), _by(asked)
    ),
    "findings": lambda bench, asked: {"findings": bench.findings(_text(asked, "file"))},
    "save": lambda bench, asked: bench.save(_text(asked, "file")),
    "discard": lambda bench, asked: bench.discard(_text(asked, "file")),
}
"""What the page can ask for, each by a word."""
