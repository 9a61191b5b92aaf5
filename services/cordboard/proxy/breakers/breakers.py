"""The breakers of this process, and how they stand in all others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import DependencyUnavailable
from cordboard.proxy.breakers.breaker import Breaker, Ticket
from cordboard.proxy.breakers.health import Health
from cordboard.proxy.breakers.standing import BreakerPolicy, Cause, Key, Override, Reading, State

if TYPE_CHECKING:
    from cordboard.core.database import Changes
    from cordboard.proxy.breakers.standing import Standing
    from cordboard.proxy.breakers.store import BreakerStore

logger = logging.getLogger(__name__)

MOST: Final = 20_000
# A call that tries is over after this many seconds, or its process is taken to be dead.
TRY_SECONDS: Final = 10.0
STORE_SECONDS: Final = 2.0
# A shorter rest is not worth telling others.
TELLING_REST: Final = 1.0
PAUSE: Final = 0.5
# What time alone changes a watcher is told so late at most.
LOOK_EVERY: Final = 0.5

Order = tuple[str, str, str, str, str]


class Breakers:
    """Every breaker that this process knows."""

    def __init__(
        self, policy: BreakerPolicy, monotonic: Callable[[], float], store: BreakerStore, changes: Changes
    ) -> None:
        """Takes what every breaker goes by, and where they are shared; `run` has to run."""
        self._policy = policy
        self._monotonic = monotonic
        self._store = store
        self._changes = changes
        self._hosts: dict[tuple[str, str], Health] = {}
        self._breakers: dict[Key, Breaker] = {}
        # Those of which others are to be told.
        self._news: dict[Key, Breaker] = {}
        self._telling = asyncio.Event()
        # How often in a row the vendor refused a connection's credential, and of which generation.
        self._rejected: dict[str, tuple[int, int]] = {}
        self._watchers: set[asyncio.Event] = set()

    @property
    def longest_rest(self) -> float:
        """Returns how many seconds anything is held back at most before it is tried."""
        return self._policy.longest_open_time

    def health(self, integration: str, host: str, workspace: str) -> Health:
        """Returns what is seen of an integration's host, for a call of this workspace."""
        found = self._hosts.get((integration, host))
        if found is None:
            if len(self._hosts) >= MOST:
                del self._hosts[next(iter(self._hosts))]
            found = self._hosts[integration, host] = Health(self._policy, self._monotonic)
        found.workspaces.add(workspace)
        return found

    def standing_against(self, keys: Iterable[Key]) -> list[Breaker]:
        """Returns the breakers of these keys that hold something back."""
        return [found for key in keys if (found := self._breakers.get(key)) is not None and not found.closed]

    async def enter(self, breakers: Iterable[Breaker]) -> list[Ticket]:
        """Passes breakers, all or none; raises the error of the first that holds the call back."""
        tickets: list[Ticket] = []
        try:
            for breaker in breakers:
                ticket = await breaker.enter(self._claim)
                if ticket is not None:
                    tickets.append(ticket)
        except BaseException:
            for ticket in tickets:
                ticket.breaker.left(ticket)
            raise
        return tickets

    def trip(self, key: Key, *, seconds: float | None = None, generation: int = 0) -> None:
        """Opens a breaker."""
        calls = failures = 0
        health = self._hosts.get((key.integration, key.host))
        if health is not None and key.cause in (Cause.VENDOR, Cause.ENDPOINT):
            window = health.of(key.action)
            calls, failures = len(window), window.failures
        self._breaker(key).trip(calls=calls, failures=failures, seconds=seconds, generation=generation)

    def rejected(self, key: Key, generation: int) -> None:
        """Notes that a vendor refused a connection's credential; after a few times in a row it is not shown more."""
        known, times = self._rejected.get(key.connection, (generation, 0))
        times = times + 1 if known == generation else 1
        if len(self._rejected) >= MOST:
            self._rejected.clear()
        self._rejected[key.connection] = (generation, times)
        if times >= self._policy.rejections:
            self.trip(key, generation=generation)

    def accepted(self, connection: str) -> None:
        """Notes that a vendor took a connection's credential."""
        if self._rejected:
            self._rejected.pop(connection, None)

    def renewed(self, key: Key, generation: int) -> None:
        """Lets a connection through that has another credential than the one that was refused."""
        found = self._breakers.get(key)
        if found is not None and generation > found.generation:
            found.close()

    def readings(
        self, *, workspace: str | None, integration: str = "", after: Order = ("", "", "", "", "")
    ) -> Iterator[Reading]:
        """Yields how breakers stand that have to do with the workspace (None: all), those behind `after`, in order."""
        shown = {Key(slug, host, Cause.VENDOR) for slug, host in self._hosts}
        shown |= {key for key, one in self._breakers.items() if not one.closed or one.override is not Override.AUTO}
        for key in sorted(shown, key=lambda one: one.order):
            if key.order > after and integration in ("", key.integration) and self._visible(key, workspace):
                yield self._reading(key)

    async def watch(self, *, workspace: str | None, integration: str = "") -> AsyncGenerator[list[Reading]]:
        """Yields how breakers stand, be it none, and then each that changed."""
        news = asyncio.Event()
        self._watchers.add(news)
        known: dict[Key, Reading] = {}
        first = True
        try:
            while True:
                now = {one.key: one for one in self.readings(workspace=workspace, integration=integration)}
                gone = [self._reading(key) for key in known if key not in now]
                changed = [one for key, one in now.items() if _differs(known.get(key), one)]
                known = now
                if gone or changed or first:
                    first = False
                    yield [*gone, *changed]
                news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await news.wait()
        finally:
            self._watchers.discard(news)

    def adopt(self, standing: Standing) -> Reading:
        """Stands as the database said; returns how that is."""
        self._breaker(standing.key).adopt(standing)
        self._wake()
        return self._reading(standing.key)

    async def run(self) -> None:
        """Follows other processes and tells them, for ever."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._changes.run())
            jobs.create_task(self._follow())
            jobs.create_task(self._tell())

    async def _follow(self) -> None:
        async with self._changes.subscription() as subscription:
            while True:
                try:
                    async with asyncio.timeout(STORE_SECONDS):
                        found = await self._store.all()
                except (DependencyUnavailable, TimeoutError):
                    found = []
                for standing in found:
                    self._learn(standing)
                await subscription.wait()

    def _learn(self, standing: Standing) -> None:
        known = self._breakers.get(standing.key)
        if known is None:
            if standing.state is State.CLOSED and standing.override is Override.AUTO:
                return
            known = self._breaker(standing.key)
        if standing.revision > known.revision and standing.key not in self._news:
            known.adopt(standing)
            self._wake()

    async def _tell(self) -> None:
        while True:
            await self._telling.wait()
            self._telling.clear()
            while self._news:
                key = next(iter(self._news))
                try:
                    async with asyncio.timeout(STORE_SECONDS):
                        await self._put(self._news[key])
                except (DependencyUnavailable, TimeoutError):
                    logger.warning("a breaker was not shared", extra={"integration": key.integration})
                    await asyncio.sleep(PAUSE)

    async def _put(self, breaker: Breaker) -> None:
        told = breaker.standing()
        stands, kept = await self._store.put(told)
        if breaker.standing().state is not told.state:
            # It changed meanwhile, and is told once more.
            breaker.revision = stands.revision
            return
        if kept:
            breaker.revision = stands.revision
        elif told.state is State.OPEN and stands.state is State.CLOSED:
            # What was closed when nobody knew of this opening.
            breaker.revision, breaker.override = stands.revision, stands.override
            return
        else:
            breaker.adopt(stands)
            self._wake()
        self._news.pop(breaker.key, None)

    async def _claim(self, key: Key) -> bool:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._store.claim(key, TRY_SECONDS)
        except (DependencyUnavailable, TimeoutError):
            # Without the database each process tries for itself.
            return True

    def _breaker(self, key: Key) -> Breaker:
        found = self._breakers.get(key)
        if found is None:
            if len(self._breakers) >= MOST:
                self._drop()
            found = self._breakers[key] = Breaker(key, self._policy, self._monotonic, self._changed)
        return found

    def _drop(self) -> None:
        idle = [key for key, one in self._breakers.items() if one.closed and one.override is Override.AUTO]
        for key in idle or list(self._breakers)[: MOST // 2]:
            del self._breakers[key]

    def _changed(self, breaker: Breaker) -> None:
        key = breaker.key
        standing = breaker.standing()
        if standing.state is not State.OPEN and key.cause in (Cause.VENDOR, Cause.ENDPOINT):
            health = self._hosts.get((key.integration, key.host))
            if health is not None:
                health.clear(key.action)
        if standing.state is State.OPEN:
            logger.warning(
                "a breaker opened",
                extra={"integration": key.integration, "cause": key.cause.value, "action": key.action},
            )
        if key.cause is not Cause.QUOTA or standing.left >= TELLING_REST:
            self._news[key] = breaker
            self._telling.set()
        self._wake()

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def _visible(self, key: Key, workspace: str | None) -> bool:
        if workspace is None:
            return True
        if key.workspace:
            return key.workspace == workspace
        health = self._hosts.get((key.integration, key.host))
        return health is not None and workspace in health.workspaces

    def _reading(self, key: Key) -> Reading:
        found = self._breakers.get(key)
        health = self._hosts.get((key.integration, key.host))
        calls = failures = 0
        if health is not None and key.cause in (Cause.VENDOR, Cause.ENDPOINT):
            health.forget()
            window = health.of(key.action)
            calls, failures = len(window), window.failures
        if found is None:
            return Reading(key, State.CLOSED, 0.0, calls, failures, Override.AUTO)
        return found.reading(calls, failures)


def _differs(known: Reading | None, now: Reading) -> bool:
    return known is None or (known.state, known.override) != (now.state, now.override)
