"""Sends events to the targets of subscriptions: again until they are taken, later when the target says so."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind, Status, StatusCode

from cordboard.core import telemetry
from cordboard.core.errors import CordboardError, NotFound
from cordboard.core.names import new_id
from cordboard.core.telemetry import INTEGRATION, WORKSPACE
from cordboard.proxy import origins
from cordboard.proxy.events.subscription import Handed, Subscription
from cordboard.proxy.events.targets import UNREADABLE, Answered, Target

if TYPE_CHECKING:
    from cordboard.core.database import Changes
    from cordboard.core.measures import Measures
    from cordboard.proxy.events.deliveries import DeliveryStore
    from cordboard.proxy.events.events import Events

logger = logging.getLogger(__name__)

# So much longer than a target has to answer is an event nobody else's to send.
MARGIN: Final = 1.0
AT_ONCE: Final = 8
SUBSCRIPTIONS: Final = 16
LONGEST_WAIT: Final = 3600.0
_PAUSE: Final = 5.0


class Sender:
    """The one that sends events in this process."""

    def __init__(
        self,
        store: DeliveryStore,
        events: Events,
        changes: Changes,
        targets: Mapping[str, Target],
        measures: Measures,
        *,
        timeout: float,
        first_wait: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Takes what knows what is due, what opens data, and the targets by the kinds of subscriptions, which have so
        many seconds to answer.

        What failed waits for `first_wait` seconds, and twice as long each time; half of it is chance: `draw`.
        """
        self._store = store
        self._events = events
        self._changes = changes
        self._targets = targets
        self._lease = timeout * 1.2 + MARGIN
        self._first_wait = first_wait
        self._draw = draw
        self._holder = new_id()
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._sent = measures.histogram("cordboard.event.delivery.duration", "s", (WORKSPACE, "cordboard.outcome"))

    async def run(self) -> None:
        """Sends for ever."""
        try:
            async with self._changes.subscription() as turn:
                while True:
                    try:
                        room = SUBSCRIPTIONS - len(self._running)
                        for found in await self._store.due(SUBSCRIPTIONS * 2) if room else []:
                            self._start(found)
                    except CordboardError as error:
                        logger.warning("events were not sent", extra={"problem": type(error).__name__})
                    await turn.wait()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start(self, found: Subscription) -> None:
        here = (found.workspace_id, found.id)
        if here not in self._running and len(self._running) < SUBSCRIPTIONS:
            task = self._running[here] = asyncio.create_task(self._serve(found))
            task.add_done_callback(lambda _: self._running.pop(here, None))

    async def _serve(self, found: Subscription) -> None:
        holder = f"{self._holder}-{new_id()}"
        try:
            while True:
                handed = await self._store.claim(
                    found.workspace_id, found.id, holder, most=AT_ONCE, lease=self._lease, in_line=True
                )
                if not handed:
                    return
                # What was claimed is signed with the secrets of now: others may have been made since the last round.
                present = await self._store.subscription(found.workspace_id, found.id)
                if present is None:
                    return
                sent = [self._send(present, each) for each in handed]
                if not all(await asyncio.gather(*sent)):
                    return
        except CordboardError as error:
            # What was claimed comes again when its lease has ended.
            logger.warning("events were left", extra={"problem": type(error).__name__})

    async def _send(self, found: Subscription, handed: Handed) -> bool:
        """Sends one event; returns whether the target is open for more."""
        began = time.monotonic()
        with telemetry.tracer().start_as_current_span(
            "event proxy.send",
            kind=SpanKind.PRODUCER,
            links=origins.links(handed.event.trace_id),
            attributes={
                WORKSPACE: found.workspace_id,
                INTEGRATION: handed.event.integration,
                "cordboard.event": handed.event.name,
                "cordboard.subscription": found.name,
                "cordboard.attempt": handed.attempt,
                "messaging.operation.type": "send",
                "messaging.destination.name": found.id,
                "messaging.message.id": handed.event.id,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            answered = await self._answered(found, handed)
            span.set_attribute("cordboard.outcome", answered.reason or "taken")
            if answered.reason and not answered.busy:
                span.set_attribute("error.type", answered.reason)
                span.set_status(Status(StatusCode.ERROR))
        number = handed.event.number
        if not answered.reason:
            await self._store.acknowledge(found.workspace_id, found.id, [number], 0)
            outcome = "taken"
        elif answered.busy:
            wait = answered.retry_after if answered.retry_after is not None else _PAUSE
            await self._store.pause(found, min(wait, LONGEST_WAIT))
            await self._store.again(found, number, answered.reason, wait=0.0, counted=False)
            outcome = "busy"
        elif found.max_attempts and handed.attempt >= found.max_attempts:
            await self._store.give_up(found, number, answered.reason)
            outcome = "dead"
        else:
            wait = min(LONGEST_WAIT, self._first_wait * 2 ** (min(handed.attempt, 20) - 1))
            wait = max(wait * (0.5 + 0.5 * self._draw()), answered.retry_after or 0.0)
            await self._store.again(found, number, answered.reason, wait=wait, counted=True)
            outcome = "failed"
        self._sent.record(time.monotonic() - began, (found.workspace_id, outcome))
        return not answered.busy

    async def _answered(self, found: Subscription, handed: Handed) -> Answered:
        try:
            body = handed.event.cloud_event(await self._events.data(handed.event))
        except NotFound:
            return Answered(UNREADABLE)
        try:
            return await self._targets[found.kind].send(found, handed.event, body)
        except CordboardError:
            raise
        except Exception as error:
            logger.error("an event could not be sent", extra={"subscription": found.name}, exc_info=error)
            return Answered("FAULT")
