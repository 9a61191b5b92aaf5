"""Shows the events that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.errors import NotFound
from cordboard.proxy.events.event import DATA
from cordboard.proxy.jobs.jobs import visible
from cordboard.proxy.sealing import Unreadable

if TYPE_CHECKING:
    from cordboard.core.caller import Caller
    from cordboard.proxy.events.event import Event
    from cordboard.proxy.events.store import EventStore
    from cordboard.proxy.sealing import SealingKeys


class Events:
    """The events of all workspaces."""

    def __init__(self, store: EventStore, keys: SealingKeys) -> None:
        """Takes where they are kept, and what opens their data."""
        self._store = store
        self._keys = keys

    async def event(self, workspace: str, number: int, caller: Caller) -> tuple[Event, bytes]:
        """Returns an event that this caller may see, with its data as JSON text; raises NotFound."""
        found = await self._store.event(workspace, number)
        if found is None or not visible(found.environment, caller):
            raise NotFound(f"workspaces/{workspace}/events/{number}")
        return found, await self.data(found)

    async def data(self, event: Event) -> bytes:
        """Returns an event's data as JSON text; raises NotFound where nothing can open it any more."""
        try:
            return await self._keys.opened(event.workspace_id, DATA, event.place, event.data)
        except Unreadable:
            raise NotFound(event.name) from None

    async def events(
        self, workspace: str, caller: Caller, *, source: str, drifted: bool, before: int, limit: int
    ) -> list[Event]:
        """Returns up to `limit` events below a number (0: any), newest first, without their data."""
        seen = "" if visible("", caller) else caller.environment
        return await self._store.events(
            workspace, environment=seen, source=source, drifted=drifted, before=before, limit=limit
        )
