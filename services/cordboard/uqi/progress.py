"""How far the making of forms is: what this process makes now, what went wrong last, and what others say of theirs."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from datetime import datetime

    from cordboard.core.times import Clock
    from cordboard.uqi.progress_store import ProgressStore

logger = logging.getLogger(__name__)

TELL_SECONDS: Final = 1.0
# Of versions that could not be made; the oldest are forgotten first.
MOST_ENDED: Final = 1_000
_PROBLEM: Final = 300


@dataclass(frozen=True, slots=True)
class Progress:
    """The making of the forms of one version. `total` is 0 until the definition is read."""

    integration: str
    version: str
    start_time: datetime
    made: int = 0
    total: int = 0
    problem: str = ""
    """Why it ended without forms; empty while it goes on."""
    end_time: datetime | None = None


class ProgressBoard:
    """Keeps what is being made, and what could not be."""

    def __init__(self, clock: Clock) -> None:
        """Takes the clock."""
        self._clock = clock
        self._running: dict[tuple[str, str], Progress] = {}
        # Versions that failed, or were made, since it was last told to others.
        self._news: set[tuple[str, str]] = set()
        self._ended: OrderedDict[tuple[str, str], Progress] = OrderedDict()

    def begun(self, integration: str, version: str) -> None:
        """Notes that the forms of a version are being made."""
        self._running[integration, version] = Progress(integration, version, self._clock.now())

    def reached(self, integration: str, version: str, made: int, total: int) -> None:
        """Notes how many forms of a version there are now."""
        key = (integration, version)
        self._running[key] = replace(self._running[key], made=made, total=total)

    def done(self, integration: str, version: str) -> None:
        """Forgets a version whose forms are stored."""
        begun = self._running.pop((integration, version), None)
        failed = self._ended.pop((integration, version), None)
        if begun or failed:
            self._news.add((integration, version))

    def failed(self, integration: str, version: str, problem: str) -> None:
        """Notes that a version has no forms, and why."""
        found = self._running.pop((integration, version), None)
        if found is None:
            return
        self._ended[integration, version] = replace(found, problem=problem[:_PROBLEM], end_time=self._clock.now())
        self._ended.move_to_end((integration, version))
        self._news.add((integration, version))
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def all(self, integration: str) -> list[Progress]:
        """Returns what goes on of an integration, and what failed last."""
        return [each for each in (*self._running.values(), *self._ended.values()) if each.integration == integration]

    def news(self) -> tuple[list[Progress], list[Progress], set[tuple[str, str]]]:
        """Returns what others are to know: what goes on, what has failed, and which versions have been made."""
        still = {key for key in self._news if key not in self._running}
        failed = [self._ended[key] for key in still if key in self._ended]
        return list(self._running.values()), failed, {key for key in still if key not in self._ended}

    def told(self, failed: Iterable[Progress], done: Iterable[tuple[str, str]]) -> None:
        """Notes that others know this; what has changed since they do not."""
        known = [key for each in failed if self._ended.get(key := (each.integration, each.version)) is each]
        self._news.difference_update(known, (key for key in done if key not in self._ended))


class ProgressNews:
    """Tells other processes how far this one is, and knows how far they are."""

    def __init__(self, board: ProgressBoard, store: ProgressStore, replica: str) -> None:
        """Takes what this process makes, where it is told, and the name of this process."""
        self._board = board
        self._store = store
        self._replica = replica

    async def run(self) -> None:
        """Tells what there is to tell once a second, for ever."""
        while True:
            try:
                await self.tell()
            except CordboardError as error:
                # Forms are made all the same, and in a second it is told again.
                logger.warning("progress was not told", extra={"problem": type(error).__name__})
            await asyncio.sleep(TELL_SECONDS)

    async def tell(self) -> None:
        """Tells what goes on, and what has ended since it was told last; raises DependencyUnavailable."""
        running, failed, done = self._board.news()
        if running or failed or done:
            await self._store.put(self._replica, [*running, *failed], done)
            self._board.told(failed, done)

    async def all(self, integration: str) -> list[Progress]:
        """Returns what any process makes of an integration, and what none could make."""
        return [*self._board.all(integration), *await self._store.others(self._replica, integration)]
