"""Changes flags without end, as a process of its own, for tests that kill it: `python -m tests.soak.flags_process URL`.

It says each change once it is acknowledged: key, revision, and the text that it put.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from cordboard.core.audit import Journal
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
from cordboard.flags.approvals import Approvals
from cordboard.flags.content import Content
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.flags import Cause, Flags
from cordboard.flags.store import FlagStore

KEYS = 7


async def change(url: str) -> None:
    """Puts, kills and restores until it is killed."""
    database = Database(url)
    store = FlagStore(database)
    flags = Flags(store, Journal(database), LiveFlags(store), SystemClock(), Approvals(()))
    for number in itertools.count():
        key, text = f"flag-{number % KEYS}", f"{os.getpid()}-{number}"
        record = await flags.put(key, Content({"a": text}, "a"), etag="", cause=Cause("soak", text))
        print(key, record.revision, text, flush=True)


if __name__ == "__main__":
    asyncio.run(change(sys.argv[1]))
