"""A whole mesh, with stand-ins where the services would be: real PostgreSQL, real migrations, real Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import jwt
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cordboard.local import probes
from cordboard.local.certificates import SERVICES
from cordboard.local.detached import stop
from cordboard.local.failures import AlreadyRunning, NotRunning, StartFailed, Unusable
from cordboard.local.mesh import Mesh
from cordboard.local.options import MeshOptions
from cordboard.local.state import read_state
from tests.fixtures.processes import until

STAND_IN = Path(__file__).parents[2] / "fixtures" / "stand_in.py"
PROCESSES = ("postgres", "envoy", *SERVICES)


def stand_ins(state_dir: Path) -> Callable[[str], tuple[str, ...]]:
    """Returns what runs instead of each service."""
    keys = state_dir.with_name(f"{state_dir.name}-keys")
    keys.mkdir(exist_ok=True)
    # Envoy takes no key set without a key.
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    (keys / "jwks.json").write_text(json.dumps({"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)]}))
    return lambda service: (sys.executable, str(STAND_IN), str(state_dir / "identities"), str(keys), service)


def a_mesh(state_dir: Path, **options: object) -> Mesh:
    chosen = MeshOptions.from_json(json.dumps({"state_dir": str(state_dir), "retain_data": False, **options}))
    return Mesh(chosen, service_command=stand_ins(state_dir))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's account can reach too, unlike pytest's own, so that all data is in it."""
    with tempfile.TemporaryDirectory(prefix="cordboard-mesh-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture
async def mesh(folder: Path) -> AsyncIterator[Mesh]:
    async with a_mesh(folder / "state") as running:
        yield running


async def test_a_mesh_is_ready_and_tells_how_and_leaves_nothing_behind(folder: Path) -> None:
    steps: list[tuple[str, str]] = []
    state_dir = folder / "state"
    options = MeshOptions(state_dir=state_dir, retain_data=False)
    mesh = Mesh(options, lambda name, _, state: steps.append((name, state)), service_command=stand_ins(state_dir))
    async with mesh:
        state = read_state(state_dir)
        assert state is not None
        assert state.phase == "ready"
        assert set(state.processes) == set(PROCESSES)
        assert all(process.ready and process.pid == mesh.pid(name) for name, process in state.processes.items())
        assert state.public_address == mesh.public_address
        assert await probes.answers_over_tls(int(mesh.public_address.split(":")[1]), "/readyz", mesh.ca_file)
        assert (mesh.identity_dir("operator") / "tls.crt").exists()
        # As a container's health check asks, and as it asks the wrong one.
        for service, code in (("uqi", 0), ("flags", 1)):
            command = ("-m", "cordboard.local.probes", service, mesh.address("uqi"), str(mesh.identity_dir("uqi")))
            check = await asyncio.create_subprocess_exec(sys.executable, *command)
            assert await check.wait() == code
        pids = [pid for name in PROCESSES if (pid := mesh.pid(name)) is not None]
        data = Path(state.data_dir)
    assert len(pids) == len(PROCESSES)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not any(path.exists() for path in (state_dir, data))
    told = {name for name, state in steps if state == "done"}
    assert told == {"certificates", "migrations", *PROCESSES}


@pytest.mark.parametrize("name", ["postgres", "envoy", "proxy"])
async def test_whoever_is_killed_comes_back_where_it_was(mesh: Mesh, name: str) -> None:
    address, before = mesh.public_address, mesh.pid(name)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await until(lambda: mesh.pid(name) not in (before, None))
    await mesh.wait_ready()
    assert mesh.restarts(name) == 1
    assert mesh.public_address == address
    state = read_state(mesh.options.state_dir)
    assert state is not None
    assert state.processes[name].restarts == 1
    assert [mesh.restarts(other) for other in PROCESSES if other != name] == [0] * 7


async def test_meshes_do_not_collide_and_a_directory_has_room_for_one(mesh: Mesh, folder: Path) -> None:
    with pytest.raises(AlreadyRunning):
        async with a_mesh(mesh.options.state_dir):
            pass
    # The refusal has touched nothing of the mesh that was there.
    assert read_state(mesh.options.state_dir) is not None
    async with a_mesh(folder / "other") as other:
        assert other.public_address != mesh.public_address
        await mesh.wait_ready()
        with pytest.raises(Unusable, match="taken"):
            async with a_mesh(folder / "third", public_port=int(mesh.public_address.split(":")[1])):
                pass


async def test_data_and_ports_stay_from_one_mesh_to_the_next(folder: Path) -> None:
    found = []
    for _ in range(2):
        async with a_mesh(folder / "state", retain_data=True) as mesh:
            connection = await asyncpg.connect(mesh.database_url("superuser").replace("+asyncpg", ""))
            await connection.execute("CREATE TABLE IF NOT EXISTS memory (moment timestamptz DEFAULT now())")
            await connection.execute("INSERT INTO memory DEFAULT VALUES")
            found.append((mesh.public_address, await connection.fetchval("SELECT count(*) FROM memory")))
            await connection.close()
    assert found[0][0] == found[1][0]
    assert [count for _, count in found] == [1, 2]


async def test_certificates_rotate_under_a_running_mesh(mesh: Mesh) -> None:
    client = mesh.issue_identity("tester", "client/tester")
    before = {name: (mesh.identity_dir(name) / "tls.crt").read_bytes() for name in (*SERVICES, "tester")}
    await mesh.rotate_certificates()
    assert all((mesh.identity_dir(name) / "tls.crt").read_bytes() != old for name, old in before.items())
    assert client == mesh.identity_dir("tester")
    await mesh.wait_ready()
    assert [mesh.restarts(name) for name in PROCESSES] == [0] * 8


async def test_a_mesh_that_cannot_start_says_why_and_leaves_nothing_running(folder: Path) -> None:
    def command(service: str) -> tuple[str, ...]:
        return (sys.executable, "-c", f"raise SystemExit('{service} has no settings')")

    options = MeshOptions(state_dir=folder / "state")
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(StartFailed, match=r"(?s)died \d times.*has no settings"):
        async with Mesh(options, service_command=command):
            pass
    assert set(psutil.Process().children(recursive=True)) <= before
    assert read_state(folder / "state") is None


async def test_data_is_reached_and_removed_wherever_it_had_to_go(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with a_mesh(closed / "state"):
        state = read_state(closed / "state")
        assert state is not None
        inside = Path(state.data_dir).is_relative_to(closed)
        assert inside == (os.geteuid() != 0)
    assert not Path(state.data_dir).parent.exists()


async def test_what_was_never_started_says_so(folder: Path) -> None:
    idle = a_mesh(folder / "state")
    with pytest.raises(NotRunning):
        await idle.wait_ready()
    with pytest.raises(NotRunning):
        idle.database_url("auth")
    with pytest.raises(NotRunning, match="no mesh runs"):
        stop(folder / "state")


@pytest.fixture
def supervisor(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A mesh in a process of its own."""
    state_dir = folder / "state"
    source = (
        "import asyncio, pathlib, sys, json\n"
        "from tests.unit.local.test_mesh import a_mesh\n"
        "async def main():\n"
        "    async with a_mesh(pathlib.Path(sys.argv[1]), retain_data=True):\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", source, str(state_dir)], cwd=root) as process:
        deadline = time.monotonic() + 120
        while (state := read_state(state_dir)) is None or state.phase != "ready":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, state_dir
        process.kill()


async def test_a_killed_supervisor_takes_everybody_with_it_and_the_next_one_starts(
    supervisor: tuple[subprocess.Popen[bytes], Path],
) -> None:
    process, state_dir = supervisor
    state = read_state(state_dir)
    assert state is not None
    pids = [each.pid for each in state.processes.values() if each.pid is not None]
    assert len(pids) == len(PROCESSES)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_state(state_dir) is None
    # At once, while PostgreSQL may still be shutting down.
    async with a_mesh(state_dir):
        assert not any(psutil.pid_exists(pid) for pid in pids)
