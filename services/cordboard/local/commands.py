"""Children that are executed: their own command line, behind the step that binds them to the life of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cordboard.local.logs import LogFile

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Account:
    """The user that a child runs as, when it must not be ours."""

    uid: int
    gid: int


def launched(
    command: tuple[str, ...], *, death_signal: signal.Signals, account: Account | None = None
) -> tuple[str, ...]:
    """Returns the command that becomes `command`, as `account`, bound to the life of this process."""
    user = f"{account.uid}:{account.gid}" if account is not None else "-"
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), user)
    return (*launcher, *command)


async def execute(
    command: tuple[str, ...],
    environment: Mapping[str, str],
    log: LogFile,
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    account: Account | None = None,
    directory: Path | None = None,
    descriptors: tuple[int, ...] = (),
) -> asyncio.subprocess.Process:
    """Starts a child in a session of its own, which writes to its log and has these descriptors of ours."""
    output = log.open()
    try:
        return await asyncio.create_subprocess_exec(
            *launched(command, death_signal=death_signal, account=account),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=directory,
            pass_fds=descriptors,
            start_new_session=True,
        )
    finally:
        os.close(output)
