"""The vault, incidents and the journals, by the `cordboard` command against the running mesh."""

from __future__ import annotations

import json
import time
from pathlib import Path

from cordboard.client import ReconnectRequired
from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import until


async def test_keys_are_rotated_and_credentials_work_on(desk: Desk) -> None:
    tenant = await desk.tenant()
    rotated = await as_json(desk, "vault", "rotate", "--level", "data")
    assert rotated["state"] == "STATE_DONE"
    status = await as_json(desk, "vault", "status")
    assert status["keyProviderHealthy"] is True
    assert int(status.get("staleCount", 0)) == 0
    async with desk.mesh.client(tenant.token) as client:
        assert (await client.execute(tenant.connection, "get_me")).vendor_status == 200


async def test_a_cut_off_reaches_what_the_proxy_holds_and_ends(desk: Desk) -> None:
    tenant = await desk.tenant()
    async with desk.mesh.client(tenant.token) as client:
        await client.execute(tenant.connection, "get_me")
        made = await as_json(desk, "incident", "cut-off", "-w", tenant.workspace, "--no-revoke", "--reason", "drill")
        begun = time.monotonic()

        async def refused() -> bool:
            try:
                await client.execute(tenant.connection, "get_me")
            except ReconnectRequired:
                return True
            return False

        await until(refused, "the cut-off")
        print(f"\ncut off at the Proxy {time.monotonic() - begun:.3f} s after the command had ended")
        cut_off = made["name"].removeprefix("cutOffs/")
        assert cut_off in [each["name"].removeprefix("cutOffs/") for each in await as_json(desk, "incident", "list")]
        await as_json(desk, "incident", "restore", cut_off)
        assert (await client.execute(tenant.connection, "get_me")).vendor_status == 200
    code, _, errors = await command(desk, "incident", "cut-off", "--reason", "x")
    assert code == 2
    assert "everything" in errors


async def test_credentials_leave_encrypted_and_come_back(desk: Desk, tmp_path: Path) -> None:
    tenant = await desk.tenant()
    key, file = tmp_path / "key", tmp_path / "export.jsonl"
    code, output, errors = await command(desk, "vault", "transfer-key", str(key))
    assert code == 0, errors
    key_id = json.loads(key.read_text())["key_id"]
    assert key_id in output
    options = ("--to", str(key), "--signing-key", key_id, "-w", tenant.workspace)
    code, _, errors = await command(desk, "vault", "export", str(file), *options)
    assert code == 0, errors
    assert file.stat().st_mode & 0o077 == 0
    assert desk.vendor.settings.api_key not in file.read_text()
    done = await as_json(desk, "vault", "import", str(file), "--source", str(key))
    assert int(done["presentCount"]) == 1
    file.write_text(file.read_text().replace('"n":1', '"n":2'))
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    code, _, errors = await command(desk, "vault", "import", str(file), "--source", str(key))
    assert code == 2
    assert "manifest" in errors


async def test_the_journals_hold_and_are_exported(desk: Desk, tmp_path: Path) -> None:
    await desk.tenant()
    found = await as_json(desk, "audit", "verify")
    assert {each["service"] for each in found} == {"catalog", "auth", "flags", "proxy", "telemetry"}
    assert all(each["breaks"] == [] for each in found)
    assert sum(each["entries"] for each in found) > 5
    code, output, errors = await command(desk, "audit", "export", "auth", "--shape", "ocsf")
    assert code == 0, errors
    events = [json.loads(line) for line in output.splitlines()]
    assert {event["class_uid"] for event in events} <= {3001, 6003}
    anchors = tmp_path / "anchors"
    line = {"service": "auth", "chain": "", "sequence": 1, "hash": "00" * 32}
    anchors.write_text(json.dumps(line) + "\n")
    code, output, errors = await command(desk, "audit", "verify", "--anchors", str(anchors))
    assert code == 1
    assert "entry 1: anchor" in output
