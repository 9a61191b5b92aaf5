"""Polling triggers: a list is read again and again, and what is new or has changed in it is an event.

A turn's events, what it has seen and its cursor are written in one transaction: a turn that is killed never was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core.audit import Entry
from cordboard.core.errors import AlreadyExists, CordboardError, DeadlineExceeded, InvalidFields, NotFound
from cordboard.core.names import check_id
from cordboard.core.times import to_seconds
from cordboard.planning.pointers import pointed
from cordboard.planning.webhooks import Told, moment
from cordboard.proxy.calls import Order
from cordboard.proxy.events.event import keepable
from cordboard.proxy.events.intake import LEASE_SECONDS, Intake
from cordboard.proxy.events.trigger_store import Trigger, TriggerStore
from cordboard.proxy.jobs.job import from_caller, to_caller
from cordboard.proxy.jobs.jobs import visible
from cordboard.proxy.sealing import Unreadable

if TYPE_CHECKING:
    from pgqueuer.models import Job as Place

    from cordboard.catalog.v1 import definition_pb2
    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Database
    from cordboard.proxy.connections import Connections
    from cordboard.proxy.events.store import EventStore
    from cordboard.proxy.pipeline import Pipeline
    from cordboard.proxy.sealing import SealingKeys

logger = logging.getLogger(__name__)

INTERVAL: Final = 300.0
LOOK_EVERY: Final = 1.0
TURN_SECONDS: Final = 100.0
# Longer than a turn may take: whoever has it for so long is gone.
TURN_LEASE: Final = 120.0
MAX_PAGES: Final = 20
MAX_ITEMS: Final = 5_000
MAX_ID: Final = 200
CURSOR: Final = "polling-cursor"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a list."""

    id: str
    digest: bytes
    rank: tuple[int, Any]
    """Of its cursor: what is greater came later."""
    value: Any


class Triggers:
    """The polling triggers of all workspaces."""

    def __init__(
        self,
        database: Database,
        store: TriggerStore,
        events: EventStore,
        intake: Intake,
        pipeline: Pipeline,
        connections: Connections,
        keys: SealingKeys,
        journal: Journal,
    ) -> None:
        """Takes what keeps triggers and events, what makes events, and what asks vendors."""
        self._database = database
        self._store = store
        self._events = events
        self._intake = intake
        self._pipeline = pipeline
        self._connections = connections
        self._keys = keys
        self._journal = journal

    async def create(
        self, workspace: str, trigger_id: str, connection: str, event_type: str, interval: float, caller: Caller
    ) -> Trigger:
        """Creates a trigger that asks at once; `interval` 0: as the definition says.

        Raises NotFound, AlreadyExists, InvalidFields.
        """
        check_id(trigger_id, "trigger_id")
        lease = await self._connections.lease(connection, LEASE_SECONDS)
        if not visible(lease.environment, caller):
            raise NotFound(connection)
        polling = (await self._intake.definition(workspace, lease)).events.polling(event_type)
        if polling is None:
            text = f"is no event type of {lease.integration!r} that can be found out by polling"
            raise InvalidFields.one("trigger.event_type", text)
        own = to_seconds(polling.interval) if polling.HasField("interval") else INTERVAL
        now = datetime.now(UTC)
        made = Trigger(
            workspace_id=workspace,
            id=trigger_id,
            connection=connection,
            event_type=event_type,
            environment=lease.environment,
            submitter=from_caller(caller),
            interval=interval or own,
            cursor=b"",
            turn=0,
            next_time=now,
            last_time=None,
            failures=0,
            problem="",
            create_time=now,
        )
        async with self._database.workspace(workspace) as transaction:
            if not await self._store.add(transaction, made):
                raise AlreadyExists(made.name)
            await self._journal.append(
                transaction, Entry("proxy.polling-trigger.create", made.name, workspace=workspace)
            )
        return made

    async def trigger(self, workspace: str, trigger_id: str, caller: Caller) -> Trigger:
        """Returns a trigger that this caller may see; raises NotFound."""
        found = await self._store.trigger(workspace, trigger_id)
        if found is None or not visible(found.environment, caller):
            raise NotFound(f"workspaces/{workspace}/pollingTriggers/{trigger_id}")
        return found

    async def triggers(self, workspace: str, caller: Caller, *, after: str, limit: int) -> list[Trigger]:
        """Returns up to `limit` triggers with an id above `after`."""
        seen = "" if visible("", caller) else caller.environment
        return await self._store.triggers(workspace, seen, after=after, limit=limit)

    async def delete(self, workspace: str, trigger_id: str, caller: Caller) -> None:
        """Deletes a trigger with what it remembers; raises NotFound."""
        found = await self.trigger(workspace, trigger_id, caller)
        async with self._database.workspace(workspace) as transaction:
            await self._store.delete(transaction, found)
            entry = Entry("proxy.polling-trigger.delete", found.name, workspace=workspace)
            await self._journal.append(transaction, entry)

    async def run(self) -> None:
        """Puts triggers into the queue as their times come, for ever."""
        while True:
            try:
                await self._store.enqueue_due()
            except CordboardError as error:
                logger.warning("polling was interrupted", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def take(self, place: Place) -> None:
        """Does what a place in the queue stands for: one turn of a trigger."""
        told = orjson.loads(place.payload or b"{}")
        try:
            found = await self._store.begin(told["workspace"], told["trigger"], told["turn"], lease=TURN_LEASE)
            if found is not None:
                await self._turn(found)
        except CordboardError as error:
            # Its lease ends, and the next turn makes up for this one.
            logger.warning("a turn was left", extra={"trigger": told["trigger"], "problem": type(error).__name__})

    async def _turn(self, found: Trigger) -> None:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._poll(found)
        except (CordboardError, TimeoutError) as error:
            known = error if isinstance(error, CordboardError) else DeadlineExceeded("the list")
            reason = reasons.ErrorReason.Name(known.reason).removeprefix("ERROR_REASON_")
            changes = {"failures": found.failures + 1, "problem": reason}
            async with self._database.workspace(found.workspace_id) as transaction:
                await self._store.end(transaction, found, {}, changes)

    async def _poll(self, found: Trigger) -> None:
        workspace = found.workspace_id
        lease = await self._connections.lease(found.connection, LEASE_SECONDS)
        definition = await self._intake.definition(workspace, lease)
        polling = definition.events.polling(found.event_type)
        if polling is None:
            raise NotFound(f"integrations/{definition.slug}/eventTypes/{found.event_type}")
        cursor = await self._cursor(found)
        items = await self._items(found, polling, cursor)
        known = await self._store.known(found, [item.id for item in items])
        told = [
            _told(found, polling, item, known.get(item.id))
            for item in items
            # What was there before anybody asked is no event.
            if found.last_time is not None and _is_news(polling, item, known.get(item.id))
        ]
        events = await self._intake.events(workspace, lease, definition, told)
        ranks = [item.rank for item in items if item.rank[0]]
        reached = max([*ranks, _rank(cursor)]) if polling.cursor_pointer else (0, None)
        changes: dict[str, Any] = {"failures": 0, "problem": "", "last_time": datetime.now(UTC)}
        if reached[0]:
            key = await self._keys.current(workspace)
            changes["cursor"] = key.seal(CURSOR, found.id, orjson.dumps(reached[1]))
        async with self._database.workspace(workspace) as transaction:
            if await self._store.end(transaction, found, {item.id: item.digest for item in items}, changes):
                await self._events.add_within(transaction, workspace, events)

    async def _cursor(self, found: Trigger) -> Any:
        if not found.cursor:
            return None
        try:
            return orjson.loads(await self._keys.opened(found.workspace_id, CURSOR, found.id, found.cursor))
        except Unreadable:
            raise NotFound(found.name) from None

    async def _items(self, found: Trigger, polling: definition_pb2.PollingTrigger, cursor: Any) -> list[Item]:
        given = orjson.loads(polling.input_json) if polling.input_json else {}
        if cursor is not None and polling.cursor_property:
            given[polling.cursor_property] = cursor
        order = Order(
            workspace=found.workspace_id,
            connection=found.connection,
            action=polling.action,
            given=given,
            caller=to_caller(found.submitter),
            remaining=TURN_SECONDS,
            max_pages=MAX_PAGES,
        )
        values: list[Any] = []
        async with contextlib.aclosing(self._pipeline.pages(order)) as pages:
            async for page, _ in pages:
                values += page.items
                if len(values) >= MAX_ITEMS:
                    break
        if polling.items_pointer:
            inner = pointed(values[0], polling.items_pointer) if values else None
            values = inner if isinstance(inner, list) else []
        items = {item.id: item for value in values[:MAX_ITEMS] if (item := _item(polling, value)) is not None}
        ordered = list(items.values())
        return sorted(ordered, key=lambda item: item.rank) if polling.cursor_pointer else ordered


def _item(polling: definition_pb2.PollingTrigger, value: Any) -> Item | None:
    """Returns a thing of a list, or None where it has no id."""
    own = pointed(value, polling.id_pointer)
    if not isinstance(own, (str, int)) or isinstance(own, bool) or own == "":
        return None
    text = keepable(str(own))
    if len(text) > MAX_ID:
        text = hashlib.sha256(text.encode()).hexdigest()
    digest = hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
    rank = _rank(pointed(value, polling.cursor_pointer)) if polling.cursor_pointer else (0, None)
    return Item(text, digest, rank, value)


def _rank(cursor: Any) -> tuple[int, Any]:
    """Returns what cursors are compared by: numbers among each other, and texts among each other."""
    if isinstance(cursor, (int, float)) and not isinstance(cursor, bool):
        return 1, cursor
    return (2, cursor) if isinstance(cursor, str) and cursor else (0, 0)


def _is_news(polling: definition_pb2.PollingTrigger, item: Item, known: bytes | None) -> bool:
    return known is None or (polling.changes and known != item.digest)


def _told(found: Trigger, polling: definition_pb2.PollingTrigger, item: Item, known: bytes | None) -> Told:
    # A thing may change back: each turn's change is one of its own.
    own = f"{found.event_type}/{item.id}" + ("" if known is None else f"/{found.turn}")
    key = pointed(item.value, polling.ordering_key_pointer) if polling.ordering_key_pointer else ""
    happened = pointed(item.value, polling.time_pointer) if polling.time_pointer else None
    return Told(
        event_type=found.event_type,
        vendor_type="",
        vendor_id=own,
        key=str(key) if isinstance(key, (str, int)) else "",
        time=moment(str(happened)) if isinstance(happened, (str, int, float)) else None,
        data=item.value,
    )
