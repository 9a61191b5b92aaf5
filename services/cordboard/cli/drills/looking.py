"""Waits in the middle of a drill, so that somebody can find the cause at the console."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from cordboard.auth.v1 import login_service_pb2 as login

if TYPE_CHECKING:
    from rich.console import Console

    from cordboard.cli.drills.scene import Cause, Scene


class Looking:
    """Lets somebody look at the console, before a failure and while it is there."""

    def __init__(self, console: Console) -> None:
        """Takes where to say what to do."""
        self._console = console

    async def begin(self, scene: Scene) -> None:
        """Gives the console's address while all is well: without its database a mesh lets nobody in anew."""
        self._say(f"Open the console: {await _invitation(scene)}")
        await self._enter("Press Enter to make the failure.")

    async def __call__(self, cause: Cause) -> None:
        """Waits until the cause is found, and then tells it."""
        if cause.edge is not None:
            self._say(f"The edge has a console too: {await _invitation(cause.edge)}")
        await self._enter("Find the cause at the console. Press Enter to be told, and to have it mended.")
        self._say(f"The cause: {cause.text}.")

    async def _enter(self, text: str) -> None:
        self._say(text)
        # A closed standard input is an Enter as well.
        await asyncio.to_thread(sys.stdin.readline)

    def _say(self, text: str) -> None:
        # Whole: an address that is broken over two lines cannot be opened.
        self._console.print(f"\n{text}", highlight=False, soft_wrap=True)


async def _invitation(scene: Scene) -> str:
    made = await scene.operator.login.InviteBrowser(login.InviteBrowserRequest())
    return f"{scene.mesh.public_url}/console#code={made.code}"
