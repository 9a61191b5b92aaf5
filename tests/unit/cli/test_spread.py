"""Which files are read because a description refers to them, and which never are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from cordboard.cli import spread
from cordboard.cli.spread import from_folder, from_server
from tests.fixtures.sites import listening

MAIN = "paths: {/a: {$ref: paths/a.yaml}, /b: {$ref: 'paths/b.json#/x'}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a description of three files, beside one that is none of its business."""
    here = tmp_path / "library"
    (here / "paths").mkdir(parents=True)
    (here / "openapi.yaml").write_text(MAIN)
    (here / "paths" / "a.yaml").write_text("get: {responses: {'200': {$ref: ../openapi.yaml#/x}}}")
    (here / "paths" / "b.json").write_text('{"x": {"get": {"requestBody": {"$ref": "../bodies.yml"}}}}')
    (here / "bodies.yml").write_text("content: {}")
    (tmp_path / "secret.yaml").write_text("password: of somebody else")
    return here


async def test_the_files_of_a_description_are_found_from_one_to_the_next(folder: Path) -> None:
    found = await from_folder(folder / "openapi.yaml", MAIN)
    assert found.path == "openapi.yaml"
    assert list(found.files) == ["paths/a.yaml", "paths/b.json", "bodies.yml"]
    assert found.files["bodies.yml"] == "content: {}"
    assert found.left == {}


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("../secret.yaml", "out of the folder"),
        ("paths/../../secret.yaml", "out of the folder"),
        ("/etc/hostname.yaml", "out of the folder"),
        ("https://other.example/a.yaml", "another server"),
        ("file:///etc/hostname", "out of the folder"),
        ("link.yaml", "link that leads out"),
        ("linked/secret.yaml", "link that leads out"),
        (".env", "ends in .yaml"),
        (".git/config.yaml", "hidden"),
        ("notes.txt", "ends in .yaml"),
        ("gone.yaml", "not there"),
        ("paths.yaml", "is no file"),
        ("latin.yaml", "cannot be read"),
        ("nul\\0.yaml", "cannot be read"),
    ],
)
async def test_nothing_else_is_read(folder: Path, reference: str, reason: str) -> None:
    (folder / "link.yaml").symlink_to(folder.parent / "secret.yaml")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "paths.yaml").mkdir()
    (folder / "latin.yaml").write_bytes(b"title: caf\xe9")
    (folder / ".env").write_text("TOKEN: 1")
    (folder / "notes.txt").write_text("x: 1")
    found = await from_folder(folder / "openapi.yaml", f'{{a: {{$ref: "{reference}"}}, b: {{$ref: bodies.yml}}}}')
    assert list(found.files) == ["bodies.yml"]
    [problem] = found.left.values()
    assert reason in problem


async def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "same.yaml").symlink_to(folder / "bodies.yml")
    found = await from_folder(folder / "openapi.yaml", "{a: {$ref: same.yaml}}")
    assert found.files == {"same.yaml": "content: {}"}


async def test_there_are_so_many_files_and_bytes_and_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "MAX_FILES", 2)
    found = await from_folder(folder / "openapi.yaml", MAIN)
    assert (len(found.files), list(found.left)) == (2, ["bodies.yml"])
    monkeypatch.setattr(spread, "MAX_BYTES", len(MAIN) + 60)
    found = await from_folder(folder / "openapi.yaml", MAIN)
    assert sum(map(len, found.files.values())) <= 60
    assert any("larger" in problem for problem in found.left.values())


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """The URL of a server with a description of several files, and a way to another server."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/v1/away.yaml":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/common/c.yaml")
        texts = {"/v1/paths/a.yaml": "get: {$ref: ../../common/c.yaml}", "/common/c.yaml": "responses: {}"}
        return web.Response(text=texts[request.path]) if request.path in texts else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with listening(app) as url:
        yield url


async def test_a_server_gives_its_own_files_alone(server: str) -> None:
    text = "{a: {$ref: paths/a.yaml}, b: {$ref: away.yaml}, c: {$ref: gone.yaml}, d: {$ref: 'http://other.example/d'}}"
    found = await from_server(f"{server}/v1/openapi.yaml", text)
    assert found.path == "v1/openapi.yaml"
    assert set(found.files) == {"v1/paths/a.yaml", "common/c.yaml"}
    assert "another server" in found.left["v1/away.yaml"]
    assert "answers 404" in found.left["v1/gone.yaml"]
    assert set(found.left) == {"v1/away.yaml", "v1/gone.yaml", "http://other.example/d"}
    assert (await from_server(f"{server}/v1/", "{a: {$ref: paths/a.yaml}}")).files.keys() == {
        "v1/paths/a.yaml",
        "common/c.yaml",
    }
