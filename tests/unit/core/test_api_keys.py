"""API keys as they travel: their form, and what a service keeps of them."""

from __future__ import annotations

import asyncio
import zlib
from types import SimpleNamespace

import pytest

from cordboard.core import api_keys
from cordboard.core.api_keys import ApiKeys, KeyParts, new_key
from cordboard.core.errors import LimitExceeded, TokenInvalid


def test_a_key_says_its_environment_and_its_id() -> None:
    for environment in ("production", "qa", "eu-west-2"):
        key_id, key = new_key(environment)
        assert api_keys.parts(key) == KeyParts(environment, key_id)


def test_the_check_is_the_crc_in_base_62() -> None:
    text = "cbk_production_0123456789ABCDEF_" + "z" * 43
    number = 0
    for digit in api_keys.check_of(text):
        number = number * 62 + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(digit)
    assert number == zlib.crc32(text.encode())
    assert len(api_keys.check_of("")) == 6


def test_a_key_with_any_character_changed_is_none() -> None:
    _, key = new_key("production")
    for place, character in enumerate(key):
        wrong = key[:place] + ("1" if character == "0" else "0") + key[place + 1 :]
        with pytest.raises(TokenInvalid):
            api_keys.parts(wrong)
    for wrong in ("", "cbk_", key[:-1], key + "0", f" {key}", f"{key}\n", key.replace("cbk", "CBK")):
        with pytest.raises(TokenInvalid):
            api_keys.parts(wrong)


async def test_a_key_is_exchanged_once_and_bad_ones_are_counted_by_address() -> None:
    asked: list[str] = []
    good, bad = new_key("production")[1], new_key("production")[1]

    async def exchange(key: str) -> str:
        asked.append(key)
        await asyncio.sleep(0)
        if key != good:
            raise TokenInvalid("signature")
        return "token"

    keys = ApiKeys(exchange)
    assert await asyncio.gather(*(keys.token(good, "a") for _ in range(50))) == ["token"] * 50
    assert asked == [good]
    for _ in range(int(api_keys.BAD_BURST)):
        with pytest.raises(TokenInvalid):
            await keys.token(bad, "a")
    with pytest.raises(LimitExceeded) as refused:
        for _ in range(10):
            with pytest.raises(TokenInvalid):
                await keys.token(bad, "a")
    assert refused.value.retry_after is not None
    # It was refused once by who knows, and then by who remembers.
    assert asked == [good, bad]
    assert await keys.token(good, "a") == "token"
    with pytest.raises(TokenInvalid):
        await keys.token(bad, "b")
    # What is not even a key costs nobody a question.
    count = len(asked)
    with pytest.raises(TokenInvalid):
        await keys.token(bad[:-1] + ("0" if bad[-1] != "0" else "1"), "c")
    assert len(asked) == count


async def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_CACHE_SIZE", 2)
    asked: list[str] = []

    async def exchange(key: str) -> str:
        asked.append(key)
        return f"token of {key}"

    keys, made = ApiKeys(exchange), [new_key("production")[1] for _ in range(3)]
    for key in made:
        await keys.token(key, "a")
    for key in reversed(made):
        assert await keys.token(key, "a") == f"token of {key}"
    assert asked == [*made, made[0]], "the oldest one was forgotten, and no other"


async def test_what_is_known_of_a_key_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], []
    monkeypatch.setattr(api_keys, "time", SimpleNamespace(monotonic=lambda: now[0]))
    good, bad = new_key("production")[1], new_key("production")[1]

    async def exchange(key: str) -> str:
        asked.append(key)
        if key != good:
            raise TokenInvalid("signature")
        return "token"

    keys = ApiKeys(exchange)
    for moment, count in ((0.0, 1), (api_keys.TOKEN_SECONDS - 1, 1), (api_keys.TOKEN_SECONDS, 2)):
        now[0] = moment
        await keys.token(good, "a")
        assert asked.count(good) == count, moment
    began = now[0]
    # Whoever goes on sending it puts the next question off.
    last = 2 * api_keys.REFUSED_SECONDS - 1
    for seconds, count in ((0.0, 1), (api_keys.REFUSED_SECONDS - 1, 1), (last, 2)):
        now[0] = began + seconds
        with pytest.raises(TokenInvalid):
            await keys.token(bad, "b")
        assert asked.count(bad) == count, seconds
    for _ in range(int(api_keys.BAD_BURST)):
        with pytest.raises(TokenInvalid):
            await keys.token(bad, "c")
    with pytest.raises(LimitExceeded):
        await keys.token(bad, "c")
