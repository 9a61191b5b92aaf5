"""A mesh in a session of its own: it outlives whoever started it, and nothing outlives its supervisor."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cordboard.local.detached import spawn_detached, stop
from cordboard.local.failures import AlreadyRunning, MeshFailure, NotRunning, StartFailed
from cordboard.local.options import MeshOptions
from cordboard.local.state import MeshState, StateDirectory, read_state
from tests.fixtures.processes import alive

PATIENCE_SECONDS = 90.0


@pytest.fixture
def options() -> Iterator[MeshOptions]:
    with tempfile.TemporaryDirectory(prefix="cordboard-detached-") as folder:
        # PostgreSQL's account passes through, so that all data is in there.
        Path(folder).chmod(0o711)
        chosen = MeshOptions(state_dir=Path(folder, "state"))
        yield chosen
        if read_state(chosen.state_dir) is not None:
            stop(chosen.state_dir)


def everybody(state: MeshState) -> list[int]:
    return [state.supervisor_pid, *(each.pid for each in state.processes.values() if each.pid is not None)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_detached_mesh_runs_until_it_is_stopped(options: MeshOptions) -> None:
    steps: list[tuple[str, str]] = []
    state = spawn_detached(options, lambda name, _, step: steps.append((name, step)))
    assert state == read_state(options.state_dir)
    assert state.phase == "ready"
    assert len(everybody(state)) == 9
    assert {"postgres", "migrations", "proxy", "envoy"} <= {name for name, step in steps if step == "done"}
    assert os.getsid(state.supervisor_pid) != os.getsid(0)
    with pytest.raises((AlreadyRunning, StartFailed), match="already runs"):
        spawn_detached(options)
    stop(options.state_dir)
    until(lambda: not any(alive(pid) for pid in everybody(state)))
    with pytest.raises(NotRunning):
        stop(options.state_dir)


def test_nobody_outlives_a_supervisor_that_was_killed_and_the_next_mesh_has_the_data(options: MeshOptions) -> None:
    first = spawn_detached(options)
    os.kill(first.supervisor_pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in everybody(first)))
    assert read_state(options.state_dir) is None
    assert StateDirectory(options.state_dir).last() is not None
    second = spawn_detached(options)
    assert second.public_address == first.public_address
    assert second.data_dir == first.data_dir


def test_a_mesh_that_cannot_start_says_which_setting_is_wrong(options: MeshOptions) -> None:
    wrong = MeshOptions(state_dir=options.state_dir, extra_env={"uqi": {"CORDBOARD_LISTEN_ADDRESS": "nowhere"}})
    with pytest.raises(MeshFailure, match=r"(?s)uqi died .*CORDBOARD_LISTEN_ADDRESS: must be HOST:PORT"):
        spawn_detached(wrong)
    assert read_state(options.state_dir) is None
