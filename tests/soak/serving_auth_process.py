"""Auth that serves and leaves rotations of keys to others, as a process of its own.

`python -m tests.soak.serving_auth_process`. Where the process that rotates is killed again and again, none of those
that are counted may take its place.
"""

from __future__ import annotations

import asyncio

from cordboard.auth import __main__ as auth
from cordboard.auth.rotation import Rotations
from cordboard.auth.settings import AuthSettings
from cordboard.core.server import run


async def left_alone(_: Rotations) -> None:
    """Rotates nothing, for ever."""
    await asyncio.Event().wait()


if __name__ == "__main__":
    setattr(Rotations, "run", left_alone)  # noqa: B010 - a method is replaced
    run("auth", AuthSettings, auth.start)
