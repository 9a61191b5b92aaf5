"""Flags from the command line before and after a change: preview, put, explain, diff, stale, export, import."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf.struct_pb2 import Value

from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.client import Client
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import Desk


async def test_a_change_is_previewed_put_explained_and_compared(desk: Desk, operator: Client, tmp_path: Path) -> None:
    key, mine = f"review-{uuid4().hex[:8]}", f"w-{uuid4().hex[:8]}"
    given = workspace_pb.Workspace(customer="northwind-corp", tier="starter", region="eu")
    await operator.workspaces.CreateWorkspace(workspace_pb.CreateWorkspaceRequest(workspace_id=mine, workspace=given))
    flag: dict[str, Any] = {"name": f"flags/{key}", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    file = tmp_path / "flag.json"
    file.write_text(json.dumps(flag))
    assert (await as_json(desk, "flag", "put", str(file), "--reason", "a start"))["revision"] == "1"
    shown = await as_json(desk, "flag", "show", key)
    shown["rules"] = [{"workspaces": [mine], "variant": "on", "description": "first"}]
    file.write_text(json.dumps(shown))
    moved = await as_json(desk, "flag", "preview", str(file), "-e", "production", "-e", "staging")
    assert moved == [
        {"workspace": mine, "environment": place, "before": "off", "after": "on"} for place in ("production", "staging")
    ]
    assert (await as_json(desk, "flag", "put", str(file)))["revision"] == "2"
    # With the etag of what was read: somebody has changed it since.
    code, _, errors = await command(desk, "flag", "put", str(file))
    assert code != 0
    assert "changed since it was read" in errors
    code, output, _ = await command(desk, "flag", "explain", key, f"workspace={mine}")
    assert (code, "rule 1 matches (first)" in output) == (0, True)
    code, output, _ = await command(desk, "flag", "explain", key, "workspace=other")
    assert "does not match (first): workspace is 'other', and must be" in " ".join(output.split())
    changed = await as_json(desk, "flag", "diff", key, "1", "2")
    assert [line for line in changed if line.startswith("+") and mine in line]
    assert await as_json(desk, "flag", "diff", key, "1", "1") == []
    assert (await command(desk, "flag", "diff", key, "7"))[0] == 5
    stale = [each["name"] for each in await as_json(desk, "flag", "stale", "--days", "0")]
    assert f"flags/{key}" not in stale
    shown["rules"] = []
    del shown["etag"]
    file.write_text(json.dumps(shown))
    await as_json(desk, "flag", "put", str(file))
    assert f"flags/{key}" in [each["name"] for each in await as_json(desk, "flag", "stale", "--days", "0")]
    assert f"flags/{key}" not in [each["name"] for each in await as_json(desk, "flag", "stale", "--days", "1")]


async def test_flags_go_out_and_come_in(desk: Desk, tmp_path: Path) -> None:
    key, file = f"moved-{uuid4().hex[:8]}", tmp_path / "flags.json"
    features = [
        {"name": key, "enabled": True, "strategies": [{"name": "userWithId", "parameters": {"userIds": "acme"}}]},
        {"name": f"{key}-not", "enabled": True, "strategies": [{"name": "remoteAddress"}]},
    ]
    file.write_text(json.dumps({"features": features}))
    code, output, errors = await command(desk, "flag", "import", str(file), "--dry-run", "-o", "json")
    assert code == 1, errors
    assert [each["outcome"] for each in json.loads(output)] == [
        "would be put", "left out: has a strategy 'remoteAddress'",
    ]  # fmt: skip
    assert (await command(desk, "flag", "show", key))[0] != 0
    assert (await command(desk, "flag", "import", str(file)))[0] == 1
    assert (await as_json(desk, "flag", "show", key))["rules"][0]["workspaces"] == ["acme"]
    code, output, errors = await command(desk, "flag", "export", key)
    assert code == 0, errors
    document = json.loads(output)
    assert list(document["flags"]) == [key]
    file.write_text(output)
    code, output, errors = await command(desk, "flag", "import", str(file))
    assert code == 0, errors
    code, again, _ = await command(desk, "flag", "export", key)
    assert json.loads(again)["flags"][key]["targeting"] == document["flags"][key]["targeting"]
    code, output, _ = await command(desk, "flag", "export", "--format", "unleash", key)
    [feature] = json.loads(output)["features"]
    assert feature["strategies"][0]["constraints"][0]["values"] == ["acme"]
    assert (await command(desk, "flag", "import", str(tmp_path / "none.json")))[0] == 2


async def test_a_flag_moves_whole_and_a_killed_one_is_killed_where_it_arrives(desk: Desk, tmp_path: Path) -> None:
    key, file = f"moved-{uuid4().hex[:8]}", tmp_path / "flags.json"
    needed = await as_json(desk, "segment", "put", key, "--workspace", "acme")
    shown = await as_json(desk, "flag", "show", f"segment.{key}")
    shown |= {
        "name": f"flags/{key}",
        "rules": [{"segments": [key], "variant": "in", "description": "friends"}],
        "prerequisites": [{"flag": needed["name"], "variants": ["in"]}],
    }
    del shown["etag"]
    file.write_text(json.dumps(shown))
    await as_json(desk, "flag", "put", str(file))
    assert (await command(desk, "flag", "kill", key, "--reason", "a drill"))[0] == 0
    code, output, errors = await command(desk, "flag", "export", "--format", "cordboard", key, f"segment.{key}")
    assert code == 0, errors
    # Under other names, as a mesh has them that has none of these.
    file.write_text(output.replace(key, f"{key}-new"))
    code, output, errors = await command(desk, "flag", "import", str(file), "-o", "json")
    assert code == 0, errors
    assert {each["key"]: each["outcome"] for each in json.loads(output)} == {
        f"segment.{key}-new": "put", f"{key}-new": "put, killed",
    }  # fmt: skip
    there = await as_json(desk, "flag", "show", f"{key}-new")
    assert (there["killed"], there["rules"][0]["segments"]) == (True, [f"{key}-new"])
    assert there["prerequisites"] == [{"flag": f"flags/segment.{key}-new", "variants": ["in"]}]
    # From the first revision on it gave what a killed one gives.
    first = await as_json(desk, "flag", "evaluate", f"{key}-new", "workspace=acme", "--revision", "1")
    assert first["variant"] == "out"


async def test_a_segment_is_put_listed_and_used_by_a_rollout(desk: Desk) -> None:
    name, key = f"friends-{uuid4().hex[:8]}", f"action.acme-desk.far-{uuid4().hex[:8]}"
    assert (await as_json(desk, "segment", "put", name, "--workspace", "acme", "--reason", "a start"))[
        "revision"
    ] == "1"
    code, _, errors = await command(
        desk, "rollout", "put", key, "--segment", name, "--requires", f"segment.{name}=in", "--stage", "*=100"
    )
    assert code == 0, errors
    shown = [each for each in await as_json(desk, "segment", "list") if each["name"] == f"flags/segment.{name}"]
    assert shown[0]["rules"][0]["workspaces"] == ["acme"]
    code, output, errors = await command(desk, "segment", "show", name)
    assert (code, key in output.replace("\n", "")) == (0, True), errors
    given = [
        (await as_json(desk, "flag", "evaluate", key, f"workspace={who}", "environment=production"))["variant"]
        for who in ("acme", "globex")
    ]
    assert given == ["on", "off"]
    assert (await command(desk, "segment", "show", "none-such"))[0] == 5
    assert (await command(desk, "rollout", "put", key, "--requires", "nothing", "--stage", "*=100"))[0] == 2


async def test_it_is_shown_who_follows_the_flags_and_how_far_each_is(desk: Desk, operator: Client) -> None:
    flag = flags_pb.Flag(
        name=f"flags/far-{uuid4().hex[:8]}", variants={"on": Value(bool_value=True)}, default_variant="on"
    )
    await operator.flags.PutFlag(flags_pb.PutFlagRequest(flag=flag))
    async with asyncio.timeout(60):
        # Others change flags in this mesh meanwhile.
        while not {"proxy", "catalog"} <= await current(desk):  # noqa: ASYNC110 - what it looks at is in the mesh
            await asyncio.sleep(0.2)
    listed = await as_json(desk, "flag", "consumers")
    assert "cordboard.flags.v1" in {each["protocol"] for each in listed}
    code, output, _ = await command(desk, "flag", "consumers")
    assert (code, output.split()[:2]) == (0, ["consumer", "kind"])


async def current(desk: Desk) -> set[str]:
    """Returns the services that have the newest change."""
    return {
        each["name"].removeprefix("flagConsumers/").partition("-")[0]
        for each in await as_json(desk, "flag", "consumers")
        if each.get("sequence") == each["newestSequence"]
    }
