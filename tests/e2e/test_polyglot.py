"""A client in another language: stubs from protos/ by a program that knows nothing of us."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from google.api import annotations_pb2

from tests.fixtures.desk import Desk, Tenant

ROOT = Path(__file__).parent.parent.parent
NODE = ROOT / "tests" / "node"
GOOGLEAPIS = Path(annotations_pb2.__file__).parent.parent.parent

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or not (NODE / "node_modules").is_dir(),
        reason="Node.js or its packages are missing (`make node`): NO client of another language is tried",
    ),
]


async def test_a_node_client_reads_calls_and_streams(desk: Desk, northwind: Tenant) -> None:
    given = {
        "address": desk.mesh.mesh.public_address,
        "ca": str(desk.mesh.mesh.ca_file),
        "token": northwind.token,
        "protos": str(ROOT / "protos"),
        "googleapis": str(GOOGLEAPIS),
        "connection": northwind.connection,
    }
    node = await asyncio.create_subprocess_exec(
        "node", "call.mjs", cwd=NODE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await node.communicate(json.dumps(given).encode())
    assert node.returncode == 0, errors.decode()[-2000:]
    got = json.loads(output)
    assert got["integration"]["name"] == "integrations/acme-desk"
    assert got["missing"] == {"code": 5, "details": "'integrations/nothing' does not exist"}
    assert got["executed"]["vendor_status"] == 200
    assert json.loads(got["executed"]["output_json"])
    assert got["pages"] == [50, 50]
