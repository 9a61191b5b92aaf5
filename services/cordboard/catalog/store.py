"""Keeps integrations and their definition versions in PostgreSQL; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.catalog import tables
from cordboard.core.database import EVERYWHERE, notify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "cordboard_catalog"

_head = tables.head
_integration = tables.integration
_version = tables.version
_state = tables.state
_pin = tables.pin
_review = tables.review
_same = sa.and_(_version.c.slug == _state.c.slug, _version.c.version == _state.c.version)
_KNOWN: Final = (
    _version.c.slug,
    _version.c.version,
    _version.c.content_hash,
    _version.c.sequence.label("published"),
    _version.c.create_time,
    _version.c.creator,
    _state.c.state,
    _state.c.sequence,
    _state.c.revision,
    _state.c.activation,
    _state.c.sunset_time,
    _state.c.successor,
    _state.c.reason,
    _state.c.update_time,
    _state.c.updater,
    _version.c.workspace_id,
)
_STATE: Final = (
    "state",
    "sequence",
    "revision",
    "activation",
    "sunset_time",
    "successor",
    "reason",
    "update_time",
    "updater",
)


@dataclass(frozen=True)
class IntegrationRecord:
    """An integration, as its active version describes it; where there is none, its newest one."""

    slug: str
    title: str
    description: str
    category: int
    owner: str
    criticality: int
    active_version: str
    action_count: int
    auth_schemes: tuple[str, ...]
    tags: tuple[str, ...]
    sequence: int
    create_time: datetime
    update_time: datetime
    state: int
    """The state of the active version, or of the one that is nearest to it; 0: it has no version left."""
    workspace_id: str
    """Whose it is; empty: it is shared."""

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"integrations/{self.slug}"


@dataclass(frozen=True)
class VersionRecord:
    """A definition version and where it is in its life, without what it says."""

    slug: str
    version: str
    content_hash: str
    published: int
    """The number of the change that published it."""
    create_time: datetime
    creator: str
    state: int
    sequence: int
    """The number of the change that changed its state last, or that made or unmade it the active one."""
    revision: int
    activation: int
    """The number of the change that activated it last; 0: none did."""
    sunset_time: datetime | None
    successor: str
    reason: str
    update_time: datetime
    updater: str
    workspace_id: str

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"integrations/{self.slug}/versions/{self.version}"


@dataclass(frozen=True)
class PinRecord:
    """A pin; without a version it was taken away."""

    workspace_id: str
    environment: str
    slug: str
    version: str
    reason: str
    revision: int
    sequence: int
    update_time: datetime
    creator: str
    from_hub: bool = False
    """Whether the hub that this mesh follows set it."""
    hub_version: str = ""
    """What that hub holds the environment to; empty: to nothing."""

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"workspaces/{self.workspace_id}/environments/{self.environment}/pins/{self.slug}"


@dataclass(frozen=True)
class ReviewRecord:
    """The last review of an integration."""

    workspace_id: str
    slug: str
    review_time: datetime
    due_time: datetime
    reviewer: str
    note: str
    sequence: int


@dataclass(frozen=True)
class Described:
    """What lists and the inventory say of a version; None where it was published before that was written down."""

    slug: str
    version: str
    listing: bytes | None
    facts: dict[str, Any] | None


@dataclass(frozen=True)
class Changed:
    """What is new since a sequence number."""

    head: int
    """The number of the newest change that is certainly among them."""
    integrations: tuple[IntegrationRecord, ...] = ()
    versions: tuple[VersionRecord, ...] = ()
    deleted: tuple[tuple[str, str], ...] = ()
    """Slug and version of drafts that are gone."""
    pins: tuple[PinRecord, ...] = ()
    reviews: tuple[ReviewRecord, ...] = ()
    described: tuple[Described, ...] = ()
    """Of the active versions of the integrations."""


class CatalogStore:
    """The tables of the Catalog."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    @contextlib.asynccontextmanager
    async def writing(self, workspace: str = "") -> AsyncIterator[tuple[AsyncConnection, int]]:
        """Opens a transaction that alone may write, and gives the number of its change; watchers hear of it once it is
        committed. It sees the shared catalog, and writes to it or to what one workspace has; EVERYWHERE: to all.

        Nothing in it may ask for another connection: all of them may be waiting for this one.

        Numbers are given under a lock that lasts until the commit, so that they appear in their order.
        """
        async with self._transaction(workspace) as connection:
            yield connection, await self.advance(connection)
            await notify(connection, CHANNEL)

    def reading(self, workspace: str = "") -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction that only reads."""
        return self._transaction(workspace)

    def _transaction(self, workspace: str) -> AbstractAsyncContextManager[AsyncConnection]:
        if workspace == EVERYWHERE:
            return self._database.everywhere()
        return self._database.workspace(workspace) if workspace else self._database.shared()

    async def advance(self, connection: AsyncConnection) -> int:
        """Returns the number of one more change of a transaction."""
        taken = sa.update(_head).values(sequence=_head.c.sequence + 1).returning(_head.c.sequence)
        number: int = (await connection.execute(taken)).scalar_one()
        return number

    async def integration(self, connection: AsyncConnection, slug: str) -> IntegrationRecord | None:
        """Returns an integration, or None."""
        found = (await connection.execute(sa.select(_integration).where(_integration.c.slug == slug))).one_or_none()
        return None if found is None else IntegrationRecord(*found)

    async def private_count(self, connection: AsyncConnection, workspace: str) -> int:
        """Returns how many private integrations a workspace has."""
        wanted = sa.select(sa.func.count()).where(_integration.c.workspace_id == workspace, _integration.c.state != 0)
        count: int = (await connection.execute(wanted)).scalar_one()
        return count

    async def versions(self, connection: AsyncConnection, slug: str) -> list[VersionRecord]:
        """Returns the versions of an integration, oldest first."""
        wanted = sa.select(*_KNOWN).join_from(_version, _state, _same).where(_version.c.slug == slug)
        found: Any = await connection.execute(wanted.order_by(_version.c.sequence))
        return [VersionRecord(*row) for row in found]

    async def put_integration(self, connection: AsyncConnection, record: IntegrationRecord) -> None:
        """Writes an integration; when it was created stays as it is."""
        written = insert(_integration).values(asdict(record))
        replaced = {name: written.excluded[name] for name in asdict(record) if name not in ("slug", "create_time")}
        await connection.execute(written.on_conflict_do_update(index_elements=["slug"], set_=replaced))

    async def add_version(
        self, connection: AsyncConnection, record: VersionRecord, content: bytes, described: Described
    ) -> None:
        """Writes a new version and its state."""
        await connection.execute(
            sa.insert(_version).values(
                slug=record.slug,
                version=record.version,
                content_hash=record.content_hash,
                content=content,
                sequence=record.published,
                create_time=record.create_time,
                creator=record.creator,
                workspace_id=record.workspace_id,
                listing=described.listing,
                facts=described.facts,
            )
        )
        await self.put_state(connection, record)

    async def put_state(self, connection: AsyncConnection, record: VersionRecord) -> None:
        """Writes where a version is in its life."""
        values = {name: getattr(record, name) for name in ("workspace_id", "slug", "version", *_STATE)}
        written = insert(_state).values(values)
        replaced = {name: written.excluded[name] for name in _STATE}
        await connection.execute(written.on_conflict_do_update(index_elements=["slug", "version"], set_=replaced))

    async def delete_version(self, connection: AsyncConnection, slug: str, version: str, sequence: int) -> None:
        """Deletes a draft; PostgreSQL refuses to delete anything else."""
        here = (_state.c.slug == slug, _state.c.version == version)
        await connection.execute(sa.delete(_version).where(_version.c.slug == slug, _version.c.version == version))
        await connection.execute(sa.update(_state).where(*here).values(state=0, sequence=sequence))

    async def content(self, slug: str, version: str, *, workspace: str = "") -> bytes | None:
        """Returns the serialised Definition of a version, or None; a private one is its workspace's alone."""
        async with self._transaction(workspace) as connection:
            return await self.content_in(connection, slug, version)

    async def content_in(self, connection: AsyncConnection, slug: str, version: str) -> bytes | None:
        """Returns the serialised Definition of a version, or None."""
        wanted = sa.select(_version.c.content).where(_version.c.slug == slug, _version.c.version == version)
        found: bytes | None = (await connection.execute(wanted)).scalar_one_or_none()
        return found

    async def pin(self, connection: AsyncConnection, environment: str, slug: str) -> PinRecord | None:
        """Returns the pin of an environment of the transaction's workspace, or None; one without a version too."""
        wanted = sa.select(_pin).where(_pin.c.environment == environment, _pin.c.slug == slug)
        found = (await connection.execute(wanted)).one_or_none()
        return None if found is None else PinRecord(*found)

    async def put_pin(self, connection: AsyncConnection, record: PinRecord) -> None:
        """Writes a pin."""
        written = insert(_pin).values(asdict(record))
        keys = ("workspace_id", "environment", "slug")
        replaced = {name: written.excluded[name] for name in asdict(record) if name not in keys}
        await connection.execute(written.on_conflict_do_update(index_elements=list(keys), set_=replaced))

    async def pins(self, workspace: str, *, after: str, limit: int, slug: str, environment: str) -> list[PinRecord]:
        """Returns up to `limit` pins with a name above `after`, in order of name; of all workspaces where none is
        given.
        """
        name = sa.func.concat_ws(
            "/", "workspaces", _pin.c.workspace_id, "environments", _pin.c.environment, "pins", _pin.c.slug
        ).collate("C")
        wanted = sa.select(_pin).where(_pin.c.version != "", name > after).order_by(name).limit(limit)
        if slug:
            wanted = wanted.where(_pin.c.slug == slug)
        if environment:
            wanted = wanted.where(_pin.c.environment == environment)
        opened = self._database.workspace(workspace) if workspace else self._database.everywhere()
        async with opened as connection:
            return [PinRecord(*row) for row in await connection.execute(wanted)]

    async def pinned_workspaces(self, connection: AsyncConnection, slug: str, version: str) -> int:
        """Returns how many workspaces that a transaction sees are pinned to a version."""
        wanted = sa.select(sa.func.count(_pin.c.workspace_id.distinct()))
        found = await connection.execute(wanted.where(_pin.c.slug == slug, _pin.c.version == version))
        count: int = found.scalar_one()
        return count

    async def put_review(self, connection: AsyncConnection, record: ReviewRecord) -> None:
        """Writes the last review of an integration."""
        written = insert(_review).values(asdict(record))
        replaced = {name: written.excluded[name] for name in asdict(record) if name != "slug"}
        await connection.execute(written.on_conflict_do_update(index_elements=["slug"], set_=replaced))

    async def changed(self, after: int) -> Changed:
        """Returns what is new since a sequence number."""
        # The head comes first: what is committed while we read is then read again, and never missed.
        async with self._database.at_once() as connection:
            head = (await connection.execute(sa.select(_head.c.sequence))).scalar_one()
        if head == after:
            return Changed(head)
        # A head that went back means another database: everything is new.
        after = after if after < head else 0
        async with self._database.everywhere() as connection:
            integrations, described = await self._integrations(connection, after)
            versions, deleted = await self._versions(connection, after)
            # They are rare: one statement says that there are none.
            are_new = sa.select(
                sa.exists().where(_pin.c.sequence > after), sa.exists().where(_review.c.sequence > after)
            )
            pinned, reviewed = (await connection.execute(are_new)).one()
            pins = await _newer(connection, _pin, after) if pinned else ()
            reviews = await _newer(connection, _review, after) if reviewed else ()
            return Changed(
                head,
                tuple(integrations),
                tuple(versions),
                tuple(deleted),
                tuple(PinRecord(*row) for row in pins),
                tuple(ReviewRecord(*row) for row in reviews),
                tuple(described),
            )

    async def _integrations(
        self, connection: AsyncConnection, after: int
    ) -> tuple[list[IntegrationRecord], list[Described]]:
        active = sa.and_(_version.c.slug == _integration.c.slug, _version.c.version == _integration.c.active_version)
        wanted = (
            sa.select(*_integration.c, _version.c.version, _version.c.listing, _version.c.facts)
            .join_from(_integration, _version, active, isouter=True)
            .where(_integration.c.sequence > after)
            .order_by(_integration.c.sequence)
        )
        integrations, described = [], []
        for row in await connection.execute(wanted):
            one: tuple[Any, ...] = tuple(row)
            integrations.append(IntegrationRecord(*one[:-3]))
            if row.version is not None:
                described.append(Described(row.slug, row.version, row.listing, row.facts))
        return integrations, described

    async def _versions(
        self, connection: AsyncConnection, after: int
    ) -> tuple[list[VersionRecord], list[tuple[str, str]]]:
        wanted = (
            sa.select(_state.c.slug, _state.c.version, *_KNOWN)
            .join_from(_state, _version, _same, isouter=True)
            .where(_state.c.sequence > after)
            .order_by(_state.c.sequence)
        )
        versions, deleted = [], []
        found: Any = await connection.execute(wanted)
        for slug, version, *known in found:
            if known[0] is None:
                deleted.append((slug, version))
            else:
                versions.append(VersionRecord(*known))
        return versions, deleted


async def _newer(connection: AsyncConnection, table: sa.Table, after: int) -> Any:
    return await connection.execute(sa.select(table).where(table.c.sequence > after).order_by(table.c.sequence))
