"""What Auth throws away in time: connect sessions that ended long ago, sign-ins that ended, revocations of what
has expired anyway.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.auth.store.links import drop_old_links
from cordboard.auth.store.logins import drop_old_logins
from cordboard.auth.store.sessions import drop_old_sessions
from cordboard.auth.store.token_revocations import drop_old_revocations
from cordboard.core.errors import DependencyUnavailable

if TYPE_CHECKING:
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 600.0
# Who asks how a session ended asks within a day.
KEEP_SESSIONS_SECONDS: Final = 24 * 3600


async def keep_house(database: Database) -> None:
    """Throws away what is old, for ever."""
    while True:
        try:
            async with database.everywhere() as connection:
                await drop_old_sessions(connection, seconds=KEEP_SESSIONS_SECONDS)
                await drop_old_links(connection, seconds=KEEP_SESSIONS_SECONDS)
                await drop_old_revocations(connection)
                await drop_old_logins(connection)
        except DependencyUnavailable:
            logger.warning("nothing is thrown away while the database is away")
        await asyncio.sleep(EVERY_SECONDS)
