"""The news of the flags for OpenFeature's clients: ready, changed, still here."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.flags.consumers.consumers import Consumers
    from cordboard.flags.evaluation import LiveFlags

PROTOCOL: Final = "flagd.evaluation"
READY: Final = "provider_ready"
CHANGED: Final = "configuration_change"
ALIVE: Final = "keep_alive"
KEEP_ALIVE_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Event:
    """One message of an event stream."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Events:
    """Streams the changes of the set that holds now."""

    def __init__(
        self, live: LiveFlags, consumers: Consumers, *, keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    ) -> None:
        """Takes the set, what knows who follows it, and how often a silent stream shows that it is there."""
        self._live = live
        self._consumers = consumers
        self._keep_alive_seconds = keep_alive_seconds

    async def stream(self, workspace: str = "") -> AsyncIterator[Event]:
        """Yields `provider_ready` at once, then the keys that changed, and a sign of life now and then; for ever.

        `workspace` is whose stream it is.
        """
        known = self._live.snapshot
        with self._consumers.following(PROTOCOL, workspace) as follower:
            yield Event(READY)
            while True:
                follower.has(known.sequence)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._keep_alive_seconds):
                        await known.superseded.wait()
                newest = self._live.snapshot
                if newest is known:
                    yield Event(ALIVE)
                    continue
                changed = newest.since(known.sequence)
                changes = changed_keys(known.definitions, changed)
                known = newest
                if changes:
                    # Clients ignore members that they do not know: the number tells which state they have seen.
                    flags = {key: {"type": act} for key, act in changes.items()}
                    yield Event(CHANGED, {"flags": flags, "sequence": newest.sequence})


def changed_keys(before: Mapping[str, str], changed: Mapping[str, str]) -> dict[str, str]:
    """Returns what became of each flag of `changed` that is not as before: `write` or `update`. None ever goes."""
    return {
        key: "update" if key in before else "write"
        for key, definition in changed.items()
        if before.get(key) != definition
    }
