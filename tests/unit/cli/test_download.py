"""A document is fetched within limits, and refused with one sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from cordboard.cli.documents import MAX_BYTES
from cordboard.cli.download import download, is_url
from cordboard.cli.failures import CommandFailed
from tests.fixtures.sites import listening


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """The URL of a server with a document, detours to it, and answers that nobody wants."""

    async def document(_request: web.Request) -> web.Response:
        return web.Response(text="openapi: 3.0.3")

    async def detour(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/document")

    async def circle(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/circle")

    async def outside(_request: web.Request) -> web.Response:
        raise web.HTTPFound("file:///etc/hostname")

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b" " * (MAX_BYTES + 1))

    async def latin(_request: web.Request) -> web.Response:
        return web.Response(body=b"title: caf\xe9")

    app = web.Application()
    for handler in (document, detour, circle, outside, large, latin):
        app.router.add_get(f"/{handler.__name__}", handler)
    async with listening(app) as url:
        yield url


async def test_a_document_and_where_it_was_at_last_come_back(server: str) -> None:
    assert await download(f"{server}/document") == ("openapi: 3.0.3", f"{server}/document")
    assert await download(f"{server}/detour") == ("openapi: 3.0.3", f"{server}/document")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("circle", "redirects"),
        ("outside", "only http and https"),
        ("large", "larger than 16 MiB"),
        ("latin", "not UTF-8"),
        ("nothing", "answers 404"),
    ],
)
async def test_what_is_no_document_is_refused_with_the_reason(server: str, path: str, reason: str) -> None:
    with pytest.raises(CommandFailed, match=reason):
        await download(f"{server}/{path}")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://acme.example/a", "http://user:word@acme.example/"])
async def test_only_plain_web_addresses_are_fetched(url: str) -> None:
    with pytest.raises(CommandFailed, match="only http and https"):
        await download(url)


def test_a_file_is_not_taken_for_a_url() -> None:
    assert is_url("https://acme.example/openapi.json")
    assert not is_url("folder/openapi.json")


async def test_a_server_that_is_not_there_is_told_by_its_address() -> None:
    with pytest.raises(CommandFailed, match=r"127\.0\.0\.1:1 cannot be reached: connection refused"):
        await download("http://127.0.0.1:1/x.json")
