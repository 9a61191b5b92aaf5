"""Takes webhooks: whose they are, whether the vendor sent them, and what they tell; and has that kept."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from cordboard.core.audit import Entry
from cordboard.core.errors import AlreadyExists, InvalidFields, NotFound
from cordboard.core.names import check_id
from cordboard.planning.webhooks import Arrived, Told
from cordboard.proxy import origins
from cordboard.proxy.events.event import DATA, Endpoint, Event, keepable, word
from cordboard.proxy.jobs.jobs import visible

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Database
    from cordboard.core.times import Clock
    from cordboard.proxy.admission import Admission
    from cordboard.proxy.connections import Lease
    from cordboard.proxy.definitions import Definition
    from cordboard.proxy.events.store import EventStore
    from cordboard.proxy.sealing import SealingKeys

LEASE_SECONDS: Final = 5.0
# How long an address is known without a look: so long one that was deleted is taken.
KNOWN_SECONDS: Final = 5.0
# Requests whose events are written in one transaction.
AT_ONCE: Final = 10
_KNOWN: Final = 10_000
_MOST_DRIFT: Final = 20
CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request: the answer's body, and how many events were new."""

    body: bytes
    told: int
    new: int


class Gathering:
    """Keeps events, and those that come while others are written together with the next: one commit for all of them."""

    def __init__(self, store: EventStore) -> None:
        """Takes where they are kept."""
        self._store = store
        self._waiting: defaultdict[str, list[tuple[Sequence[Event], asyncio.Future[int]]]] = defaultdict(list)
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def add(self, workspace: str, events: Sequence[Event]) -> int:
        """Returns how many of the events were new, once all are committed; raises what the store raises."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[workspace].append((events, future))
        if workspace not in self._writing:
            self._writing[workspace] = asyncio.create_task(self._write(workspace))
        return await future

    async def close(self) -> None:
        """Returns when what came was written."""
        if self._writing:
            await asyncio.wait(self._writing.values(), timeout=CLOSE_SECONDS)

    async def _write(self, workspace: str) -> None:
        try:
            while waiting := self._waiting.pop(workspace, None):
                batch, rest = waiting[:AT_ONCE], waiting[AT_ONCE:]
                if rest:
                    self._waiting[workspace] = rest
                try:
                    added = await self._store.add(workspace, [event for events, _ in batch for event in events])
                except Exception as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                new = {(event.connection, event.id) for event in added}
                for events, future in batch:
                    if not future.done():
                        future.set_result(sum((event.connection, event.id) in new for event in events))
        finally:
            del self._writing[workspace]


class Intake:
    """The addresses, and what comes to them."""

    def __init__(
        self,
        database: Database,
        store: EventStore,
        keys: SealingKeys,
        journal: Journal,
        admission: Admission,
        clock: Clock,
    ) -> None:
        """Takes what keeps and seals events, and what knows definitions and the secrets of connections."""
        self._database = database
        self._store = store
        self._keys = keys
        self._journal = journal
        self._admission = admission
        self._clock = clock
        self._gathering = Gathering(store)
        self._known: OrderedDict[bytes, tuple[Endpoint, float]] = OrderedDict()

    async def close(self) -> None:
        """Returns when what came was written."""
        await self._gathering.close()

    async def create(self, workspace: str, endpoint_id: str, connection: str, caller: Caller) -> tuple[Endpoint, str]:
        """Creates an address; returns it with its token. Raises NotFound, AlreadyExists, InvalidFields."""
        check_id(endpoint_id, "endpoint_id")
        lease = await self._admission.connections.lease(connection, LEASE_SECONDS)
        if not visible(lease.environment, caller):
            raise NotFound(connection)
        if (await self.definition(workspace, lease)).events.webhook is None:
            text = f"the integration {lease.integration!r} has no webhook in its definition"
            raise InvalidFields.one("connection", text)
        token = secrets.token_urlsafe(32)
        made = Endpoint(
            workspace_id=workspace,
            id=endpoint_id,
            connection=connection,
            integration=lease.integration,
            environment=lease.environment,
            token_hash=_hash(token),
            create_time=self._clock.now(),
        )
        async with self._database.workspace(workspace) as transaction:
            if not await self._store.add_endpoint(transaction, made):
                raise AlreadyExists(made.name)
            entry = Entry("proxy.webhook-endpoint.create", made.name, workspace=workspace)
            await self._journal.append(transaction, entry)
        return made, token

    async def endpoints(self, workspace: str, caller: Caller, *, after: str, limit: int) -> list[Endpoint]:
        """Returns up to `limit` addresses with an id above `after`."""
        seen = "" if visible("", caller) else caller.environment
        return await self._store.endpoints(workspace, seen, after=after, limit=limit)

    async def delete(self, workspace: str, endpoint_id: str, caller: Caller) -> None:
        """Deletes an address; raises NotFound."""
        found = await self._store.endpoint(workspace, endpoint_id)
        if found is None or not visible(found.environment, caller):
            raise NotFound(f"workspaces/{workspace}/webhookEndpoints/{endpoint_id}")
        async with self._database.workspace(workspace) as transaction:
            await self._store.delete_endpoint(transaction, found)
            entry = Entry("proxy.webhook-endpoint.delete", found.name, workspace=workspace)
            await self._journal.append(transaction, entry)
        self._known.pop(found.token_hash, None)

    async def endpoint(self, token: str) -> Endpoint:
        """Returns the address that a token is part of; raises NotFound."""
        key = _hash(token)
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[1] < KNOWN_SECONDS:
            return known[0]
        self._known.pop(key, None)
        found = await self._store.endpoint_of(key)
        if found is None:
            raise NotFound("webhooks")
        self._known[key] = (found, time.monotonic())
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return found

    async def take(self, endpoint: Endpoint, arrived: Arrived) -> Taken:
        """Keeps what a request tells, and returns when it is committed.

        Raises Forged, TooMany, NotFound where the connection is gone, and DependencyUnavailable: then nothing is kept.
        """
        lease = await self._admission.connections.lease(endpoint.connection, LEASE_SECONDS)
        definition = await self.definition(endpoint.workspace_id, lease)
        plan = definition.events.webhook
        if plan is None:
            raise NotFound(endpoint.name)
        now = self._clock.now()
        name = plan.secret_variable
        secret = lease.secrets.reveal().get(name, "") or lease.configuration.get(name, "")
        answer = plan.answer(arrived, secret, now)
        if answer is not None:
            return Taken(answer, 0, 0)
        plan.verify(arrived, secret, now)
        told = plan.events(arrived)
        made = await self.events(endpoint.workspace_id, lease, definition, told)
        return Taken(b"", len(told), await self._gathering.add(endpoint.workspace_id, made))

    async def definition(self, workspace: str, lease: Lease) -> Definition:
        """Returns the definition that a connection uses; raises NotFound, StateConflict, DependencyUnavailable."""
        context = await self._admission.workspaces.context(workspace, lease.environment)
        return self._admission.definition(workspace, lease, context)

    async def events(self, workspace: str, lease: Lease, definition: Definition, told: Sequence[Told]) -> list[Event]:
        """Returns what was told as events that can be kept: checked against their schemas, and sealed."""
        key, now = await self._keys.current(workspace), datetime.now(UTC)
        origin = origins.also("", origins.TAKEN, origins.here())
        found = []
        for one in told:
            drift = list(definition.events.drift(one.event_type, one.data)) if one.event_type else ["type"]
            event = Event(
                workspace_id=workspace,
                number=0,
                id=keepable(one.vendor_id),
                connection=lease.connection,
                integration=definition.slug,
                version=definition.version,
                event_type=one.event_type or word(one.vendor_type),
                environment=lease.environment,
                ordering_key=_key(lease.connection, one.key),
                time=one.time or now,
                receive_time=now,
                data=b"",
                drift=keepable("\n".join(drift[:_MOST_DRIFT])),
                trace_id=origin,
            )
            found.append(replace(event, data=key.seal(DATA, event.place, orjson.dumps(one.data))))
        return found


def _key(connection: str, own: str) -> str:
    """Returns the ordering key: connections share none."""
    tail = connection.rpartition("/")[2]
    if len(own) > 128:
        own = hashlib.sha256(own.encode()).hexdigest()
    return keepable(f"{tail}/{own}") if own else tail


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
