"""A Proxy that thanks vendors before it has kept anything: the control of the kills of events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cordboard.proxy.events.event import Event
from cordboard.proxy.events.intake import Gathering
from tests.soak import proxy_process

_later: set[asyncio.Task[int]] = set()
_add = Gathering.add


async def hasty(gathering: Gathering, workspace: str, events: Sequence[Event]) -> int:
    """Says that events were kept, and keeps them a moment later."""

    async def keep() -> int:
        await asyncio.sleep(0.3)
        return await _add(gathering, workspace, events)

    task = asyncio.create_task(keep())
    _later.add(task)
    task.add_done_callback(_later.discard)
    return len(events)


def main() -> None:
    """Serves with the settings in the environment."""
    setattr(Gathering, "add", hasty)  # noqa: B010 - a method is replaced
    proxy_process.main()
