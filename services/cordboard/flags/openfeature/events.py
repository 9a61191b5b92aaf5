"""The news of the flags for OpenFeature's clients: ready, changed, still here."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cordboard.flags.content import CHOICE
from cordboard.flags.openfeature.view import definition_for

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

    async def stream(self, caller: Mapping[str, Any]) -> AsyncIterator[Event]:
        """Yields `provider_ready` at once, then the keys that changed, and a sign of life now and then; for ever.

        `caller` is what is known of who follows it. What others have chosen is no change to it.
        """
        known = self._live.snapshot
        with self._consumers.following(PROTOCOL, caller.get("workspace", "")) as follower:
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
                if caller and any(key.startswith(CHOICE) for key in changes):
                    changes = felt(changes, known.definitions, changed, caller)
                known = newest
                if changes:
                    # Clients ignore members that they do not know: the number tells which state they have seen.
                    flags = {key: {"type": act} for key, act in changes.items()}
                    yield Event(CHANGED, {"flags": flags, "sequence": newest.sequence})


def felt(
    changes: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str], caller: Mapping[str, Any]
) -> dict[str, str]:
    """Returns the changes of flags that are others than before as far as this caller may see them."""
    return {
        key: act
        for key, act in changes.items()
        if key not in before or definition_for(before[key], caller) != definition_for(after[key], caller)
    }


def changed_keys(before: Mapping[str, str], changed: Mapping[str, str]) -> dict[str, str]:
    """Returns what became of each flag of `changed` that is not as before: `write` or `update`. None ever goes."""
    return {
        key: "update" if key in before else "write"
        for key, definition in changed.items()
        if before.get(key) != definition
    }
