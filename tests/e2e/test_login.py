"""Operators sign in by `cordboard login` and by a browser, through Envoy, at a real OpenID provider, and out again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.client import Client, Unauthenticated
from cordboard.local.mesh import Mesh
from cordboard.local.options import MeshOptions
from cordboard.local.ports import Ports
from tests.fixtures.mesh import _browser, until
from tests.fixtures.oidc import CLIENT, INSTALLED, SECRET, Provider, provider, signed_in

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not INSTALLED, reason="Node.js or its packages are missing (`make node`): NO real OpenID provider is tried"
    ),
]
COMMAND = str(Path(sys.executable).with_name("cordboard"))
PEOPLE = {"ada": {"email": "ada@example.com", "email_verified": True, "groups": ["operators"]}, "bob": {}}


@dataclass
class Place:
    """A mesh whose operators sign in, and somebody's configuration."""

    mesh: Mesh
    browser: aiohttp.ClientSession
    home: Path
    provider: Provider

    async def command(self, *arguments: str) -> asyncio.subprocess.Process:
        """Starts the command as somebody without any file of the mesh but its certificate authority."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CORDBOARD_")}
        environment |= {"XDG_CONFIG_HOME": str(self.home), "COLUMNS": "200"}
        return await asyncio.create_subprocess_exec(
            COMMAND, "--profile", "hub", *arguments, env=environment, cwd=self.home,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def done(self, *arguments: str) -> tuple[int, str, str]:
        """Runs the command to its end."""
        process = await self.command(*arguments)
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def login(self, who: str, *arguments: str) -> tuple[int, str, str]:
        """Runs `login`, and plays the person and the browser."""
        process = await self.command("login", "--no-browser", *arguments)
        assert process.stderr is not None
        url = ""
        while not url.startswith("http"):
            url = (await process.stderr.readline()).decode().strip()
            assert url or not process.stderr.at_eof()
        back = await signed_in(url, login=who, until=f"{self.mesh.public_url}/login/callback")
        async with self.browser.get(f"{self.mesh.public_url}/login/callback?{urlencode(back)}") as answer:
            page = await answer.text()
            assert answer.headers["cache-control"] == "no-store"
        onward = unescape(page.partition('content="0;url=')[2].partition('"')[0])
        assert onward.startswith("http://127.0.0.1:")
        async with aiohttp.ClientSession() as session, session.get(onward) as answer:
            assert answer.status == 200
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def post(self, path: str, body: Any, cookie: str = "") -> tuple[int, Any, dict[str, str]]:
        """Posts JSON as a page of the installation would; returns status, answer and the cookies that were set."""
        headers = {"cookie": cookie} if cookie else {}
        async with self.browser.post(self.mesh.public_url + path, json=body, headers=headers) as answer:
            baked: SimpleCookie = SimpleCookie()
            for each in answer.headers.getall("set-cookie", []):
                baked.load(each)
            return answer.status, await answer.json(), {name: morsel.value for name, morsel in baked.items()}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    secret = tmp_path / "client-secret"
    secret.write_text(SECRET)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="cordboard-login-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # PostgreSQL runs as somebody else when we are root, and its data lies below.
        await asyncio.to_thread(folder.chmod, 0o711)
        ports = Ports()
        free = ports.claim()
        ports.release()
        running = await stack.enter_async_context(provider(f"https://localhost:{free}/login/callback", people=PEOPLE))
        told = {
            "LOGIN_ISSUER": running.issuer,
            "LOGIN_CLIENT_ID": CLIENT,
            "LOGIN_CLIENT_SECRET_FILE": str(secret),
            "LOGIN_ROLES": json.dumps(["group:operators=operator"]),
            "LOGIN_ALLOWED_NETWORKS": json.dumps(["127.0.0.0/8"]),
        }
        mesh = Mesh(
            MeshOptions(
                state_dir=folder / "state",
                public_port=free,
                retain_data=False,
                extra_env={"auth": {f"CORDBOARD_{name}": value for name, value in told.items()}},
            )
        )
        stack.push_async_callback(mesh.stop)
        await mesh.__aenter__()
        browser = await stack.enter_async_context(await _browser(mesh))
        found = Place(mesh, browser, tmp_path, running)
        code, _, errors = await found.done("profile", "add", "hub", mesh.public_address, "--ca-file", str(mesh.ca_file))
        assert code == 0, errors
        yield found


async def test_an_operator_signs_in_works_and_signs_out(place: Place) -> None:
    # One mesh for both: it takes longer to start than they take.
    file, token = await command_line(place)
    await sign_out(place, file, token)
    await browser_page(place)


async def command_line(place: Place) -> tuple[Path, str]:
    """Signs in with the command; returns where the token is, and the token."""
    code, _, errors = await place.done("workspaces", "list")
    assert code == 4
    assert "cordboard --profile hub login" in errors

    code, _, errors = await place.login("bob")
    assert code == 4
    assert "no role here" in errors

    code, output, errors = await place.login("ada")
    assert code == 0, errors
    assert "signed in at hub as ada@example.com (operator) until 20" in output
    [file] = (place.home / "cordboard" / "tokens").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    assert token not in output + errors
    code, _, errors = await place.done("workspaces", "create", "acme", "--tier", "business")
    assert code == 0, errors
    code, output, errors = await place.done("audit", "list", "auth", "--action", "auth.", "-o", "json")
    assert code == 0, errors
    assert {"auth.login.refuse", "auth.login.succeed"} <= {each["action"] for each in json.loads(output)}
    code, output, errors = await place.done("audit", "list", "auth", "--workspace", "acme", "-o", "json")
    assert code == 0, errors
    made = [each for each in json.loads(output) if each["action"] == "auth.workspace.create"]
    assert [each["actor"] for each in made] == ["ada@example.com"]
    return file, token


async def sign_out(place: Place, file: Path, token: str) -> None:
    """Signs out with the command, and sees the token revoked."""
    code, _, errors = await place.done("logout")
    assert code == 0, errors
    assert list(file.parent.iterdir()) == []
    assert (await place.done("workspaces", "list"))[0] == 4
    assert (await place.done("logout"))[0] == 3
    async with Client(place.mesh.public_address, token=token, ca_file=place.mesh.ca_file) as client:

        async def refused() -> bool:
            try:
                await client.workspaces.ListWorkspaces(workspaces.ListWorkspacesRequest())
            except Unauthenticated:
                return True
            return False

        await until(refused, "the token to be revoked")


async def browser_page(place: Place) -> None:
    """Signs in as a page of the installation does: with a cookie, and tokens for it, by JSON."""
    status, begun, cookies = await place.post("/v1/logins", {"returnPath": "/console/"})
    assert status == 200
    [(name, binding)] = cookies.items()
    assert name == "__Host-cordboard-login"
    back = await signed_in(begun["authorizationUrl"], until=f"{place.mesh.public_url}/login/callback")
    url = f"{place.mesh.public_url}/login/callback?{urlencode(back)}"
    async with place.browser.get(url, headers={"cookie": f"{name}={binding}"}) as answer:
        assert answer.headers["content-type"].startswith("text/html")
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert 'content="0;url=/console/"' in await answer.text()
        baked: SimpleCookie = SimpleCookie()
        for each in answer.headers.getall("set-cookie"):
            baked.load(each)
    session = f"__Host-cordboard-session={baked['__Host-cordboard-session'].value}"
    assert baked["__Host-cordboard-session"]["samesite"] == "Strict"
    status, given, _ = await place.post("/v1/sessions:token", {}, session)
    assert (status, given["subject"], given["roles"]) == (200, "ada@example.com", ["ROLE_OPERATOR"])
    headers = {"authorization": f"Bearer {given['accessToken']}"}
    async with place.browser.get(f"{place.mesh.public_url}/v1/workspaces", headers=headers) as answer:
        assert answer.status == 200
    assert (await place.post("/v1/sessions:token", {}))[0] == 401
    assert (await place.post("/v1/sessions:end", {}, session))[0] == 200
    assert (await place.post("/v1/sessions:token", {}, session))[0] == 401
