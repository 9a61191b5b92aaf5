"""A hub's flags on their way to its edges: given to the hub's Catalog, and taken from an edge's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.flags.flags import Cause
from cordboard.flags.messages import content_of, flag_message
from cordboard.flags.v1 import replica_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.flags import Flags
    from cordboard.flags.store import FlagRecord
    from cordboard.flags.v1.flag_service_pb2 import Flag

PAGE: Final = 500
CAUSE: Final = Cause("hub", "as at the hub", automatic=True)


class Replica:
    """Makes flags what they are elsewhere."""

    def __init__(self, flags: Flags, live: LiveFlags) -> None:
        """Takes the flags, and what tells of their changes."""
        self._flags = flags
        self._live = live

    async def sets(self) -> AsyncIterator[pb.FlagRecords]:
        """Yields all flags, and all of them again after each change."""
        async for snapshot in self._live.snapshots():
            # Read after its number was: a set may be newer than its number says, and never older.
            yield pb.FlagRecords(sequence=snapshot.sequence, flags=[flag_message(one) for one in await self._all()])

    async def apply(self, records: pb.FlagRecords) -> int:
        """Makes flags what the records say, and returns how many were changed; raises InvalidFields."""
        # A few pages, where asking for each flag would be thousands of questions.
        known = {record.key: record for record in await self._all()}
        return sum([await self._apply(flag, known) for flag in records.flags])

    async def _apply(self, flag: Flag, there: Mapping[str, FlagRecord]) -> bool:
        key, content = content_of(flag)
        known = there.get(key)
        killed = known is not None and known.killed
        changed = known is None or known.content.to_json() != content.to_json()
        # Off before its rules change, and on after: never on for a moment by rules that were to be off.
        if flag.killed and not killed and known is not None:
            await self._flags.kill(key, cause=CAUSE)
            killed = True
        if changed:
            await self._flags.put(key, content, etag="", cause=CAUSE)
        if flag.killed == killed:
            return changed
        await (self._flags.kill if flag.killed else self._flags.restore)(key, cause=CAUSE)
        return True

    async def _all(self) -> list[FlagRecord]:
        found: list[FlagRecord] = []
        while True:
            page = await self._flags.flags(after=found[-1].key if found else "", limit=PAGE)
            found += page
            if len(page) < PAGE:
                return found
