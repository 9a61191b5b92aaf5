"""OFREP's stream of changes as server-sent events: it says that all flags are to be asked for again, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any, Final

from cordboard.flags.openfeature.events import KEEP_ALIVE_SECONDS
from cordboard.flags.openfeature.tickets import SLOT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.core.times import Clock
    from cordboard.flags.consumers.consumers import Consumers, Follower
    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.openfeature.tickets import Ticket, Tickets

PROTOCOL: Final = "ofrep"
PATH: Final = "/ofrep/v1/events"
CONTENT_TYPE: Final = "text/event-stream"
# How long a page may be out of sight before its stream is closed, in seconds.
INACTIVITY_SECONDS: Final = 120
# When a client whose stream has ended comes back, and a line that says nothing (HTML, 9.2.6 Interpreting an event
# stream).
OPENING: Final = b"retry: 1000\n\n"
ALIVE: Final = b":\n\n"


def streams(ticket: str) -> list[dict[str, Any]]:
    """Returns where a client hears of changes, as the answer about all flags says it."""
    place = {"requestUri": f"{PATH}?ticket={ticket}"}
    return [{"type": "sse", "endpoint": place, "inactivityDelaySec": INACTIVITY_SECONDS}]


class OfrepEvents:
    """Streams the changes of the set that holds now."""

    def __init__(
        self,
        live: LiveFlags,
        consumers: Consumers,
        tickets: Tickets,
        clock: Clock,
        *,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        """Takes the set, what knows who follows it, what reads tickets, the time, and how often a silent stream shows
        that it is there.
        """
        self._consumers = consumers
        self._live = live
        self._tickets = tickets
        self._clock = clock
        self._keep_alive_seconds = keep_alive_seconds

    async def stream(self, ticket: str, last: str) -> AsyncIterator[bytes]:
        """Yields events until the ticket ends; `last` is the id of the last one that the client had.

        The first one comes at once, because something may have changed since the client asked for its flags. Raises
        TokenInvalid.
        """
        read = await self._tickets.read(ticket)
        # A ticket says nothing of whom it was given to.
        with self._consumers.following(PROTOCOL, "") as follower:
            async for text in self._texts(read, last, follower):
                yield text

    async def _texts(self, read: Ticket, last: str, follower: Follower) -> AsyncIterator[bytes]:
        known = self._live.snapshot
        yield OPENING if last == str(known.sequence) else OPENING + _event(known.sequence)
        follower.has(known.sequence)
        renewal = self._renewal(read)
        while (left := read.expires - self._clock.now().timestamp()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._keep_alive_seconds)):
                    await known.superseded.wait()
            newest = self._live.snapshot
            renewing = self._clock.now().timestamp() >= renewal
            if renewing:
                renewal = read.expires
            yield _event(newest.sequence) if renewing or newest is not known else ALIVE
            known = newest
            follower.has(known.sequence)

    def _renewal(self, ticket: Ticket) -> float:
        # The answer to a client that asks again has the next ticket in it. All of them at once would be a crowd.
        return max(ticket.superseded, self._clock.now().timestamp()) + random.uniform(0.0, SLOT_SECONDS / 2)  # noqa: S311 - spreads load


def _event(sequence: int) -> bytes:
    said = json.dumps({"type": "refetchEvaluation", "etag": str(sequence)}, separators=(",", ":"))
    return f"id: {sequence}\ndata: {said}\n\n".encode()
