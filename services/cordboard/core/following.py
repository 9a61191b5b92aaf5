"""Follows a stream that never stays closed, to keep a copy of what another service knows."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.core.channel import failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cordboard.core.copies import Copy

logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


async def follow(copy: Copy, watch: Callable[[], AsyncIterator[None]]) -> None:
    """Runs a watch for ever: again after it ended, with pauses that grow while it fails; the copy ages meanwhile."""
    pause = _FIRST_PAUSE
    while True:
        try:
            async for _ in watch():
                pause = _FIRST_PAUSE
                copy.current()
        except (grpc.aio.AioRpcError, KeyError) as error:
            logger.warning("watching was interrupted", extra={"source": copy.name, "code": failure(error)})
        except asyncio.CancelledError:
            # A channel that is closed, as after a certificate was replaced, cancels its streams, and not us.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        copy.lost()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas
        pause = min(pause * 2, _LONGEST_PAUSE)
