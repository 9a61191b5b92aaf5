"""Tells people: alerts grouped by rule, unless they are silenced, to every channel until it takes them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import CordboardError
from cordboard.core.names import new_id
from cordboard.telemetry.alerts.alert import Alert, AlertState
from cordboard.telemetry.alerts.channels import Undelivered
from cordboard.telemetry.alerts.rules import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cordboard.core.times import Clock
    from cordboard.telemetry.alerts.channels import Channel
    from cordboard.telemetry.alerts.message import Wording
    from cordboard.telemetry.alerts.store import AlertStore, Delivery

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
MAX_ATTEMPTS: Final = 12
FIRST_WAIT: Final = 5.0
LONGEST_WAIT: Final = 600.0
LEASE: Final = 60.0
"""Seconds after which what another process took and did not end is tried again."""


@dataclass(frozen=True)
class Pace:
    """How often people hear of one rule, in seconds: of what changed, and again of what has not."""

    group: float
    repeat: float


def due(alerts: Sequence[Alert], pace: Pace, now: datetime) -> list[Alert]:
    """Returns which of a rule's alerts are told now, in one message; none when it is too early for another.

    All that fires is in it, that it be read as a whole, and what was resolved and is known to fire.
    """
    last = max((one.told_time for one in alerts if one.told_time is not None), default=None)
    if last is not None and (now - last).total_seconds() < pace.group:
        return []
    firing = [one for one in alerts if one.state is AlertState.FIRING]
    over = [one for one in alerts if one.state is AlertState.RESOLVED and one.told == AlertState.FIRING]
    news = [one for one in firing if one.told != AlertState.FIRING]
    stale = last is not None and (now - last).total_seconds() >= pace.repeat
    return firing + over if news or over or (firing and stale) else []


class Telling:
    """Tells. What is to be told is in the database with the note that it was: neither is there without the other."""

    def __init__(
        self, store: AlertStore, channels: Sequence[Channel], wording: Wording, clock: Clock, pace: Pace
    ) -> None:
        """Takes the channels that are set up, if any."""
        self._store = store
        self._channels = {channel.name: channel for channel in channels}
        self._wording = wording
        self._clock = clock
        self._pace = pace

    async def queue(self) -> int:
        """Queues what is due to be told; returns how many messages."""
        now = self._clock.now()
        silences = await self._store.silences(at=now)
        messages = 0
        async with self._store.database.shared() as connection:
            if not await self._store.may_tell(connection):
                return 0
            by_rule: dict[str, list[Alert]] = defaultdict(list)
            for alert in await self._store.tellable(connection):
                if alert.rule in BY_NAME and not any(silence.covers(alert, now) for silence in silences):
                    by_rule[alert.rule].append(alert)
            for rule, alerts in by_rule.items():
                told = due(alerts, self._pace, now)
                if told:
                    message = self._wording.message(rule, told)
                    await self._store.queue(connection, list(self._channels), message, now)
                    await self._store.told(connection, told, now)
                    messages += 1
        return messages

    async def deliver(self) -> bool:
        """Sends what is due, once; tells whether there was anything."""
        now = self._clock.now()
        delivery = await self._store.take(now, now + timedelta(seconds=LEASE))
        if delivery is None:
            return False
        channel = self._channels.get(delivery.channel)
        if channel is None:
            await self._store.end(delivery.id, now, "the channel is not set up any more")
            return True
        try:
            await channel.send(delivery.message, str(delivery.id))
        except Undelivered as problem:
            await self._failed(delivery, str(problem))
        else:
            await self._store.end(delivery.id, self._clock.now())
        return True

    async def test(self) -> dict[str, str]:
        """Sends a test to every channel; returns what was wrong by channel, empty where nothing was."""
        message = self._test_message()
        names = list(self._channels)
        problems = await asyncio.gather(*(self._tried(self._channels[name], message) for name in names))
        return dict(zip(names, problems, strict=True))

    async def run(self) -> None:
        """Tells for ever."""
        while True:
            try:
                await self.queue()
                while await self.deliver():
                    pass
            except CordboardError as error:
                logger.warning("nobody was told", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()

    async def _failed(self, delivery: Delivery, problem: str) -> None:
        now = self._clock.now()
        told = {"channel": delivery.channel, "problem": problem, "attempts": delivery.attempts}
        if delivery.attempts >= MAX_ATTEMPTS:
            logger.error("an alert could not be delivered and was given up", extra=told)
            await self._store.end(delivery.id, now, problem)
            return
        logger.warning("an alert was not delivered yet", extra=told)
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (delivery.attempts - 1))
        await self._store.put_off(delivery.id, now + timedelta(seconds=wait), problem)

    async def _tried(self, channel: Channel, message: dict[str, Any]) -> str:
        try:
            await channel.send(message, f"test-{new_id()}")
        except Undelivered as problem:
            return str(problem)
        return ""

    def _test_message(self) -> dict[str, Any]:
        now = self._clock.now().isoformat()
        labels = {"alertname": "Test", "severity": "ticket"}
        said = {"summary": "this is a test: nothing is wrong", "runbook": "", "trace": ""}
        return {
            "version": "4",
            "groupKey": '{}:{alertname="Test"}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "cordboard",
            "groupLabels": {"alertname": "Test"},
            "commonLabels": labels,
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": [
                {"status": "firing", "labels": labels, "annotations": said, "startsAt": now, "fingerprint": "test"}
            ],
        }
