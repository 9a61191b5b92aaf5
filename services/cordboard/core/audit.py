"""The audit journal: who did what, in chains of hashes that show any later change.

There is one chain per workspace and one for what belongs to none. An entry is appended by the database's own function
`audit_append`, the only way in: it numbers and chains entries under the lock of the chain's head,
`h_n = SHA-256(0x01 || n as 8 bytes || h_(n-1) || SHA-256(body))`. The body is the entry as canonical JSON text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from cordboard.core.caller import current_caller
from cordboard.core.errors import AuditUnavailable
from cordboard.core.telemetry import trace_id
from cordboard.core.times import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

GENESIS: Final = bytes(32)
# All entries wait for the one transaction before theirs; a chain may be locked for three seconds (local.roles).
WRITE_SECONDS: Final = 5.0

_APPEND = text("SELECT audit_append(:chain, :bodies)").bindparams(bindparam("bodies", type_=ARRAY(Text())))
_APPEND_ONE: Final = "SELECT audit_append($1::text, $2::text[])"
# One statement is one transaction, whatever the number of chains. They come in one order for everybody, so that two
# batches cannot wait for each other.
_APPEND_ALL: Final = """
    SELECT audit_append(chain, bodies) FROM (
        SELECT chain, array_agg(body ORDER BY place) AS bodies
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS entry (chain, body, place)
        GROUP BY chain ORDER BY chain) AS batch
"""


@dataclass(frozen=True)
class Entry:
    """One thing that was done. `details` holds no secrets: ids, versions, counts, hashes."""

    action: str
    """What, as `service.noun.verb`: `auth.connection.create`."""
    resource: str
    """The resource name it was done to."""
    workspace: str = ""
    """The id of the workspace whose chain it belongs to; empty: the chain of the mesh."""
    outcome: str = "ok"
    """`ok`, or the reason of the error."""
    details: dict[str, Any] = field(default_factory=dict)
    actor: str = ""
    """Who; empty: the caller of the RPC that runs."""


@dataclass(frozen=True)
class Link:
    """One entry as it stands in the database."""

    chain: str
    sequence: int
    body: str
    hash: bytes


@dataclass(frozen=True)
class Break:
    """Where a chain does not hold."""

    chain: str
    sequence: int
    problem: str


class Journal:
    """Appends to the journal of the service whose database it is."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        """Takes the database; `clock` gives the entries' times."""
        self._database = database
        self._clock = clock or SystemClock()
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    def body(self, entry: Entry) -> str:
        """Returns the entry as it will stand in the chain, with the caller, the trace and the time of now."""
        caller = current_caller()
        return json.dumps(
            {
                "time": self._clock.now().isoformat(timespec="microseconds"),
                "actor": entry.actor or caller.actor,
                "peer": caller.peer,
                "token_id": caller.token_id,
                "action": entry.action,
                "resource": entry.resource,
                "outcome": entry.outcome,
                "trace_id": trace_id(),
                "details": entry.details,
            },
            sort_keys=True,
            separators=(",", ":"),
        )

    def halves(self, entry: Entry, name: str) -> tuple[str, str]:
        """Returns what stands before and after the number `name` in the body of an entry whose only detail it is.

        For a statement of the database that appends an entry about a number which nobody knows before it runs.
        """
        body = self.body(replace(entry, details={name: 0}))
        # Inside of a text every quotation mark is escaped: this can stand nowhere else.
        before, _, after = body.partition(f',"details":{{"{name}":0}},"')
        return f'{before},"details":{{"{name}":', f'}},"{after}'

    async def append(self, connection: AsyncConnection, entry: Entry) -> None:
        """Appends one entry in the transaction of the effect it tells about."""
        await self.append_bodies(connection, [(entry.workspace, self.body(entry))])

    async def append_bodies(self, connection: AsyncConnection, entries: Sequence[tuple[str, str]]) -> None:
        """Appends prepared bodies, each with its workspace, in one transaction."""
        chains: dict[str, list[str]] = defaultdict(list)
        for workspace, body in entries:
            chains[workspace].append(body)
        # One order for everybody, so that two batches cannot wait for each other.
        for chain in sorted(chains):
            await connection.execute(_APPEND, {"chain": chain, "bodies": chains[chain]})

    async def append_batched(self, entry: Entry) -> None:
        """Appends one entry in a transaction shared with others of the same moment; returns once it is committed.

        One transaction is written at a time, and what comes meanwhile makes up the next: nobody waits for company.
        Raises AuditUnavailable.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entry.workspace, self.body(entry), done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done

    async def close(self) -> None:
        """Waits until everything that waits is written."""
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            problem: AuditUnavailable | None = None
            try:
                chains, bodies = [entry[0] for entry in batch], [entry[1] for entry in batch]
                if len(set(chains)) == 1:
                    # Sorting costs PostgreSQL a third more, and mostly there is nothing to sort.
                    await self._database.run(_APPEND_ONE, chains[0], bodies, timeout=WRITE_SECONDS)
                else:
                    await self._database.run(_APPEND_ALL, chains, bodies, timeout=WRITE_SECONDS)
            except Exception as error:  # whatever it was: an entry that waits for ever would hold its call
                logger.error("audit entries were not written", extra={"count": len(batch)}, exc_info=error)
                problem = AuditUnavailable()
            for _, _, done in batch:
                if not done.done():
                    if problem is None:
                        done.set_result(None)
                    else:
                        done.set_exception(problem)


def chained(sequence: int, previous: bytes, body: str) -> bytes:
    """Returns the hash of the entry with this number, after the entry with this hash."""
    inner = hashlib.sha256(body.encode()).digest()
    return hashlib.sha256(b"\x01" + sequence.to_bytes(8, "big") + previous + inner).digest()


def verify(links: Iterable[Link], length: int | None = None) -> Break | None:
    """Returns the first place where a chain does not hold, or None. Takes one whole chain, in order of sequence.

    `length` is the sequence in the chain's head: without it nobody can tell that entries at the end are gone.
    """
    previous, expected, chain = GENESIS, 1, ""
    for link in links:
        chain = link.chain
        if link.sequence != expected:
            return Break(chain, expected, "missing")
        if chained(link.sequence, previous, link.body) != link.hash:
            return Break(chain, link.sequence, "changed")
        if length is not None and link.sequence > length:
            return Break(chain, link.sequence, "added")
        previous, expected = link.hash, expected + 1
    if length is not None and expected <= length:
        return Break(chain, expected, "missing")
    return None
