"""Starts Flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.database import Changes
from cordboard.core.server import run
from cordboard.core.times import SystemClock
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.flags import Flags
from cordboard.flags.servicer import FlagServicer
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.store import CHANNEL, FlagStore
from cordboard.flags.v1.flag_service_pb2_grpc import add_FlagServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process


async def start(mesh: Process[FlagsSettings]) -> None:
    """Wires the parts of Flags."""
    database = mesh.database()
    store = FlagStore(database)
    live = LiveFlags(store)
    changes = Changes(database, CHANNEL)
    flags = Flags(store, mesh.journal(), live, SystemClock())
    add_FlagServiceServicer_to_server(FlagServicer(flags, live), mesh.server)
    mesh.add_check("flags", live.check)
    mesh.background(changes.run())
    mesh.background(live.run(changes))


if __name__ == "__main__":
    run("flags", FlagsSettings, start)
