"""A mesh in a session of its own: started so that it outlives the terminal, and stopped from anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cordboard.local.failures import MeshFailure, NotRunning, StartFailed
from cordboard.local.logs import LogFile
from cordboard.local.mesh import Progress
from cordboard.local.options import MeshOptions
from cordboard.local.state import MeshState, StateDirectory, read_state

LOG = "mesh.log"
STOP_SECONDS = 45.0


def spawn_detached(options: MeshOptions, on_progress: Progress | None = None) -> MeshState:
    """Starts a mesh in its own session and returns once it is ready; raises MeshFailure, with nothing left running."""
    directory = StateDirectory(options.state_dir)
    directory.create()
    log = LogFile(directory.logs / LOG)
    errors = log.open()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "cordboard.local", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    finally:
        os.close(errors)
    try:
        _follow(process, options, on_progress, log)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    # It goes on without us, and whoever reaps orphans reaps it.
    process.returncode = 0
    state = read_state(options.state_dir)
    if state is None:
        raise StartFailed(f"the mesh ended as soon as it was ready; see {log.path}")
    return state


def stop(state_dir: Path, timeout: float = STOP_SECONDS) -> None:
    """Stops the mesh in `state_dir` and returns once nothing of it runs; raises NotRunning."""
    state = read_state(state_dir)
    if state is None:
        raise NotRunning(f"no mesh runs in {state_dir}")
    directory = StateDirectory(state_dir)
    os.kill(state.supervisor_pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while directory.held():
        if time.monotonic() > deadline:
            # The kernel then ends its children: each has asked to die with it.
            os.kill(state.supervisor_pid, signal.SIGKILL)
            raise MeshFailure(f"the mesh did not stop within {timeout:g} s and was killed")
        time.sleep(0.02)


def _follow(process: subprocess.Popen[str], options: MeshOptions, on_progress: Progress | None, log: LogFile) -> None:
    if process.stdin is None or process.stdout is None:
        raise StartFailed("the mesh was started without pipes")
    # By pipe, not as an argument: whatever is an argument is readable by every user of the machine.
    process.stdin.write(options.to_json())
    process.stdin.close()
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "step" and on_progress is not None:
            on_progress(event["name"], event["seconds"], event["state"])
        elif event["event"] == "ready":
            return
        elif event["event"] == "failed":
            raise StartFailed(event["message"])
    raise StartFailed(f"the mesh ended before it was ready; the end of {log.path}:\n{log.tail()}")
