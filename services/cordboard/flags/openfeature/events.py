"""The news of the flags for OpenFeature's clients: ready, changed, still here."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.flags.evaluation import LiveFlags

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

    def __init__(self, live: LiveFlags, *, keep_alive_seconds: float = KEEP_ALIVE_SECONDS) -> None:
        """Takes the set, and how often a silent stream shows that it is there."""
        self._live = live
        self._keep_alive_seconds = keep_alive_seconds

    async def stream(self) -> AsyncIterator[Event]:
        """Yields `provider_ready` at once, then the keys that changed, and a sign of life now and then; for ever."""
        known = self._live.snapshot
        yield Event(READY)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._keep_alive_seconds):
                    await known.superseded.wait()
            newest = self._live.snapshot
            if newest is known:
                yield Event(ALIVE)
                continue
            changes = changed_keys(known.definitions, newest.definitions)
            known = newest
            if changes:
                # Clients ignore members that they do not know: the number tells which state they have seen.
                flags = {key: {"type": act} for key, act in changes.items()}
                yield Event(CHANGED, {"flags": flags, "sequence": newest.sequence})


def changed_keys(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Returns what became of each flag that is not as before: `write`, `update` or `delete`."""
    changes = {
        key: "update" if key in before else "write"
        for key, definition in after.items()
        if before.get(key) != definition
    }
    return changes | {key: "delete" for key in before if key not in after}
