"""Where a browser comes back to a program on the same machine (RFC 8252 section 7.3)."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qsl, urlsplit

PATH: Final = "/callback"
READ_SECONDS: Final = 5.0
_PAGE: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Cordboard</title></head><body>'
    '<main role="status"><h1>{heading}</h1><p>You can close this window and go back to the terminal.</p></main>'
    "</body></html>"
)


class Loopback:
    """A port on this machine that takes one answer."""

    def __init__(self, state: str) -> None:
        """Takes the state that tells our answer from everybody else's."""
        self._state = state
        self._answer: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.redirect_uri = ""

    async def answer(self) -> dict[str, str]:
        """Returns the query that the browser came back with, once it does."""
        return await self._answer

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listens; `redirect_uri` says where."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=16 * 1024)
        self.redirect_uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whatever comes that is no request, or too long, or too slow: the connection ends.
        with contextlib.suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, EOFError):
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, page = self._take(head.split(b"\r\n", 1)[0].decode("ascii", "replace"))
                writer.write(_response(status, page))
                await writer.drain()
        writer.close()

    def _take(self, line: str) -> tuple[str, str]:
        method, _, rest = line.partition(" ")
        target = urlsplit(rest.partition(" ")[0])
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        ours = hmac.compare_digest(query.get("state", "").encode(), self._state.encode())
        if method != "GET" or target.path != PATH or not ours:
            return "404 Not Found", _PAGE.format(heading="There is nothing here")
        if not self._answer.done():
            self._answer.set_result(query)
        return "200 OK", _PAGE.format(heading="You are signed in" if "code" in query else "You are not signed in")


def _response(status: str, page: str) -> bytes:
    body = page.encode()
    headers = (
        f"HTTP/1.1 {status}",
        "content-type: text/html; charset=utf-8",
        f"content-length: {len(body)}",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "connection: close",
    )
    return "\r\n".join(headers).encode() + b"\r\n\r\n" + body
