"""The commands of backends against the running mesh: a route is made, turned, turned back, told of and deleted."""

from __future__ import annotations

from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import SLUG, Desk


async def test_a_workspace_is_moved_over_and_back_by_commands(desk: Desk) -> None:
    tenant = await desk.tenant()
    where = (tenant.workspace, SLUG)
    made = await as_json(desk, "backends", "gateway", *where, "gate", "--account", "desk=conn-42", "--name", "desk")
    assert made["candidate"]["gateway"]["connection"] == f"workspaces/{tenant.workspace}/connections/gate"
    assert (await as_json(desk, "backends", "compare", *where, "0.5"))["shadowRate"] == 0.5
    shown = await as_json(desk, "backends", "show", *where)
    turned = await as_json(desk, "backends", "cut-over", *where, "--etag", shown["etag"])
    assert turned["primary"] == made["candidate"]
    # There is no such connection: the call finds it out, and the way back is the same command.
    code, _, errors = await command(desk, "call", f"{tenant.workspace}/desk", "get_me")
    assert code != 0, errors
    back = await as_json(desk, "backends", "cut-over", *where)
    assert ("direct" in back["primary"], back["candidate"]) == (True, made["candidate"])
    code, _, errors = await command(desk, "call", f"{tenant.workspace}/desk", "list_tickets", "limit:=1")
    assert code == 0, errors
    assert [one["name"] for one in await as_json(desk, "backends", "list", tenant.workspace)] == [back["name"]]
    code, output, errors = await command(desk, "backends", "report", *where)
    assert (code, "candidate" in output) == (0, True), errors
    code, _, errors = await command(desk, "backends", "cut-over", *where, "--etag", shown["etag"])
    assert code != 0
    assert "changed since it was read" in errors
    code, _, errors = await command(desk, "backends", "gateway", *where, "gate", "--account", "nothing")
    assert "CONNECTION=NAME" in errors
    assert (await command(desk, "backends", "delete", *where))[0] == 0
    assert await as_json(desk, "backends", "list", tenant.workspace) == []
