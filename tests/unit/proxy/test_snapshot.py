"""Streams that never stay closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cordboard.core.copies import Copy
from cordboard.core.following import follow


async def test_a_stream_is_opened_again_whatever_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordboard.core.following._FIRST_PAUSE", 0.001)
    opened, enough = 0, asyncio.Event()

    async def watch() -> AsyncIterator[None]:
        nonlocal opened
        opened += 1
        yield
        if opened == 1:
            return
        if opened == 2:
            raise KeyError("no address")
        if opened == 3:
            # As gRPC does when the channel below a stream is closed.
            raise asyncio.CancelledError
        enough.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(follow(Copy("catalog"), watch))
    async with asyncio.timeout(50):
        await enough.wait()
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert opened == 4


async def test_a_fault_of_ours_is_not_hidden() -> None:
    async def watch() -> AsyncIterator[None]:
        yield
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await follow(Copy("catalog"), watch)
