"""Subscriptions: made, looked at, moved, read as streams, and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.audit import Entry
from cordboard.core.egress import check_url
from cordboard.core.errors import AlreadyExists, CordboardError, EgressDenied, InvalidFields, NotFound, StateConflict
from cordboard.core.names import check_id, new_id
from cordboard.proxy.events.subscription import PULL, SECRET, WEBHOOK, Handed, Lost, Progress, Subscription
from cordboard.proxy.events.subscription_secrets import Secrets, new_secret
from cordboard.proxy.jobs.jobs import visible
from cordboard.proxy.sealing import Unreadable

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Changes, Database
    from cordboard.proxy.events.deliveries import DeliveryStore
    from cordboard.proxy.sealing import SealingKeys

ATTEMPTS: Final = 12
LONGEST_OVERLAP: Final = 30 * 86_400.0
CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscription is to be."""

    workspace: str
    id: str
    types: tuple[str, ...]
    connections: tuple[str, ...]
    kind: str
    url: str
    max_attempts: int
    from_beginning: bool


class Subscriptions:
    """The subscriptions of all workspaces."""

    def __init__(
        self,
        database: Database,
        store: DeliveryStore,
        keys: SealingKeys,
        journal: Journal,
        changes: Changes,
        allows: Callable[[str], bool],
        kinds: Collection[str],
        acknowledge_seconds: float,
    ) -> None:
        """Takes what keeps them, what wakes streams, which addresses may be called, the kinds of targets that there
        are, and how long a stream has to say that an event was dealt with.
        """
        self._kinds = frozenset(kinds)
        self._database = database
        self._store = store
        self._keys = keys
        self._journal = journal
        self._changes = changes
        self._allows = allows
        self._acknowledge_seconds = acknowledge_seconds
        # What readers had whose streams have ended: the strong references that the event loop does not keep.
        self._releasing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Returns when what readers had was taken back."""
        if self._releasing:
            await asyncio.wait(self._releasing, timeout=CLOSE_SECONDS)

    async def create(self, wanted: Wanted, caller: Caller) -> tuple[Subscription, str]:
        """Creates a subscription; returns it with the secret of its webhooks, if it sends any.

        Raises InvalidFields, AlreadyExists, DependencyUnavailable.
        """
        check_id(wanted.id, "subscription_id")
        secret, sealed = "", b""
        if wanted.kind != PULL and wanted.kind not in self._kinds:
            raise InvalidFields.one(f"subscription.{wanted.kind}", "is not set up by this mesh's operator")
        if wanted.kind == WEBHOOK:
            self._check_target(wanted.url)
            secret = new_secret()
            sealed = (await self._keys.current(wanted.workspace)).seal(SECRET, wanted.id, Secrets(secret).plain())
        made = Subscription(
            workspace_id=wanted.workspace,
            id=wanted.id,
            environment=caller.environment,
            types="\n".join(wanted.types),
            connections="\n".join(wanted.connections),
            kind=wanted.kind,
            url=wanted.url,
            secret=sealed,
            max_attempts=wanted.max_attempts or (0 if wanted.kind == PULL else ATTEMPTS),
            cursor=0,
            resume_time=None,
            create_time=datetime.now(UTC),
        )
        async with self._database.workspace(wanted.workspace) as connection:
            if not await self._store.add(connection, made, from_beginning=wanted.from_beginning):
                raise AlreadyExists(made.name)
            entry = Entry("proxy.subscription.create", made.name, workspace=made.workspace_id)
            await self._journal.append(connection, entry)
        return await self.subscription(wanted.workspace, wanted.id, caller), secret

    async def subscription(self, workspace: str, subscription_id: str, caller: Caller) -> Subscription:
        """Returns a subscription that this caller may see; raises NotFound."""
        found = await self._store.subscription(workspace, subscription_id)
        if found is None or not visible(found.environment, caller):
            raise NotFound(f"workspaces/{workspace}/subscriptions/{subscription_id}")
        return found

    async def subscriptions(self, workspace: str, caller: Caller, *, after: str, limit: int) -> list[Subscription]:
        """Returns up to `limit` subscriptions with an id above `after`."""
        seen = "" if visible("", caller) else caller.environment
        return await self._store.subscriptions(workspace, seen, after=after, limit=limit)

    async def progress(self, found: Subscription) -> Progress:
        """Returns how far a subscription is."""
        return await self._store.progress(found)

    async def delete(self, workspace: str, subscription_id: str, caller: Caller) -> None:
        """Deletes a subscription with what it was not told yet; raises NotFound."""
        found = await self.subscription(workspace, subscription_id, caller)
        async with self._database.workspace(workspace) as connection:
            await self._store.delete(connection, found)
            await self._journal.append(connection, Entry("proxy.subscription.delete", found.name, workspace=workspace))

    async def rotate_secret(
        self, workspace: str, subscription_id: str, overlap: float, caller: Caller
    ) -> tuple[str, datetime]:
        """Makes a new secret; returns it, and when the one before is used no more: after `overlap` seconds.

        Raises NotFound, InvalidFields, StateConflict and DependencyUnavailable.
        """
        if not 0 <= overlap <= LONGEST_OVERLAP:
            raise InvalidFields.one("overlap", f"must be from 0 to {LONGEST_OVERLAP:.0f} seconds")
        found = await self.subscription(workspace, subscription_id, caller)
        if found.kind != WEBHOOK:
            raise StateConflict(found.name, "target", "the subscription sends no webhooks, so there is nothing to sign")
        try:
            known = Secrets.read(await self._keys.opened(workspace, SECRET, found.id, found.secret))
        except Unreadable:
            raise NotFound(found.name) from None
        expire_time = datetime.now(UTC) + timedelta(seconds=overlap)
        made = Secrets(new_secret(), known.newest, expire_time)
        sealed = (await self._keys.current(workspace)).seal(SECRET, found.id, made.plain())
        async with self._database.workspace(workspace) as connection:
            if not await self._store.put_secret(connection, found, sealed):
                raise StateConflict(found.name, "secret", "somebody else replaces the secret at this moment")
            details = {"previous_expires": expire_time.isoformat(timespec="seconds")}
            entry = Entry("proxy.subscription.rotate_secret", found.name, workspace=workspace, details=details)
            await self._journal.append(connection, entry)
        return made.newest, expire_time

    async def seek(self, workspace: str, subscription_id: str, offset: int, caller: Caller) -> Subscription:
        """Has a subscription go on after an offset; raises NotFound."""
        found = await self.subscription(workspace, subscription_id, caller)
        details = {"from": found.cursor, "to": offset}
        async with self._database.workspace(workspace) as connection:
            await self._store.seek(connection, found, offset)
            entry = Entry("proxy.subscription.seek", found.name, workspace=workspace, details=details)
            await self._journal.append(connection, entry)
        return await self.subscription(workspace, subscription_id, caller)

    async def stream(
        self, workspace: str, subscription_id: str, caller: Caller, *, most: int
    ) -> AsyncGenerator[Handed, None]:
        """Yields events as they come, at most so many that are not acknowledged; raises NotFound, StateConflict.

        What was not acknowledged when the stream ends is somebody else's at once.
        """
        found = await self.subscription(workspace, subscription_id, caller)
        if found.kind != PULL:
            raise StateConflict(found.name, "target", f"its events are sent to its {found.kind}: there is none to read")
        holder, lease = new_id(), self._acknowledge_seconds
        claim: asyncio.Task[list[Handed] | None] | None = None
        try:
            async with self._changes.subscription() as turn:
                while True:
                    # A transaction that is broken off costs its connection: a reader that leaves takes none along.
                    claim = asyncio.create_task(
                        self._store.claim(workspace, subscription_id, holder, most=most, lease=lease, in_line=False)
                    )
                    handed = await asyncio.shield(claim)
                    if handed is None:
                        raise NotFound(found.name)
                    for each in handed:
                        yield each
                    if not handed:
                        await turn.wait()
        finally:
            # Whoever reads has gone, and takes no part in this any more.
            task = asyncio.create_task(self._release(workspace, subscription_id, holder, claim))
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)

    async def _release(
        self, workspace: str, subscription_id: str, holder: str, claim: asyncio.Task[list[Handed] | None] | None
    ) -> None:
        if claim is not None:
            await asyncio.gather(claim, return_exceptions=True)
        # Where this does not work, others have the events when the lease has ended.
        with contextlib.suppress(CordboardError):
            await self._store.release(workspace, subscription_id, holder)

    async def acknowledge(
        self, workspace: str, subscription_id: str, offsets: Collection[int], up_to: int, caller: Caller
    ) -> int:
        """Forgets events that were dealt with; returns how many were open. Raises NotFound."""
        await self.subscription(workspace, subscription_id, caller)
        return await self._store.acknowledge(workspace, subscription_id, offsets, up_to)

    async def lost(self, workspace: str, subscription_id: str, caller: Caller, *, after: int, limit: int) -> list[Lost]:
        """Returns up to `limit` events that could not be told, above a number, oldest first; raises NotFound."""
        found = await self.subscription(workspace, subscription_id, caller)
        return await self._store.lost(found, after=after, limit=limit)

    async def replay(self, workspace: str, subscription_id: str, offsets: Collection[int], caller: Caller) -> int:
        """Has events that could not be told be told again; returns how many. Raises NotFound."""
        found = await self.subscription(workspace, subscription_id, caller)
        async with self._database.workspace(workspace) as connection:
            count = await self._store.replay(connection, found, offsets)
            await self._journal.append(connection, _counted("replay", found, count))
        return count

    async def discard(self, workspace: str, subscription_id: str, offsets: Collection[int], caller: Caller) -> int:
        """Gives up events that could not be told; returns how many. Raises NotFound."""
        found = await self.subscription(workspace, subscription_id, caller)
        async with self._database.workspace(workspace) as connection:
            count = await self._store.discard(connection, found, offsets)
            await self._journal.append(connection, _counted("discard", found, count))
        return count

    def _check_target(self, url: str) -> None:
        field = "subscription.webhook.url"
        try:
            checked = check_url(url)
        except EgressDenied:
            raise InvalidFields.one(field, "must be a whole https URL, without user information or fragment") from None
        try:
            address = ipaddress.ip_address(checked.raw_host or "")
        except ValueError:
            inside = False
        else:
            if not self._allows(str(address)):
                raise InvalidFields.one(field, "leads to a network that is not open to it")
            inside = not address.is_global
        # Without TLS only inside of a network that an operator has opened.
        if checked.scheme != "https" and not inside:
            raise InvalidFields.one(field, "must be https")


def _counted(verb: str, found: Subscription, count: int) -> Entry:
    action = f"proxy.subscription.{verb}"
    return Entry(action, found.name, workspace=found.workspace_id, details={"events": count})
