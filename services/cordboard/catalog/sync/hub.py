"""The hub's side: registers edges, and leads each of them from where it is to where the hub is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.catalog.sync.abilities import ABLE
from cordboard.catalog.sync.envelope import Place, header_for, next_issue_time, place_of, seal
from cordboard.catalog.sync.feed import Feed, Scope
from cordboard.catalog.sync.notes import Notes
from cordboard.catalog.sync.pin_store import PinStore
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.signing import EDGE, labelled, new_private_key, public_key_of, verified
from cordboard.catalog.sync.store import Answered, EdgeRecord, Issue
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.audit import Entry
from cordboard.core.errors import AccessDenied, AlreadyExists, NotFound
from cordboard.core.names import check_id
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.catalog.sync.customer_store import CustomerStore
    from cordboard.catalog.sync.drift_reports import HubDrift
    from cordboard.catalog.sync.keys import HubKeys, SigningKeys
    from cordboard.catalog.sync.store import HubStore
    from cordboard.core.audit import Journal
    from cordboard.core.database import Changes, Subscription
    from cordboard.core.times import Clock

METHOD: Final = "cordboard.catalog.v1.SyncService/WatchDeltas"
HELLO_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 120.0
MAX_ERROR: Final = 500
MAX_RELEASE: Final = 64

Requests = AsyncIterator[pb.WatchDeltasRequest]


@dataclass(frozen=True)
class Registered:
    """A new edge, and what it needs to begin."""

    edge: EdgeRecord
    keys: SigningKeys
    private_key: Secret[bytes]


class Hub:
    """Leads edges."""

    def __init__(
        self,
        store: HubStore,
        customers: CustomerStore,
        keys: HubKeys,
        changes: Changes,
        journal: Journal,
        clock: Clock,
        drift: HubDrift,
        *,
        heartbeat: float = 10.0,
    ) -> None:
        """Takes the tables, the signing keys, what tells of changes, the journal, the time, what keeps the drift that
        edges tell, and after how many seconds without a change an edge is told that there is none.
        """
        self._store = store
        self._keys = keys
        self._changes = changes
        self._journal = journal
        self._clock = clock
        self._drift = drift
        self._heartbeat = heartbeat
        self._feed = Feed(store, customers, PinStore())
        self._sent: Notes[Issue, set[str]] = Notes(lambda issues: store.note_issues("sent", issues))
        self._bundled: Notes[Issue, set[str]] = Notes(lambda issues: store.note_issues("bundle", issues))
        self._answered: Notes[Answered, None] = Notes(store.note_answers)

    async def close(self) -> None:
        """Ends what is being read and written for edges."""
        for part in (self._feed, self._sent, self._bundled, self._answered):
            await part.close()

    async def register(self, edge_id: str, *, title: str, workspaces: Sequence[str]) -> Registered:
        """Registers an edge; raises InvalidFields, AlreadyExists and StateConflict."""
        check_id(edge_id, "edge_id")
        for index, workspace in enumerate(workspaces):
            check_id(workspace, f"edge.workspaces[{index}]")
        keys = await self._keys.current()
        private_key = new_private_key()
        record = EdgeRecord(
            edge_id, title[:MAX_ERROR], tuple(sorted(set(workspaces))), public_key_of(private_key), self._clock.now()
        )
        async with self._store.writing() as connection:
            if not await self._store.add_edge(connection, record):
                raise AlreadyExists(record.name)
            details = {"workspaces": list(record.workspaces)}
            await self._journal.append(connection, Entry("catalog.edge.register", record.name, details=details))
        return Registered(record, keys, Secret(private_key))

    async def edge(self, edge_id: str) -> EdgeRecord:
        """Returns an edge; raises NotFound."""
        async with self._store.reading() as connection:
            found = await self._store.edge(connection, edge_id)
        if found is None:
            raise NotFound(f"edges/{edge_id}")
        return found

    async def edges(self, *, after: str, limit: int) -> list[EdgeRecord]:
        """Returns up to `limit` edges with an id above `after`, in order."""
        async with self._store.reading() as connection:
            return await self._store.edges(connection, after=after, limit=limit)

    async def head(self) -> int:
        """Returns the number of the newest change."""
        async with self._store.reading() as connection:
            return await self._store.head(connection)

    async def revoke(self, edge_id: str) -> EdgeRecord:
        """Takes an edge's right to follow away; its stream ends with the next message. Raises NotFound."""
        await self.edge(edge_id)
        async with self._store.writing() as connection:
            if await self._store.change_edge(connection, edge_id, revoke_time=self._clock.now()):
                await self._journal.append(connection, Entry("catalog.edge.revoke", f"edges/{edge_id}"))
        return await self.edge(edge_id)

    async def bundle(self, edge_id: str) -> AsyncIterator[pb.WatchDeltasResponse]:
        """Yields all that an edge may have, from the beginning, signed for it. Raises NotFound, StateConflict."""
        keys = await self._keys.current()
        edge = await self.edge(edge_id)
        yield _challenge(keys, b"")
        # It will be opened by a release that can do at least what this edge could when it was last here.
        scope = Scope(edge.workspaces, frozenset(edge.capabilities or ABLE))
        place, more = Place(), True
        while more:
            envelope, target = await self._envelope(edge, keys, place, scope, self._bundled)
            place = place_of(envelope)
            more = place.sequence < target
            yield pb.WatchDeltasResponse(envelope=envelope)

    async def session(self, requests: Requests) -> AsyncIterator[pb.WatchDeltasResponse]:
        """Leads the edge that sends the requests for as long as it stays; raises AccessDenied and StateConflict."""
        keys = await self._keys.current()
        nonce = secrets.token_bytes(32)
        yield _challenge(keys, nonce)
        edge, hello = await self._admit(requests, keys, nonce)
        # What this hub cannot run itself it has not got.
        able = tuple(sorted(ABLE.intersection(hello.capabilities)))
        scope = Scope(edge.workspaces, frozenset(able))
        claimed = Place(hello.sequence, hello.hash)
        same = edge.capabilities in ((), able)
        known = hello.epoch == keys.epoch and same and claimed in edge.places
        # What we do not remember to have sent, we cannot go on from: a hub that was restored from a backup, say.
        place = claimed if known and claimed.hash else Place()
        # Where it is now it says itself; that it applied what was sent last, we may have been too dead to hear.
        heard = {"acked_sequence": place.sequence, "acked_hash": place.hash} if place.hash else {}
        async with self._store.reading() as connection:
            await self._store.change_edge(
                connection,
                edge.id,
                capabilities=able,
                release=hello.release[:MAX_RELEASE],
                connect_time=self._clock.now(),
                **heard,
            )
        async with self._changes.subscription() as woken:
            async for message in self._lead(edge, scope, place, requests, woken):
                yield message

    async def _lead(
        self, edge: EdgeRecord, scope: Scope, place: Place, requests: Requests, woken: Subscription
    ) -> AsyncIterator[pb.WatchDeltasResponse]:
        keys = await self._keys.current()
        target = -1
        while True:
            if target == place.sequence:
                await self._news(place, woken)
            present = await self._keys.recent()
            if present.newest.id != keys.newest.id:
                yield pb.WatchDeltasResponse(keys=pb.HubKeys(keys=present.keys))
            if present.epoch != keys.epoch:
                place = Place()
            keys = present
            envelope, target = await self._envelope(edge, keys, place, scope, self._sent)
            yield pb.WatchDeltasResponse(envelope=envelope)
            answer = await self._answer(requests)
            if answer is None:
                return
            if await self._note(edge, answer, envelope, current=place_of(envelope).sequence == target):
                place = place_of(envelope)
            else:
                # It stays as it was. What it refused may have been altered on the way: it gets it again, in a while.
                target = place.sequence
                await woken.wait(min(self._heartbeat, 5.0))

    async def _news(self, place: Place, woken: Subscription) -> None:
        """Returns when there is a change, or when it is time to say that there is none."""
        deadline = self._clock.monotonic() + self._heartbeat
        while await self._feed.head() <= place.sequence and (left := deadline - self._clock.monotonic()) > 0:
            await woken.wait(min(left, 1.0))

    async def _envelope(
        self, edge: EdgeRecord, keys: SigningKeys, place: Place, scope: Scope, notes: Notes[Issue, set[str]]
    ) -> tuple[pb.Envelope, int]:
        step = await self._feed.step(place.sequence, scope)
        last = edge.issue_time
        while True:
            issue_time = next_issue_time(self._clock.now(), last)
            header = header_for(
                hub=keys.hub,
                edge=edge.id,
                epoch=keys.epoch,
                before=place,
                sequence=step.sequence,
                target=step.target,
                issue_time=issue_time,
            )
            envelope = seal(header, step.payload, key=keys.newest.id, private_key=keys.private_key)
            after = place_of(envelope)
            # Before it is sent: an edge that applied it and could not say so is still recognised.
            if edge.id in await notes.put(Issue(edge.id, after, issue_time)):
                return envelope, step.target
            async with self._store.reading() as connection:
                present = await self._store.edge(connection, edge.id)
            if present is None or present.revoke_time is not None:
                raise AccessDenied(METHOD, "this edge was revoked")
            # Another replica has sent it something later, by its clock.
            last = present.issue_time

    async def _admit(self, requests: Requests, keys: SigningKeys, nonce: bytes) -> tuple[EdgeRecord, pb.Hello]:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "hello":
            raise AccessDenied(METHOD, "an edge says first who it is")
        hello = first.hello
        async with self._store.reading() as connection:
            edge = await self._store.edge(connection, hello.edge)
        text = labelled(EDGE, keys.hub.encode(), hello.edge.encode(), nonce)
        held = edge is not None and edge.revoke_time is None and verified(edge.public_key, hello.signature, text)
        if edge is None or not held:
            # One answer for all three: who has no key learns nothing of which edges there are.
            raise AccessDenied(METHOD, "no such edge, or not its key")
        return edge, hello

    async def _answer(self, requests: Requests) -> pb.WatchDeltasRequest | None:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await anext(requests, None)

    async def _note(
        self, edge: EdgeRecord, answer: pb.WatchDeltasRequest, envelope: pb.Envelope, *, current: bool
    ) -> bool:
        """Writes down what the edge says of an envelope, and tells whether it applied it."""
        now, place = self._clock.now(), place_of(envelope)
        kind = answer.WhichOneof("message")
        if kind == "acknowledgement":
            if Place(answer.acknowledgement.sequence, answer.acknowledgement.hash) != place:
                raise AccessDenied(METHOD, "it acknowledges what it was not sent")
            await self._answered.put(Answered(edge.id, place, now, current))
            await self._drift.take(edge, answer.acknowledgement.drifts)
        elif kind == "rejection":
            rejected = Rejected(answer.rejection.reason, answer.rejection.text)
            async with self._store.reading() as connection:
                problem = f"{rejected.word}: {rejected.text}"[:MAX_ERROR]
                await self._store.change_edge(connection, edge.id, last_error=problem)
        else:
            raise AccessDenied(METHOD, "an edge answers each envelope")
        return kind == "acknowledgement"


def _challenge(keys: SigningKeys, nonce: bytes) -> pb.WatchDeltasResponse:
    challenge = pb.Challenge(hub=keys.hub, nonce=nonce, keys=pb.HubKeys(keys=keys.keys))
    return pb.WatchDeltasResponse(challenge=challenge)
