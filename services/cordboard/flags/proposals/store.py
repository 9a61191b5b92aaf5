"""Keeps proposals; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cordboard.flags.content import Content
from cordboard.flags.store import FlagRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

PENDING: Final = "pending"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"

_proposal = sa.Table(
    "proposal",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("flag", sa.Text),
    sa.Column("request", sa.LargeBinary),
    sa.Column("before", sa.JSON(none_as_null=True)),
    sa.Column("after", sa.JSON),
    sa.Column("contexts", sa.Integer),
    sa.Column("moved", sa.Integer),
    sa.Column("moves", sa.JSON),
    sa.Column("proposer", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("expire_time", sa.DateTime(timezone=True)),
    sa.Column("decider", sa.Text),
    sa.Column("decision_reason", sa.Text),
    sa.Column("decide_time", sa.DateTime(timezone=True)),
)


@dataclass(frozen=True)
class Impact:
    """What a change would do to the contexts that were asked about."""

    contexts: int = 0
    moved: int = 0
    moves: tuple[tuple[str, str, str, str], ...] = ()
    """The first of those that get another variant: workspace, environment, and the variants before and after."""


@dataclass(frozen=True)
class ProposalRecord:
    """A change that waits, or has waited."""

    id: int
    """Given by the store; 0 before."""
    request: bytes
    """The ProposeChangeRequest, without its contexts."""
    before: FlagRecord | None
    after: FlagRecord
    impact: Impact
    proposer: str
    reason: str
    create_time: datetime
    expire_time: datetime
    state: str = PENDING
    decider: str = ""
    decision_reason: str = ""
    decide_time: datetime | None = None

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"proposals/{self.id}"

    @property
    def base(self) -> int:
        """Returns the revision of the flag that it changes; 0 where there is none."""
        return self.before.revision if self.before else 0


class ProposalStore:
    """Keeps proposals."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    @contextlib.asynccontextmanager
    async def adding(self, record: ProposalRecord) -> AsyncIterator[tuple[AsyncConnection, ProposalRecord]]:
        """Opens the transaction that adds a proposal, and gives it with its id."""
        statement = sa.insert(_proposal).values(
            flag=record.after.key,
            request=record.request,
            before=_flag_document(record.before),
            after=_flag_document(record.after),
            contexts=record.impact.contexts,
            moved=record.impact.moved,
            moves=record.impact.moves,
            proposer=record.proposer,
            reason=record.reason,
            state=record.state,
            create_time=record.create_time,
            expire_time=record.expire_time,
        )
        async with self._database.shared() as connection:
            found = await connection.execute(statement.returning(_proposal.c.id))
            yield connection, replace(record, id=found.scalar_one())

    @contextlib.asynccontextmanager
    async def deciding(self, number: int) -> AsyncIterator[tuple[AsyncConnection, ProposalRecord | None]]:
        """Opens the transaction that decides a proposal, while no other one does; None where there is none."""
        statement = sa.select(_proposal).where(_proposal.c.id == number).with_for_update()
        async with self._database.shared() as connection:
            row = (await connection.execute(statement)).one_or_none()
            yield connection, None if row is None else _record(row)

    async def write(self, connection: AsyncConnection, record: ProposalRecord) -> None:
        """Writes what was decided."""
        values = {
            "state": record.state,
            "decider": record.decider,
            "decision_reason": record.decision_reason,
            "decide_time": record.decide_time,
        }
        await connection.execute(sa.update(_proposal).where(_proposal.c.id == record.id).values(values))

    async def proposal(self, number: int) -> ProposalRecord | None:
        """Returns a proposal, or None when there is none."""
        async with self._database.shared() as connection:
            row = (await connection.execute(sa.select(_proposal).where(_proposal.c.id == number))).one_or_none()
        return None if row is None else _record(row)

    async def proposals(self, *, below: int | None, limit: int, pending: datetime | None) -> list[ProposalRecord]:
        """Returns up to `limit` proposals with a number below `below`, newest first; with `pending` those that wait
        then.
        """
        statement = sa.select(_proposal).order_by(_proposal.c.id.desc()).limit(limit)
        if below is not None:
            statement = statement.where(_proposal.c.id < below)
        if pending is not None:
            statement = statement.where(_proposal.c.state == PENDING, _proposal.c.expire_time > pending)
        async with self._database.shared() as connection:
            return [_record(row) for row in await connection.execute(statement)]


def _flag_document(record: FlagRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    times = {"create_time": record.create_time.isoformat(), "update_time": record.update_time.isoformat()}
    return {**vars(record), **times, "content": record.content.to_json()}


def _flag_record(document: Mapping[str, Any]) -> FlagRecord:
    times = {name: datetime.fromisoformat(document[name]) for name in ("create_time", "update_time")}
    return FlagRecord(**{**document, **times, "content": Content.from_json(document["content"])})


def _record(row: Any) -> ProposalRecord:
    return ProposalRecord(
        id=row.id,
        request=row.request,
        before=None if row.before is None else _flag_record(row.before),
        after=_flag_record(row.after),
        impact=Impact(row.contexts, row.moved, tuple(tuple(each) for each in row.moves)),
        proposer=row.proposer,
        reason=row.reason,
        create_time=row.create_time,
        expire_time=row.expire_time,
        state=row.state,
        decider=row.decider,
        decision_reason=row.decision_reason,
        decide_time=row.decide_time,
    )
