"""Several who wait for one task."""

from __future__ import annotations

import asyncio

import pytest

from cordboard.core.waiters import Waiters


async def begun(tasks: int, waiters: Waiters[str], task: asyncio.Task[str], left: list[str]) -> list[asyncio.Task[str]]:
    """Returns so many who wait for the task."""
    made = [asyncio.create_task(waiters.result(task, lambda: left.append("forgotten"))) for _ in range(tasks)]
    await asyncio.sleep(0)
    return made


@pytest.mark.asyncio
async def test_who_leaves_ends_it_for_nobody_else() -> None:
    """One of two goes: the other gets the result, and nothing is forgotten."""
    done, left = asyncio.Event(), list[str]()

    async def work() -> str:
        await done.wait()
        return "found"

    task = asyncio.create_task(work())
    first, second = await begun(2, Waiters(), task, left)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    done.set()
    assert await second == "found"
    assert left == []


@pytest.mark.asyncio
async def test_the_last_one_who_leaves_ends_it() -> None:
    """Both go: the task is forgotten before it ends."""
    left = list[str]()
    task = asyncio.create_task(asyncio.sleep(3600, "never"))
    for waiting in await begun(2, Waiters(), task, left):
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left == ["forgotten"]


@pytest.mark.asyncio
async def test_what_the_task_raises_reaches_all() -> None:
    """An error is not taken for somebody who left."""

    async def work() -> str:
        await asyncio.sleep(0)
        raise LookupError("gone")

    left = list[str]()
    for waiting in await begun(2, Waiters(), asyncio.create_task(work()), left):
        with pytest.raises(LookupError):
            await waiting
    assert left == []
