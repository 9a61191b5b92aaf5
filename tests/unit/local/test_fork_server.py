"""Services started by fork: alike to programs of their own for whoever supervises them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from cordboard.local.certificates import SERVICES
from cordboard.local.failures import StartFailed
from cordboard.local.forked import Forked, ForkServerProcess
from cordboard.local.logs import LogFile
from cordboard.local.supervision import Program, Supervisor
from tests.fixtures.processes import alive, until

PATIENCE_SECONDS = 60.0
MODULE = """
import os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
def main():
    if code := os.environ.get("CODE"):
        print("the reason")
        sys.exit(int(code))
    (here / f"pid-{os.getpid()}").write_text(repr(dict(os.environ)))
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sleeper.py").write_text(MODULE)
    return tmp_path


def a_server(folder: Path, *modules: str) -> ForkServerProcess:
    environment = {"PATH": os.defpath, "PYTHONPATH": str(folder), "OF_THE_SERVER": "yes"}
    return ForkServerProcess(environment, LogFile(folder / "server.log"), modules)


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[ForkServerProcess]:
    made = a_server(folder, "sleeper")
    yield made
    await made.close()


async def begun(server: ForkServerProcess, folder: Path, **environment: str) -> Forked:
    return await server.start("sleeper", "sleeper", environment, folder / "sleeper.log")


def marks(folder: Path) -> list[int]:
    """Returns the process ids of all that have begun."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*") if path.stat().st_size]


async def test_how_a_child_ends_is_told(server: ForkServerProcess, folder: Path) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await (await begun(server, folder, CODE="3")).wait() == 3
        assert (folder / "sleeper.log").read_text() == "the reason\n"
        child = await begun(server, folder)
        await until(lambda: child.pid in marks(folder))
        child.send_signal(signal.SIGTERM)
        assert await child.wait() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            child.send_signal(signal.SIGTERM)


async def test_a_child_has_its_own_environment_which_no_other_process_can_read(
    server: ForkServerProcess, folder: Path
) -> None:
    child = await begun(server, folder, PASSWORD="sesame")
    await until(lambda: child.pid in marks(folder))
    assert (folder / f"pid-{child.pid}").read_text() == "{'PASSWORD': 'sesame'}"
    process = psutil.Process(child.pid)
    assert "sesame" not in repr(process.environ())
    assert process.environ()["OF_THE_SERVER"] == "yes"
    assert process.name() == "sleeper"
    assert os.getpgid(child.pid) == child.pid


async def test_a_module_that_cannot_be_imported_fails_in_its_child_alone(folder: Path) -> None:
    (folder / "broken.py").write_text("raise RuntimeError('no such table')")
    server = a_server(folder, "broken", "sleeper")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            broken = await server.start("broken", "broken", {}, folder / "broken.log")
            assert await broken.wait() == 1
            assert "no such table" in (folder / "broken.log").read_text()
            assert await (await begun(server, folder, CODE="5")).wait() == 5
    finally:
        await server.close()


async def test_children_die_with_their_fork_server_and_come_back_with_the_next(folder: Path) -> None:
    supervisor, server = Supervisor(), a_server(folder, "sleeper")

    async def ready() -> bool:
        return child.pid in marks(folder)

    program = Program("sleeper", ("sleeper",), {}, LogFile(folder / "sleeper.log"), ready, forked_from=server)
    child = supervisor.start(program)
    try:
        await child.wait_ready(PATIENCE_SECONDS)
        first = child.pid
        assert first is not None
        psutil.Process(first).parent().kill()  # type: ignore[union-attr]
        await until(lambda: not alive(first))
        await until(lambda: child.pid not in (first, None))
        await child.wait_ready(PATIENCE_SECONDS)
        assert child.restarts == 1
    finally:
        await supervisor.stop()
        await server.close()
    assert not any(alive(pid) for pid in marks(folder))


async def test_a_fork_server_that_cannot_live_is_given_up_with_its_last_words(folder: Path) -> None:
    (folder / "fatal.py").write_text("import os; print('no memory', flush=True); os._exit(1)")
    server = a_server(folder, "fatal")
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(StartFailed, match=r"(?s)the fork server died \d times.*no memory"):
            await begun(server, folder)
        await server.close()


async def test_closing_the_fork_server_ends_its_children(folder: Path) -> None:
    server = a_server(folder)
    child = await begun(server, folder)
    await until(lambda: child.pid in marks(folder))
    await server.close()
    await until(lambda: not alive(child.pid))
    assert await child.wait() == -signal.SIGKILL


def test_children_die_with_a_supervisor_that_is_killed(folder: Path) -> None:
    source = """
import asyncio, os, pathlib, sys
from cordboard.local.forked import ForkServerProcess
from cordboard.local.logs import LogFile
folder = pathlib.Path(sys.argv[1])
async def main():
    server = ForkServerProcess({"PATH": os.defpath, "PYTHONPATH": str(folder)}, LogFile(folder / "server.log"))
    await server.start("sleeper", "sleeper", {}, folder / "sleeper.log")
    await asyncio.sleep(600)
asyncio.run(main())
"""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with subprocess.Popen([sys.executable, "-c", source, str(folder)]) as supervising:
        while not marks(folder):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        supervising.send_signal(signal.SIGKILL)
    while any(alive(pid) for pid in marks(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def of_the_services(folder: Path) -> Iterator[list[str]]:
    """The modules that a mesh has imported before it forks."""
    yield [f"cordboard.{service}.__main__" for service in SERVICES]


@pytest.mark.parametrize("spoilt", [False, True])
async def test_importing_the_services_starts_no_thread_that_a_fork_would_lose(
    folder: Path, of_the_services: list[str], spoilt: bool
) -> None:
    (folder / "threading_one.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    server = a_server(folder, *of_the_services, *(["threading_one"] if spoilt else []))
    child = await begun(server, folder)
    try:
        parent = psutil.Process(child.pid).parent()
        assert parent is not None
        assert (parent.num_threads() == 1) is not spoilt, (folder / "server.log").read_text()
    finally:
        await server.close()
