"""The state directory: who holds it, what it says, what it keeps secret; and the ports that go with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cordboard.local.envoy import RateLimit
from cordboard.local.failures import AlreadyRunning, Unusable
from cordboard.local.options import MeshOptions
from cordboard.local.ports import HIGHEST, LOWEST, Ports
from cordboard.local.state import MeshState, ProcessState, StateDirectory, read_state, write_atomically


def a_state() -> MeshState:
    return MeshState(
        phase="ready",
        supervisor_pid=os.getpid(),
        started_time=1.0,
        profile="development",
        public_address="localhost:1",
        public_url="https://localhost:1",
        ca_file="ca.crt",
        client_identity_dir="operator",
        data_dir="postgres",
        ports={"envoy": 1},
        processes={"envoy": ProcessState("envoy", 2, 0, True, "localhost:1", "envoy.log")},
    )


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.create()
    return made


def test_a_mesh_is_read_back_as_it_was_written(directory: StateDirectory) -> None:
    directory.lock()
    directory.write(a_state())
    assert read_state(directory.root) == a_state()
    directory.unlock()


def test_what_a_dead_mesh_left_is_no_mesh(directory: StateDirectory) -> None:
    holder = (
        "import sys, pathlib; from cordboard.local.state import StateDirectory;"
        "held = StateDirectory(pathlib.Path(sys.argv[1])); held.lock(); print(flush=True); sys.stdin.read()"
    )
    directory.write(a_state())
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(directory.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert read_state(directory.root) == a_state()
        with pytest.raises(AlreadyRunning, match=str(directory.root)):
            directory.lock()
        process.send_signal(signal.SIGKILL)
    assert read_state(directory.root) is None
    assert directory.last() == a_state()
    directory.lock()
    directory.unlock()


def test_there_is_no_mesh_where_none_ever_was(tmp_path: Path) -> None:
    assert read_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 99}', b"\xff"])
def test_a_file_that_is_no_state_is_not_taken_for_one(directory: StateDirectory, content: bytes) -> None:
    directory.mesh_file.write_bytes(content)
    assert directory.last() is None


def test_passwords_and_keys_are_made_once_and_for_nobody_else(directory: StateDirectory) -> None:
    first = directory.passwords(["a", "b"])
    again = directory.passwords(["a", "b", "c"])
    assert (again["a"], again["b"]) == (first["a"], first["b"])
    assert len(set(again.values())) == 3
    assert (directory.root / "passwords.json").stat().st_mode & 0o777 == 0o600
    key = directory.key_encryption_keys() / "1.key"
    content = key.read_bytes()
    assert directory.key_encryption_keys() / "1.key" == key
    assert key.read_bytes() == content
    assert len(content) == 32
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o400, 0o700)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"one")
    with target.open("rb") as before:
        write_atomically(target, b"two")
        assert before.read() == b"one"
    assert target.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [target]


def test_ports_are_not_given_twice_while_they_are_held() -> None:
    mine, theirs = Ports(), Ports()
    port = mine.claim()
    assert LOWEST <= port < HIGHEST
    with pytest.raises(Unusable, match=str(port)):
        theirs.claim_exactly(port)
    assert theirs.claim([port]) != port
    mine.release()
    assert theirs.claim_exactly(port) == port
    theirs.release()


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    ports = Ports()
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Unusable):
        ports.claim_exactly(listener.getsockname()[1])
    ports.release()


def test_options_survive_the_way_to_another_process(tmp_path: Path) -> None:
    options = MeshOptions(
        state_dir=tmp_path,
        rate_limit=RateLimit(7, 9),
        egress_allowed_networks=("127.0.0.0/8",),
        extra_env={"auth": {"A": "b"}},
        retain_data=False,
    )
    assert MeshOptions.from_json(options.to_json()) == options
    assert MeshOptions.from_json("{}") == MeshOptions()


@pytest.mark.parametrize(
    "options",
    [{"colour": "red"}, {"extra_env": {"nobody": {}}}, {"rate_limit": {"per_second": 0, "burst": 1}}],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"unknown|no service|at least"):
        MeshOptions.from_json(json.dumps(options))


def test_extra_environment_is_not_shown() -> None:
    assert "sesame" not in repr(MeshOptions(extra_env={"auth": {"PASSWORD": "sesame"}}))
