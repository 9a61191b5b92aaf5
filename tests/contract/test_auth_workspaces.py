"""Workspaces, over the real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cordboard.auth.v1 import workspace_service_pb2 as pb
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.common.v1 import options_pb2 as roles
from tests.fixtures.auth import NOT_FOUND, Auth, refused


@pytest.fixture
def operator(auth: Auth) -> Any:
    return auth.operator(WorkspaceServiceStub)


def create(stub: Any, workspace_id: str, **fields: Any) -> Any:
    values = {"tier": "business"} | fields
    return stub.CreateWorkspace(pb.CreateWorkspaceRequest(workspace_id=workspace_id, workspace=pb.Workspace(**values)))


def update(stub: Any, *paths: str, name: str = "workspaces/acme", tier: str = "business", **fields: Any) -> Any:
    mask = FieldMask(paths=paths) if paths else None
    return stub.UpdateWorkspace(
        pb.UpdateWorkspaceRequest(workspace=pb.Workspace(name=name, tier=tier, **fields), update_mask=mask)
    )


async def test_a_workspace_is_created_and_read_back(operator: Any) -> None:
    made = await create(operator, "new-one", display_name="Möbel & Söhne", customer="c-1", region="eu")
    read = await operator.GetWorkspace(pb.GetWorkspaceRequest(name="workspaces/new-one"))
    assert made == read
    assert (read.display_name, read.customer, read.tier, read.region) == ("Möbel & Söhne", "c-1", "business", "eu")
    assert read.etag
    assert read.create_time == read.update_time


async def test_an_id_is_taken_once(operator: Any) -> None:
    answers = await asyncio.gather(*(create(operator, "one") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(answer, pb.Workspace) for answer in answers) == 1
    codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.ALREADY_EXISTS}


@pytest.mark.parametrize(
    ("workspace_id", "fields", "wrong"),
    [
        ("A", {}, ["workspace_id"]),
        ("_system", {}, ["workspace_id"]),
        ("*", {}, ["workspace_id"]),
        ("x" * 64, {}, ["workspace_id"]),
        ("ok", {"tier": "Business Class"}, ["workspace.tier"]),
        ("ok", {"tier": ""}, ["workspace.tier"]),
        ("ok", {"region": "E U", "customer": "a\nb", "display_name": "a\0"},
         ["workspace.display_name", "workspace.customer", "workspace.region"]),
        ("-", {"display_name": "x" * 201}, ["workspace_id", "workspace.display_name"]),
    ],
)  # fmt: skip
async def test_every_wrong_field_is_named(
    operator: Any, workspace_id: str, fields: dict[str, str], wrong: list[str]
) -> None:
    assert await refused(create(operator, workspace_id, **fields)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", wrong)


async def test_without_a_mask_the_fields_that_are_set_change(operator: Any) -> None:
    changed = await update(operator, display_name="Acme", tier="free")
    assert (changed.display_name, changed.tier, changed.customer, changed.region) == ("Acme", "free", "acme-corp", "eu")
    assert changed.update_time.ToNanoseconds() > changed.create_time.ToNanoseconds()


async def test_with_a_mask_its_fields_change_also_to_nothing(operator: Any) -> None:
    changed = await update(operator, "customer", tier="ignored", display_name="ignored")
    assert (changed.customer, changed.tier, changed.display_name) == ("", "business", "")
    whole = await update(operator, "*", tier="free")
    assert (whole.tier, whole.region) == ("free", "")


async def test_a_field_that_cannot_change_is_refused(operator: Any) -> None:
    assert (await refused(update(operator, "name", "etag", "nothing")))[2] == ["update_mask"] * 3
    assert (await refused(update(operator, "tier", tier="NO WAY")))[2] == ["workspace.tier"]
    assert await refused(update(operator, name="workspaces/nobody")) == NOT_FOUND
    assert (await refused(update(operator, name="acme")))[2] == ["workspace.name"]


async def test_of_many_changes_with_one_etag_one_is_made(operator: Any) -> None:
    etag = (await operator.GetWorkspace(pb.GetWorkspaceRequest(name="workspaces/acme"))).etag
    changes = (update(operator, display_name=f"n{index}", etag=etag) for index in range(10))
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(answer, pb.Workspace) for answer in answers) == 1
    assert await refused(update(operator, display_name="x", etag=etag)) == ("ABORTED", "ETAG_MISMATCH", [])
    # Without an etag the last one wins.
    assert (await update(operator, display_name="last")).display_name == "last"


async def test_a_list_has_every_workspace_once_in_order(operator: Any) -> None:
    for index in range(25):
        await create(operator, f"w-{index:02}")
    names: list[str] = []
    token, pages = "", 0
    while token or not pages:
        page = await operator.ListWorkspaces(pb.ListWorkspacesRequest(page_size=7, page_token=token))
        names += [workspace.name for workspace in page.workspaces]
        token, pages = page.next_page_token, pages + 1
    assert names == ["workspaces/acme", *(f"workspaces/w-{index:02}" for index in range(25))]
    assert pages == 4


async def test_a_tenant_sees_its_own_workspace_and_lists_none(auth: Auth, operator: Any) -> None:
    await create(operator, "other")
    stub = await auth.as_member(WorkspaceServiceStub, "acme", roles.ROLE_READER)
    assert (await stub.GetWorkspace(pb.GetWorkspaceRequest(name="workspaces/acme"))).tier == "business"
    for name in ("workspaces/other", "workspaces/nobody"):
        assert await refused(stub.GetWorkspace(pb.GetWorkspaceRequest(name=name))) == NOT_FOUND
    for call in (stub.ListWorkspaces(pb.ListWorkspacesRequest()), create(stub, "mine"), update(stub, display_name="x")):
        assert (await refused(call))[0] == "PERMISSION_DENIED"


async def test_each_change_stands_in_the_workspaces_own_journal(auth: Auth, operator: Any) -> None:
    await create(operator, "told")
    await update(operator, name="workspaces/told", display_name="Told")
    rows = await auth.sql("SELECT body FROM audit_entry WHERE workspace_id = 'told' ORDER BY sequence")
    bodies = [json.loads(row["body"]) for row in rows]
    assert [body["action"] for body in bodies] == ["auth.workspace.create", "auth.workspace.update"]
    assert bodies[1]["details"] == {"display_name": "Told", "tier": "business"}
    assert {body["resource"] for body in bodies} == {"workspaces/told"}
