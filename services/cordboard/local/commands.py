"""The command line of a child: its own, behind the step that binds it to the life of this process."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Account:
    """The user that a child runs as, when it must not be ours."""

    uid: int
    gid: int


def launched(command: tuple[str, ...], *, death_signal: signal.Signals, account: Account | None) -> tuple[str, ...]:
    """Returns the command that becomes `command`, as `account`, bound to the life of this process."""
    user = f"{account.uid}:{account.gid}" if account is not None else "-"
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), user)
    return (*launcher, *command)
