"""What the process holds on to: tasks, descriptors, threads, memory, connections to the database.

Each goes up and down with the load and comes back to where it was. One that only rises is a leak.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cordboard.core.measures import Measures, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cordboard.core.database import Database

_OWN: Final = Path("/proc/self")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def watch(measures: Measures) -> None:
    """Has what this process holds sent with its measures. Where there is no /proc, only what Python knows."""
    began = time.monotonic()
    measures.gauge("process.uptime", "s", (), lambda: [Reading((), time.monotonic() - began)])
    measures.gauge("cordboard.tasks", "{task}", (), lambda: [Reading((), float(len(asyncio.all_tasks())))])
    measures.gauge("process.unix.file_descriptor.count", "{file_descriptor}", (), _descriptors)
    measures.gauge("process.thread.count", "{thread}", (), lambda: _entries("task"))
    measures.gauge("process.memory.usage", "By", (), _memory)


def watch_connections(measures: Measures, database: Database) -> None:
    """Has the state of the connections of a database's pools sent (semantic conventions for database clients)."""
    labels = ("db.client.connection.pool.name", "db.client.connection.state")

    def read() -> Iterable[Reading]:
        for pool, (used, idle) in database.connections().items():
            yield Reading((pool, "used"), float(used))
            yield Reading((pool, "idle"), float(idle))

    measures.gauge("db.client.connection.count", "{connection}", labels, read)


def _descriptors() -> list[Reading]:
    # The listing has a descriptor of its own while it is read.
    return [Reading((), each.value - 1) for each in _entries("fd")]


def _entries(folder: str) -> list[Reading]:
    try:
        return [Reading((), float(sum(1 for _ in (_OWN / folder).iterdir())))]
    except OSError:
        return []


def _memory() -> list[Reading]:
    try:
        return [Reading((), float(int((_OWN / "statm").read_text().split()[1]) * _PAGE))]
    except OSError:
        return []
