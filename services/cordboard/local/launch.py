"""Becomes another program that dies with its parent: the one step between the supervisor's fork and the child's exec.

Run by path with `python -I -S`, with nothing but the standard library, so that it costs milliseconds. Arguments: the
parent's process id, the signal to get when the parent dies, `uid:gid` to run as or `-`, then the command.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int, number: int) -> None:
    """Has the kernel send this process a signal when its parent dies; ends it when that has happened already."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the kernel was asked; then nobody is left to send the signal.
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")


def main(arguments: list[str]) -> None:
    """Drops privileges, asks the kernel for the death signal, and executes the command."""
    parent, signal, account, *command = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # After the change of user, because that change clears the setting.
    die_with(int(parent), int(signal))
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 - this file exists to exec what the supervisor names


if __name__ == "__main__":
    main(sys.argv[1:])
