"""Sealing keys on a running Auth: the same one for whoever asks again, through rotations, and none after shredding."""

from __future__ import annotations

import asyncio

from cordboard import sandbox
from cordboard.auth.v1 import sealing_key_service_pb2 as pb
from cordboard.auth.v1 import vault_service_pb2 as vault_pb
from cordboard.auth.v1.sealing_key_service_pb2_grpc import SealingKeyServiceStub
from cordboard.auth.v1.vault_service_pb2_grpc import VaultServiceStub
from tests.fixtures.auth import DENIED, NOT_FOUND, STATE_CONFLICT, Auth, refused


async def lease(
    auth: Auth, workspace: str = "acme", number: int = 0, peer: str = "proxy"
) -> pb.LeaseSealingKeyResponse:
    stub = SealingKeyServiceStub(auth.served.channel(peer))
    request = pb.LeaseSealingKeyRequest(workspace=f"workspaces/{workspace}", number=number)
    answer: pb.LeaseSealingKeyResponse = await stub.LeaseSealingKey(request)
    return answer


async def test_a_workspace_has_a_key_of_its_own_and_keeps_it(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("other")
    first, *same = await asyncio.gather(*(lease(auth) for _ in range(5)))
    assert (first.number, len(first.key)) == (1, 32)
    assert {answer.key for answer in same} == {first.key}
    assert (await lease(auth, number=1)).key == first.key
    assert (await lease(auth, "other")).key != first.key


async def test_the_key_lies_sealed_and_its_leases_are_in_the_journal(auth: Auth, vendor: sandbox.Vendor) -> None:
    key = (await lease(auth)).key
    [row] = await auth.sql("SELECT sealed FROM sealing_key")
    assert key not in bytes(row["sealed"])
    entries = await auth.sql("SELECT body FROM audit_entry WHERE body LIKE '%auth.sealing-key.lease%'")
    assert len(entries) == 1
    assert "peer:proxy" in entries[0]["body"]


async def test_an_old_key_gives_its_place_to_a_new_one_and_still_opens(auth: Auth, vendor: sandbox.Vendor) -> None:
    first = await lease(auth)
    await auth.sql("UPDATE sealing_key SET create_time = create_time - interval '91 days'")
    second = await lease(auth)
    assert (second.number, second.key == first.key) == (2, False)
    assert (await lease(auth, number=1)).key == first.key


async def test_a_rotation_of_every_key_leaves_it_as_it_is(auth: Auth, vendor: sandbox.Vendor) -> None:
    before = await lease(auth)
    [sealed] = await auth.sql("SELECT sealed FROM sealing_key")
    stub = auth.operator(VaultServiceStub)
    async for _ in stub.RotateKeys(vault_pb.RotateKeysRequest(level=vault_pb.KEY_LEVEL_DATA)):
        pass
    assert (await auth.sql("SELECT sealed FROM sealing_key")) != [sealed]
    assert (await lease(auth)).key == before.key


async def test_there_is_none_for_who_is_not_there_or_was_shredded(auth: Auth, vendor: sandbox.Vendor) -> None:
    await lease(auth)
    assert await refused(lease(auth, "nobody")) == NOT_FOUND
    assert await refused(lease(auth, number=2)) == NOT_FOUND
    stub = auth.operator(VaultServiceStub)
    await stub.ShredWorkspace(vault_pb.ShredWorkspaceRequest(name="workspaces/acme", reason="the customer left"))
    assert await refused(lease(auth)) == STATE_CONFLICT
    assert await auth.sql("SELECT 1 FROM sealing_key") == []


async def test_nobody_but_the_proxy_gets_one(auth: Auth, vendor: sandbox.Vendor) -> None:
    for peer in ("uqi", "catalog", "envoy"):
        assert await refused(lease(auth, peer=peer)) == DENIED
