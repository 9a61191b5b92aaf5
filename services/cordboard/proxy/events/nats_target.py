"""NATS JetStream as a target: an event is acknowledged when the stream has stored it.

Its subject is `cordboard.{workspace}.{integration}.{event type}`. `Nats-Msg-Id` lets the stream know what comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import nats
from nats.errors import Error
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from cordboard.proxy.events.targets import CONTENT_TYPE, UNREACHABLE, Answered

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from cordboard.core.secrets import Secret
    from cordboard.proxy.events.event import Event
    from cordboard.proxy.events.subscription import Subscription

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 3.0
# How long the stream remembers what it has stored; what is sent again later is known by its source and id.
DUPLICATES_SECONDS: Final = 120.0


class NatsTarget:
    """One stream of one server."""

    def __init__(self, url: Secret[str], stream: str, timeout: float) -> None:
        """Takes the server's URL, which may hold a password, the stream's name, and the seconds that storing may take;
        connects when first used.
        """
        self._timeout = timeout
        self._url = url
        self._stream = stream
        self._client: Client | None = None
        self._lock = asyncio.Lock()

    async def send(self, found: Subscription, event: Event, body: bytes) -> Answered:  # noqa: ARG002 - a Target
        """Stores an event in the stream. While that is away, nothing is tried, and no attempt is counted."""
        headers = {"Nats-Msg-Id": f"{event.workspace_id}-{event.number}", "Content-Type": CONTENT_TYPE}
        try:
            stream = await self._connected()
            await stream.publish(subject_of(event), body, timeout=self._timeout, stream=self._stream, headers=headers)
        except (Error, OSError, TimeoutError) as error:
            logger.warning("NATS did not take an event", extra={"problem": type(error).__name__})
            return Answered(UNREACHABLE, busy=True)
        return Answered()

    async def close(self) -> None:
        """Ends the connection."""
        if self._client is not None:
            with contextlib.suppress(Error, OSError, TimeoutError):
                await self._client.close()

    async def _connected(self) -> JetStreamContext:
        async with self._lock:
            if self._client is None or not self._client.is_connected:
                await self.close()
                # The library tries a server that is away again and again, for minutes.
                async with asyncio.timeout(CONNECT_SECONDS):
                    self._client = await nats.connect(
                        self._url.reveal(), allow_reconnect=False, max_reconnect_attempts=1, error_cb=_said
                    )
                await self._ensure_stream(self._client.jetstream())
            return self._client.jetstream()

    async def _ensure_stream(self, context: JetStreamContext) -> None:
        try:
            await context.stream_info(self._stream)
        except NotFoundError:
            made = StreamConfig(name=self._stream, subjects=["cordboard.>"], duplicate_window=DUPLICATES_SECONDS)
            await context.add_stream(made)


def subject_of(event: Event) -> str:
    """Returns the subject of an event: words between single dots."""
    words = f"cordboard.{event.workspace_id}.{event.integration}.{event.event_type}".split(".")
    return ".".join(word for word in words if word)


async def _said(error: Exception) -> None:
    # Whoever sends is told; the library would print a stack.
    logger.info("NATS said", extra={"problem": type(error).__name__})
