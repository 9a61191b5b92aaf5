"""Keeps integrations and their definition versions in PostgreSQL; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.database import notify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "cordboard_catalog"

_metadata = sa.MetaData()
_head = sa.Table("head", _metadata, sa.Column("sequence", sa.BigInteger))
_integration = sa.Table(
    "integration",
    _metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("title", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("category", sa.Integer),
    sa.Column("owner", sa.Text),
    sa.Column("criticality", sa.Integer),
    sa.Column("active_version", sa.Text),
    sa.Column("action_count", sa.Integer),
    sa.Column("auth_schemes", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("tags", sa.ARRAY(sa.Text, as_tuple=True)),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("update_time", sa.DateTime(timezone=True)),
)
_version = sa.Table(
    "definition_version",
    _metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("content_hash", sa.Text),
    sa.Column("content", sa.LargeBinary),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("creator", sa.Text),
)
_KNOWN: Final = tuple(column for column in _version.c if column.name != "content")


@dataclass(frozen=True)
class IntegrationRecord:
    """An integration, as its active version describes it."""

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

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"integrations/{self.slug}"


@dataclass(frozen=True)
class VersionRecord:
    """A definition version, without what it says."""

    slug: str
    version: str
    content_hash: str
    sequence: int
    create_time: datetime
    creator: str

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"integrations/{self.slug}/versions/{self.version}"


@dataclass(frozen=True)
class Changed:
    """What is new since a sequence number."""

    head: int
    """The number of the newest change that is certainly among them."""
    integrations: tuple[IntegrationRecord, ...]
    versions: tuple[VersionRecord, ...]


class CatalogStore:
    """The tables of the Catalog."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        """Opens a transaction that alone may write, and gives the number of its change.

        Numbers are given under a lock that lasts until the commit, so that they appear in their order.
        """
        async with self._database.shared() as connection:
            taken = sa.update(_head).values(sequence=_head.c.sequence + 1).returning(_head.c.sequence)
            yield connection, (await connection.execute(taken)).scalar_one()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that only reads."""
        async with self._database.shared() as connection:
            yield connection

    async def integration(self, connection: AsyncConnection, slug: str) -> IntegrationRecord | None:
        """Returns an integration, or None."""
        found = (await connection.execute(sa.select(_integration).where(_integration.c.slug == slug))).one_or_none()
        return None if found is None else IntegrationRecord(*found)

    async def versions(self, connection: AsyncConnection, slug: str) -> list[VersionRecord]:
        """Returns the versions of an integration, oldest first."""
        wanted = sa.select(*_KNOWN).where(_version.c.slug == slug).order_by(_version.c.sequence)
        return [VersionRecord(*row) for row in await connection.execute(wanted)]

    async def put_integration(self, connection: AsyncConnection, record: IntegrationRecord) -> None:
        """Writes an integration; when it was created stays as it is."""
        written = insert(_integration).values(asdict(record))
        replaced = {name: written.excluded[name] for name in asdict(record) if name not in ("slug", "create_time")}
        await connection.execute(written.on_conflict_do_update(index_elements=["slug"], set_=replaced))

    async def add_version(self, connection: AsyncConnection, record: VersionRecord, content: bytes) -> None:
        """Writes a new version, and wakes whoever watches once this is committed."""
        await connection.execute(sa.insert(_version).values({**asdict(record), "content": content}))
        await notify(connection, CHANNEL)

    async def content(self, slug: str, version: str) -> bytes | None:
        """Returns the serialised Definition of a version, or None."""
        wanted = sa.select(_version.c.content).where(_version.c.slug == slug, _version.c.version == version)
        async with self._database.shared() as connection:
            found: bytes | None = (await connection.execute(wanted)).scalar_one_or_none()
        return found

    async def changed(self, after: int) -> Changed:
        """Returns what is new since a sequence number."""
        async with self._database.shared() as connection:
            # The head comes first: what is committed while we read is then read again, and never missed.
            head = (await connection.execute(sa.select(_head.c.sequence))).scalar_one()
            if head == after:
                return Changed(head, (), ())
            # A head that went back means another database: everything is new.
            after = after if after < head else 0
            integrations = await connection.execute(
                sa.select(_integration).where(_integration.c.sequence > after).order_by(_integration.c.sequence)
            )
            versions = await connection.execute(
                sa.select(*_KNOWN).where(_version.c.sequence > after).order_by(_version.c.sequence)
            )
            return Changed(
                head,
                tuple(IntegrationRecord(*row) for row in integrations),
                tuple(VersionRecord(*row) for row in versions),
            )
