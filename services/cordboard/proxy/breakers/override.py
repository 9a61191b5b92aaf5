"""What operators want of breakers: kept with its audit entry, and obeyed by all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.audit import Entry

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.proxy.breakers.breakers import Breakers
    from cordboard.proxy.breakers.standing import Key, Override, Reading
    from cordboard.proxy.breakers.store import BreakerStore


class Overrides:
    """Overrides breakers."""

    def __init__(self, database: Database, store: BreakerStore, breakers: Breakers, journal: Journal) -> None:
        """Takes where breakers and the journal are kept."""
        self._database = database
        self._store = store
        self._breakers = breakers
        self._journal = journal

    async def put(self, key: Key, override: Override, reason: str) -> Reading:
        """Sets what is wanted of a breaker; returns how it stands then."""
        entry = Entry(
            action="proxy.breaker.override",
            resource=f"integrations/{key.integration}",
            details={"host": key.host, "action": key.action, "override": override.value, "reason": reason},
        )
        async with self._database.everywhere() as connection:
            standing = await self._store.override(connection, key, override)
            await self._journal.append(connection, entry)
        return self._breakers.adopt(standing)
