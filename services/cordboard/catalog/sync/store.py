"""Keeps hubs' keys, edges, and what an edge has, in PostgreSQL; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.catalog import tables
from cordboard.catalog.store import CHANNEL, IntegrationRecord, VersionRecord
from cordboard.catalog.sync.envelope import Place
from cordboard.core.database import notify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from sqlalchemy.dialects.postgresql import Insert
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.store import Described
    from cordboard.core.database import Database

DRAFT: Final = 1
_head = tables.head
_hub = tables.hub
_key = tables.key
_edge = tables.edge
_customer = tables.customer
_flags = tables.flags
_version = tables.version
_state = tables.state
_integration = tables.integration
_replica = tables.replica
_trust = tables.trust
_same = sa.and_(_version.c.slug == _state.c.slug, _version.c.version == _state.c.version)
_CHANGED: Final = (
    _state.c.sequence,
    _version.c.slug,
    _version.c.version,
    _version.c.content_hash,
    sa.func.length(_version.c.content).label("size"),
    _version.c.create_time,
    _version.c.creator,
    _version.c.workspace_id,
    _state.c.state,
    _state.c.revision,
    _state.c.activation,
    _state.c.sunset_time,
    _state.c.successor,
    _state.c.reason,
    _state.c.update_time,
    sa.func.coalesce(_integration.c.active_version == _version.c.version, sa.false()).label("active"),
)


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


@dataclass(frozen=True)
class KeyRecord:
    """A signing key of a hub."""

    number: int
    id: str
    public_key: bytes
    sealed: bytes
    signer: str
    signature: bytes
    create_time: datetime


@dataclass(frozen=True)
class EdgeRecord:
    """An edge, as its hub knows it."""

    id: str
    title: str
    workspaces: tuple[str, ...]
    public_key: bytes
    create_time: datetime
    revoke_time: datetime | None = None
    capabilities: tuple[str, ...] = ()
    release: str = ""
    epoch: int = 0
    acked_sequence: int = 0
    acked_hash: bytes = b""
    sent_sequence: int = 0
    sent_hash: bytes = b""
    bundle_sequence: int = 0
    bundle_hash: bytes = b""
    issue_time: datetime | None = None
    connect_time: datetime | None = None
    ack_time: datetime | None = None
    fresh_time: datetime | None = None
    last_error: str = ""
    unknown: tuple[str, ...] = ()
    """Those of its workspaces of which nobody here knows the customer; it is worked out, and not kept."""

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"edges/{self.id}"

    @property
    def places(self) -> tuple[Place, ...]:
        """Returns where the edge can be: what it acknowledged, and what it may have applied since."""
        return (
            Place(self.acked_sequence, self.acked_hash),
            Place(self.sent_sequence, self.sent_hash),
            Place(self.bundle_sequence, self.bundle_hash),
        )


@dataclass(frozen=True)
class ChangedVersion:
    """A version that changed, without its definition."""

    sequence: int
    slug: str
    version: str
    content_hash: str
    size: int
    create_time: datetime
    creator: str
    workspace_id: str
    state: int
    revision: int
    activation: int
    sunset_time: datetime | None
    successor: str
    reason: str
    update_time: datetime
    active: bool


@dataclass(frozen=True)
class FlagsRecord:
    """The set of flags: at a hub its own, at an edge the hub's."""

    revision: int
    records: bytes
    sequence: int


@dataclass(frozen=True)
class ReplicaRecord:
    """What an edge follows and has."""

    hub_id: str
    edge_id: str
    epoch: int = 0
    sequence: int = 0
    hash: bytes = b""
    highest: int = 0
    target: int = 0
    issue_time: datetime | None = None
    fresh_time: datetime | None = None
    capabilities: tuple[str, ...] = ()
    last_error: str = ""


@dataclass(frozen=True)
class Issue:
    """An envelope that is about to be sent to an edge."""

    edge: str
    place: Place
    """Where the edge is once it has applied it."""
    issue_time: datetime


@dataclass(frozen=True)
class Answered:
    """An envelope that an edge has applied."""

    edge: str
    place: Place
    time: datetime
    current: bool
    """With it the edge has everything."""


def _rows(*columns: tuple[str, Any, list[Any]]) -> Any:
    """Returns values as a table, one array for each column: one statement, however many rows."""
    arrays = [sa.cast(values, sa.ARRAY(kind)) for _, kind, values in columns]
    return sa.func.unnest(*arrays).table_valued(*(sa.column(name, kind) for name, kind, _ in columns)).render_derived()


def _replacing(table: sa.Table, *, keys: Collection[str], kept: Collection[str] = ()) -> Insert:
    """Returns the statement that writes rows over those with the same keys."""
    written = insert(table)
    names = [column.name for column in table.c if column.name not in (*keys, *kept)]
    return written.on_conflict_do_update(index_elements=keys, set_={name: written.excluded[name] for name in names})


def _edges() -> sa.Select[Any]:
    member = sa.func.unnest(_edge.c.workspaces).column_valued("member")
    known = sa.exists().where(_customer.c.workspace_id == member)
    unknown = sa.select(member).where(~known).order_by(member).correlate(_edge).scalar_subquery()
    return sa.select(_edge, sa.func.array(unknown, type_=sa.ARRAY(sa.Text, as_tuple=True)).label("unknown"))


class HubStore:
    """The tables of a hub."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction that sees every workspace's definitions."""
        return self._database.everywhere()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that alone writes keys, and wakes the sessions of edges when it is committed."""
        async with self._database.everywhere() as connection:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('cordboard sync hub'))"))
            yield connection
            await notify(connection, CHANNEL)

    async def hub(self, connection: AsyncConnection) -> tuple[str, int] | None:
        """Returns the hub's id and epoch, or None."""
        found = (await connection.execute(sa.select(_hub))).one_or_none()
        return None if found is None else (found.hub_id, found.epoch)

    async def put_hub(self, connection: AsyncConnection, hub: str, epoch: int) -> None:
        """Writes the hub's id, once."""
        await connection.execute(sa.insert(_hub).values(hub_id=hub, epoch=epoch))

    async def next_epoch(self, connection: AsyncConnection) -> int:
        """Returns the epoch after the present one, which it then is."""
        taken = sa.update(_hub).values(epoch=_hub.c.epoch + 1).returning(_hub.c.epoch)
        number: int = (await connection.execute(taken)).scalar_one()
        return number

    async def keys(self, connection: AsyncConnection) -> list[KeyRecord]:
        """Returns the signing keys, oldest first."""
        return [KeyRecord(*row) for row in await connection.execute(sa.select(_key).order_by(_key.c.number))]

    async def add_key(self, connection: AsyncConnection, record: KeyRecord) -> None:
        """Writes a signing key."""
        await connection.execute(sa.insert(_key).values(asdict(record)))

    async def newest(self) -> int:
        """Returns the number of the newest change, in a transaction of its own."""
        async with self._database.at_once() as connection:
            return await self.head(connection)

    async def head(self, connection: AsyncConnection) -> int:
        """Returns the number of the newest change."""
        number: int = (await connection.execute(sa.select(_head.c.sequence))).scalar_one()
        return number

    async def changed(
        self, connection: AsyncConnection, *, after: int, until: int, workspaces: Sequence[str], limit: int
    ) -> list[ChangedVersion]:
        """Returns up to `limit` versions that changed after one change and until another, in order; those that are
        shared, and those that are private to one of the workspaces.
        """
        wanted = (
            sa.select(*_CHANGED)
            .join_from(_state, _version, _same)
            .join(_integration, _integration.c.slug == _version.c.slug)
            .where(
                _state.c.sequence > after,
                _state.c.sequence <= until,
                _state.c.state > DRAFT,
                _version.c.workspace_id.in_(["", *workspaces]),
            )
            .order_by(_state.c.sequence)
            .limit(limit)
        )
        return [ChangedVersion(*tuple(row)) for row in await connection.execute(wanted)]

    async def active_content(self, connection: AsyncConnection, slug: str) -> bytes | None:
        """Returns the definition of an integration's active version, or None."""
        wanted = sa.select(_version.c.content).join(
            _integration,
            sa.and_(_integration.c.slug == _version.c.slug, _integration.c.active_version == _version.c.version),
        )
        found: bytes | None = (await connection.execute(wanted.where(_version.c.slug == slug))).scalar_one_or_none()
        return found

    async def contents(
        self, connection: AsyncConnection, keys: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], bytes]:
        """Returns the serialised definitions of versions."""
        wanted = sa.select(_version.c.slug, _version.c.version, _version.c.content).where(
            sa.tuple_(_version.c.slug, _version.c.version).in_(keys)
        )
        return {(row.slug, row.version): row.content for row in await connection.execute(wanted)}

    async def flags(self, connection: AsyncConnection) -> FlagsRecord | None:
        """Returns the set of flags, or None before there was one."""
        found = (await connection.execute(sa.select(_flags.c.revision, _flags.c.records, _flags.c.sequence))).first()
        return None if found is None else FlagsRecord(*found)

    async def flags_place(self, connection: AsyncConnection) -> tuple[int, int] | None:
        """Returns the revision of the set of flags and the change that brought it, or None before there was one."""
        found = (await connection.execute(sa.select(_flags.c.revision, _flags.c.sequence))).first()
        return None if found is None else (found.revision, found.sequence)

    async def edge(self, connection: AsyncConnection, edge: str, *, lock: bool = False) -> EdgeRecord | None:
        """Returns an edge, or None; `lock` keeps others from changing it until the transaction ends."""
        wanted = _edges().where(_edge.c.id == edge)
        found = (await connection.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
        return None if found is None else EdgeRecord(*found)

    async def edges(self, connection: AsyncConnection, *, after: str, limit: int) -> list[EdgeRecord]:
        """Returns up to `limit` edges with an id above `after`, in order."""
        wanted = _edges().where(_edge.c.id > after).order_by(_edge.c.id).limit(limit)
        return [EdgeRecord(*row) for row in await connection.execute(wanted)]

    async def add_edge(self, connection: AsyncConnection, record: EdgeRecord) -> bool:
        """Writes a new edge; returns False when there is one of that id."""
        values = {name: value for name, value in asdict(record).items() if name != "unknown"}
        added = await connection.execute(insert(_edge).values(values).on_conflict_do_nothing())
        return bool(added.rowcount)

    async def change_edge(self, connection: AsyncConnection, edge: str, **values: Any) -> bool:
        """Writes fields of an edge that was not revoked; returns False when there is none."""
        here = sa.and_(_edge.c.id == edge, _edge.c.revoke_time.is_(None))
        return bool((await connection.execute(sa.update(_edge).where(here).values(values))).rowcount)

    async def note_issues(self, kept: str, issues: Sequence[Issue]) -> set[str]:
        """Writes what is about to be sent to edges, under `sent` or `bundle`, in a transaction of its own; returns the
        edges that it was written for: not those that were revoked, or were sent something that was issued later.
        """
        told = _rows(
            ("id", sa.Text, [one.edge for one in issues]),
            ("sequence", sa.BigInteger, [one.place.sequence for one in issues]),
            ("hash", sa.LargeBinary, [one.place.hash for one in issues]),
            ("issue_time", sa.DateTime(timezone=True), [one.issue_time for one in issues]),
        )
        changed = (
            sa.update(_edge)
            .where(
                _edge.c.id == told.c.id,
                _edge.c.revoke_time.is_(None),
                sa.or_(_edge.c.issue_time.is_(None), _edge.c.issue_time < told.c.issue_time),
            )
            .values({f"{kept}_sequence": told.c.sequence, f"{kept}_hash": told.c.hash, "issue_time": told.c.issue_time})
            .returning(_edge.c.id)
        )
        async with self._database.at_once() as connection:
            return set((await connection.execute(changed)).scalars())

    async def note_answers(self, answers: Sequence[Answered]) -> None:
        """Writes what edges that were not revoked have applied, in a transaction of its own."""
        told = _rows(
            ("id", sa.Text, [one.edge for one in answers]),
            ("sequence", sa.BigInteger, [one.place.sequence for one in answers]),
            ("hash", sa.LargeBinary, [one.place.hash for one in answers]),
            ("ack_time", sa.DateTime(timezone=True), [one.time for one in answers]),
            ("current", sa.Boolean, [one.current for one in answers]),
        )
        changed = (
            sa.update(_edge)
            .where(_edge.c.id == told.c.id, _edge.c.revoke_time.is_(None))
            .values(
                acked_sequence=told.c.sequence,
                acked_hash=told.c.hash,
                ack_time=told.c.ack_time,
                last_error="",
                fresh_time=sa.case((told.c.current, told.c.ack_time), else_=_edge.c.fresh_time),
            )
        )
        async with self._database.at_once() as connection:
            await connection.execute(changed)


class ReplicaStore:
    """The tables of an edge."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database
        # Made once: with the columns of EXCLUDED they take longer to make than to run.
        self._put_replica = _replacing(_replica, keys=("one",))
        self._put_integration = _replacing(_integration, keys=("slug",), kept=("create_time",))
        self._put_state = _replacing(_state, keys=("slug", "version"), kept=("workspace_id",))

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction that sees every workspace's definitions."""
        return self._database.everywhere()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that writes to the shared catalog and to every workspace's, and wakes the watchers."""
        async with self._database.everywhere() as connection:
            yield connection
            await notify(connection, CHANNEL)

    async def replica(self, connection: AsyncConnection, *, lock: bool = False) -> ReplicaRecord | None:
        """Returns what the edge follows and has, or None."""
        columns = [column for column in _replica.c if column.name != "one"]
        wanted = sa.select(*columns)
        found = (await connection.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
        return None if found is None else ReplicaRecord(*found)

    async def put_replica(self, connection: AsyncConnection, record: ReplicaRecord) -> None:
        """Writes what the edge follows and has."""
        await connection.execute(self._put_replica, {"one": True, **asdict(record)})

    async def trusted(self, connection: AsyncConnection, hub: str) -> dict[str, bytes]:
        """Returns the public keys that are trusted to be the hub's, by id."""
        wanted = sa.select(_trust.c.id, _trust.c.public_key).where(_trust.c.hub_id == hub)
        return {row.id: row.public_key for row in await connection.execute(wanted)}

    async def trust(self, connection: AsyncConnection, hub: str, keys: dict[str, bytes]) -> None:
        """Writes the public keys that are trusted to be the hub's."""
        rows = [{"hub_id": hub, "id": name, "public_key": key} for name, key in keys.items()]
        await connection.execute(insert(_trust).on_conflict_do_nothing(), rows)

    async def advance(self, connection: AsyncConnection, count: int) -> int:
        """Returns the last number of so many more changes of this transaction."""
        taken = sa.update(_head).values(sequence=_head.c.sequence + count).returning(_head.c.sequence)
        number: int = (await connection.execute(taken)).scalar_one()
        return number

    async def known(
        self, connection: AsyncConnection, slugs: Sequence[str]
    ) -> tuple[dict[str, IntegrationRecord], list[VersionRecord]]:
        """Returns the integrations that there are of these, by slug, and all their versions."""
        wanted = (
            sa.select(*_integration.c, *(column.label(f"version_{at}") for at, column in enumerate(_KNOWN)))
            .join_from(_integration, _version, _version.c.slug == _integration.c.slug, isouter=True)
            .join(_state, _same, isouter=True)
            .where(_integration.c.slug == sa.any_(sa.cast(slugs, sa.ARRAY(sa.Text))))
        )
        width = len(_integration.c)
        integrations, versions = {}, []
        for row in await connection.execute(wanted):
            one = tuple(row)
            integrations[row.slug] = IntegrationRecord(*one[:width])
            if one[width] is not None:
                versions.append(VersionRecord(*one[width:]))
        return integrations, versions

    async def put_integrations(self, connection: AsyncConnection, records: Sequence[IntegrationRecord]) -> None:
        """Writes integrations; when they were created stays as it is."""
        if records:
            await connection.execute(self._put_integration, [asdict(record) for record in records])

    async def add_versions(
        self, connection: AsyncConnection, added: Sequence[tuple[VersionRecord, bytes, Described]]
    ) -> None:
        """Writes new versions, without their states."""
        if added:
            rows = [
                {
                    "slug": record.slug,
                    "version": record.version,
                    "content_hash": record.content_hash,
                    "content": content,
                    "sequence": record.published,
                    "create_time": record.create_time,
                    "creator": record.creator,
                    "workspace_id": record.workspace_id,
                    "listing": about.listing,
                    "facts": about.facts,
                }
                for record, content, about in added
            ]
            await connection.execute(sa.insert(_version), rows)

    async def put_states(self, connection: AsyncConnection, records: Sequence[VersionRecord]) -> None:
        """Writes where versions are in their lives."""
        if records:
            names = [column.name for column in _state.c]
            rows = [{name: getattr(one, name) for name in names} for one in records]
            await connection.execute(self._put_state, rows)

    async def put_flags(self, connection: AsyncConnection, record: FlagsRecord) -> None:
        """Writes the set of flags, in the place of the one before."""
        written = insert(_flags).values(one=True, **asdict(record))
        replaced = {name: written.excluded[name] for name in asdict(record)}
        await connection.execute(written.on_conflict_do_update(index_elements=["one"], set_=replaced))
