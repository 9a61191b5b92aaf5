"""Children: kept alive, told to stop, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cordboard.local import supervision
from cordboard.local.failures import StartFailed
from cordboard.local.logs import LogFile
from cordboard.local.supervision import Program, Supervisor
from tests.fixtures.processes import alive, until

# Says that it is ready by writing a file named after its own process id.
SLEEPER = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
PATIENCE_SECONDS = 40.0


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor()
    yield made
    await made.stop()


def a_program(folder: Path, name: str = "sleeper", source: str = SLEEPER, **fields: Any) -> Program:
    marks = folder / name
    marks.mkdir(exist_ok=True)

    async def ready() -> bool:
        return any(psutil.pid_exists(int(mark.name)) for mark in marks.iterdir())

    return Program(
        name=name,
        command=(sys.executable, "-I", "-c", source, str(marks)),
        environment={"PATH": os.defpath},
        log=LogFile(folder / f"{name}.log"),
        ready=fields.pop("ready", ready),
        **fields,
    )


async def test_a_child_that_is_killed_comes_back(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(a_program(tmp_path))
    await child.wait_ready(PATIENCE_SECONDS)
    first = child.pid
    assert first is not None
    assert child.restarts == 0
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid not in (first, None))
    await child.wait_ready(PATIENCE_SECONDS)
    assert child.restarts == 1
    assert child.ready


async def test_a_child_that_keeps_dying_is_given_up_with_its_last_words(supervisor: Supervisor, tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    begun = time.monotonic()
    child = supervisor.start(a_program(tmp_path, source="raise SystemExit('no such table')", ready=never))
    with pytest.raises(StartFailed, match=r"(?s)sleeper died \d times.*no such table"):
        await child.wait_ready(PATIENCE_SECONDS)
    # Five starts with pauses of 0.1, 0.2, 0.4 and 0.8 seconds between them.
    assert time.monotonic() - begun >= 1.5


async def test_a_child_that_is_never_ready_is_said_so(supervisor: Supervisor, tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = supervisor.start(a_program(tmp_path, ready=never))
    with pytest.raises(StartFailed, match=r"sleeper is not ready after 0.3 s, and wrote nothing"):
        await child.wait_ready(0.3)


async def test_children_stop_stage_by_stage_and_none_is_left(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    told = (
        "import pathlib, signal, sys, time, os\n"
        "def end(*_):\n"
        "    with open(sys.argv[1] + '/../order', 'a') as file: file.write(pathlib.Path(sys.argv[1]).name + ' ')\n"
        "    raise SystemExit\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1], str(os.getpid())).touch()\n"
        "time.sleep(600)\n"
    )
    children = [supervisor.start(a_program(tmp_path, name, told)) for name in ("first", "second", "third")]
    await asyncio.gather(*(child.wait_ready(PATIENCE_SECONDS) for child in children))
    pids = [child.pid for child in children]
    await supervisor.stop(("third",), ("second",), ("first",))
    assert order.read_text().split() == ["third", "second", "first"]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)
    assert supervisor.children == {}


async def test_a_child_that_will_not_stop_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(a_program(tmp_path, source=STUBBORN, stop_seconds=0.3))
    await child.wait_ready(PATIENCE_SECONDS)
    pid = child.pid
    begun = time.monotonic()
    await supervisor.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert 0.3 <= time.monotonic() - begun < PATIENCE_SECONDS


async def test_stopping_a_child_in_its_pause_does_not_wait_for_the_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 600.0)
    supervisor = Supervisor()
    child = supervisor.start(a_program(tmp_path, source="raise SystemExit(1)"))
    await until(lambda: child.restarts > 0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await supervisor.stop()


async def test_a_program_that_runs_once_tells_its_end(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.run_once(a_program(tmp_path, source="print('done')"), PATIENCE_SECONDS)
    assert LogFile(tmp_path / "sleeper.log").tail() == "done"
    with pytest.raises(StartFailed, match=r"(?s)ended with code 3.*the reason"):
        await supervisor.run_once(
            a_program(tmp_path, "broken", "import sys; print('the reason'); sys.exit(3)"), PATIENCE_SECONDS
        )
    with pytest.raises(StartFailed, match="longer than"):
        await supervisor.run_once(a_program(tmp_path, "slow"), 0.2)


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    source = """
import asyncio, os, sys, pathlib
from cordboard.local.logs import LogFile
from cordboard.local.supervision import Program, Supervisor
folder = pathlib.Path(sys.argv[1])
async def main():
    supervisor = Supervisor()
    for name in ("a", "b"):
        async def ready(): return (folder / name).exists()
        command = (sys.executable, "-I", "-c", sys.argv[2], str(folder))
        program = Program(name, command, {"PATH": os.defpath}, LogFile(folder / f"{name}.log"), ready)
        supervisor.start(program)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    stubborn = STUBBORN
    with subprocess.Popen([sys.executable, "-c", source, str(tmp_path), stubborn]) as supervising:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(pids := [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert all(psutil.pid_exists(pid) for pid in pids)
        supervising.send_signal(signal.SIGKILL)
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_log_is_bounded_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", limit=1000)
    descriptor = log.open()
    os.write(descriptor, b"x" * 999 + b"\n")
    assert not log.bound()
    os.write(descriptor, b"the last straw\n")
    assert log.bound()
    os.write(descriptor, b"afterwards\n")
    os.close(descriptor)
    assert log.path.read_text() == "afterwards\n"
    assert (tmp_path / "log.1").read_text().endswith("the last straw\n")
    assert log.tail(1) == "afterwards"
    assert log.path.stat().st_mode & 0o777 == 0o600
