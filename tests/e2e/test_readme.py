"""The examples of the README run as they stand there, but for the workspace's name."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import RunningMesh

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0


@pytest.fixture
async def tenant(desk: Desk) -> Tenant:
    """A workspace to stand in for the README's `acme`."""
    return await desk.tenant()


def examples(language: str, tenant: Tenant) -> list[str]:
    """Returns the README's blocks of a language, with the workspace that there is."""
    text = (
        (ROOT / "README.md").read_text(encoding="utf-8").replace("workspaces/acme/", f"workspaces/{tenant.workspace}/")
    )
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


async def run(*command: str, mesh: RunningMesh, tenant: Tenant) -> str:
    """Runs a program with the environment that the README tells to set; returns what it printed."""
    given = {"ADDRESS": mesh.mesh.public_address, "CA": str(mesh.mesh.ca_file), "TOKEN": tenant.token}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=os.environ | given | {"PATH": path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_the_python_example_runs(running_mesh: RunningMesh, tenant: Tenant, tmp_path: Path) -> None:
    [code] = examples("python", tenant)
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")

    printed = await run(sys.executable, str(script), mesh=running_mesh, tenant=tenant)

    assert re.match(r".* 200 [0-9a-f]{32}\n", printed)
    assert "50 tickets\n" in printed


@pytest.mark.parametrize("program", ["buf", "curl"])
async def test_the_command_line_example_runs(program: str, running_mesh: RunningMesh, tenant: Tenant) -> None:
    lines = [
        line.removeprefix("$ ")
        for block in examples("console", tenant)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith(f"$ {program} ") and "$ADDRESS" in line
    ]
    [line] = lines

    printed = await run("sh", "-c", f"exec {line}", mesh=running_mesh, tenant=tenant)

    assert shlex.split(line)[0] == program
    assert '"vendorStatus":200' in printed.replace(" ", "")
