"""Starts services by fork: what they import is imported once, while the database is being made, and not by each.

`python -m cordboard.local.fork_server FD MODULE...` imports the modules and serves one supervisor on the stream socket
FD, a JSON document a line. It takes `{name, module, environment, log}`, forks a child that runs the module's `main`,
and answers `{started: PID}`; when a child has ended it says `{ended: PID, code: N}`, negative for a signal. When the
supervisor is gone it ends, and its children with it. It has one thread and has never used gRPC, whose core does not
outlive a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cordboard.local.launch import die_with
from cordboard.local.logs import LogFile

PR_SET_NAME = 15


@dataclass(frozen=True)
class Order:
    """What a child becomes."""

    name: str
    module: str
    environment: dict[str, str]
    log: str

    def carry_out(self, parent: int) -> None:
        """Makes the process that was just forked one of its own, and runs the module's `main`."""
        os.setsid()
        os.umask(0o077)
        die_with(parent, signal.SIGKILL)
        if sys.platform == "linux":
            # What `ps` and `top` call it: its command line is the fork server's.
            ctypes.CDLL(None).prctl(PR_SET_NAME, self.name.encode(), 0, 0, 0)
        output = LogFile(Path(self.log)).open()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.environ.clear()
        os.environ.update(self.environment)
        gc.enable()
        importlib.import_module(self.module).main()


class ForkServer:
    """The loop that forks."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._children: set[int] = set()
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wakes, False)

    def serve(self) -> Order | None:
        """Forks until the supervisor is gone; returns twice: in each child its order, and at the end None."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes)
        unread = b""
        while True:
            readable, _, _ = select.select([self._supervisor.fileno(), self._woken], [], [])
            if self._woken in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._bury()
            if self._supervisor.fileno() in readable:
                received = self._supervisor.recv(65536)
                if not received:
                    self._end()
                    return None
                *lines, unread = (unread + received).split(b"\n")
                for line in lines:
                    order = Order(**json.loads(line))
                    if self._fork():
                        return order

    def _fork(self) -> bool:
        """Returns whether this is the child."""
        pid = os.fork()
        if pid:
            self._children.add(pid)
            self._tell({"started": pid})
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._supervisor.close()
        os.close(self._woken)
        os.close(self._wakes)
        return True

    def _bury(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, said: dict[str, Any]) -> None:
        # A supervisor that is gone is noticed by the loop.
        with contextlib.suppress(OSError):
            self._supervisor.sendall(json.dumps(said).encode() + b"\n")

    def _end(self) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def load(modules: Sequence[str]) -> None:
    """Imports modules for the children to have; one that cannot be imported fails in the child that needs it."""
    gc.disable()
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            traceback.print_exc()
    # The collector would write to every page that is shared.
    gc.freeze()


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Serves the supervisor at the other end of a socket, and becomes each of its children."""
    load(modules)
    parent = os.getpid()
    order = ForkServer(socket.socket(fileno=descriptor)).serve()
    if order is not None:
        order.carry_out(parent)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
