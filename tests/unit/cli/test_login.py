"""The port on which a browser comes back to `cordboard login`, and how the token is kept."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from cordboard.cli import loopback as module
from cordboard.cli import profiles
from cordboard.cli.failures import CommandFailed
from cordboard.cli.loopback import Loopback
from cordboard.cli.profiles import RemoteProfile

STATE = "s" * 43


async def get(url: str, method: str = "GET") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        return answer.status, await answer.text()


async def test_the_answer_with_our_state_is_taken_and_nobody_elses() -> None:
    loopback = Loopback(STATE)
    async with loopback.listening():
        assert loopback.redirect_uri.startswith("http://127.0.0.1:")
        for wrong in (
            loopback.redirect_uri, f"{loopback.redirect_uri}?code=stolen", f"{loopback.redirect_uri}?code=x&state=",
            f"{loopback.redirect_uri}?code=x&state={STATE[:-1]}", f"{loopback.redirect_uri}x?code=x&state={STATE}",
            loopback.redirect_uri.replace("/callback", "/favicon.ico"),
        ):  # fmt: skip
            assert (await get(wrong))[0] == 404
        assert (await get(f"{loopback.redirect_uri}?code=x&state={STATE}", "POST"))[0] == 404
        status, page = await get(f"{loopback.redirect_uri}?code=c0de&state={STATE}")
        assert (status, "You are signed in" in page) == (200, True)
        # Later ones change nothing.
        await get(f"{loopback.redirect_uri}?code=second&state={STATE}")
        assert await loopback.answer() == {"code": "c0de", "state": STATE}


async def test_a_refusal_is_an_answer_too_and_nothing_of_it_is_shown() -> None:
    loopback = Loopback(STATE)
    async with loopback.listening():
        status, page = await get(f"{loopback.redirect_uri}?error=%3Cscript%3E&state={STATE}")
        assert (status, "You are not signed in" in page, "script" in page) == (200, True, False)
        assert (await loopback.answer())["error"] == "<script>"


async def test_whatever_else_comes_to_the_port_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.2)
    loopback = Loopback(STATE)
    async with loopback.listening():
        port = urlsplit(loopback.redirect_uri).port
        for sent in (b"", b"GET", b"\x16\x03\x01\x00", b"x" * 100_000, b"GET http://[ HTTP/1.1\r\n\r\n", b"\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(50):
                await asyncio.gather(reader.read(), return_exceptions=True)
            writer.close()
        assert (await get(f"{loopback.redirect_uri}?code=c0de&state={STATE}"))[0] == 200


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(profiles.TOKEN_VARIABLE, raising=False)
    return tmp_path / "cordboard"


def test_a_token_is_kept_where_its_owner_alone_can_read_it(folder: Path) -> None:
    hub = RemoteProfile("hub", "hub.example:443")
    profiles.add(hub)
    for token in ("first", "second"):
        file = profiles.keep_token("hub", token)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert file.read_text() == f"{token}\n"
        assert list(file.parent.iterdir()) == [file]
    profiles.add(replace(hub, token_file=str(file)))
    assert profiles.profile("hub").token() == "second"
    assert profiles.is_signed_in(profiles.profile("hub"))
    profiles.forget_token(profiles.profile("hub"))
    assert not file.exists()
    assert profiles.profile("hub") == hub
    with pytest.raises(CommandFailed, match="cordboard --profile hub login"):
        profiles.profile("hub").token()


def test_a_file_that_was_open_to_others_or_a_link_is_replaced(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("untouched")
    (folder / "tokens").mkdir(parents=True)
    (folder / "tokens" / "hub.token").symlink_to(target)
    file = profiles.keep_token("hub", "token")
    assert target.read_text() == "untouched"
    assert stat.S_IMODE(file.lstat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", ".", "", "a b", "é"])
def test_no_name_of_a_profile_leads_out_of_the_folder(folder: Path, name: str) -> None:
    assert profiles.keep_token(name, "token").parent == folder / "tokens"


def test_a_token_file_of_ones_own_is_read_and_never_deleted(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.write_text("mine\n")
    hub = RemoteProfile("hub", "hub.example:443", token_file=str(own))
    assert hub.token() == "mine"
    assert not profiles.is_signed_in(hub)
    assert folder.exists() is False
