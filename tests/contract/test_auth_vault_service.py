"""VaultService as an operator calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cordboard import sandbox
from cordboard.auth.v1 import vault_service_pb2 as pb
from cordboard.auth.v1.vault_service_pb2_grpc import VaultServiceStub
from tests.fixtures.auth import Auth, refused


async def test_keys_are_rotated_with_progress_and_a_proof(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    stub = auth.operator(VaultServiceStub)
    before = await stub.GetVaultStatus(pb.GetVaultStatusRequest())
    assert (before.key_provider, before.key_provider_healthy, before.stale_count) == ("file", True, 0)
    steps = [step.rotation async for step in stub.RotateKeys(pb.RotateKeysRequest(level=pb.KEY_LEVEL_DATA))]
    assert (steps[0].state, steps[-1].state) == (pb.KeyRotation.STATE_RUNNING, pb.KeyRotation.STATE_DONE)
    assert steps[-1].done_count == steps[-1].total_count > 0
    again = [step.rotation async for step in stub.WatchKeyRotation(pb.WatchKeyRotationRequest(name=steps[0].name))]
    assert [each.state for each in again] == [pb.KeyRotation.STATE_DONE]
    after = await stub.GetVaultStatus(pb.GetVaultStatusRequest())
    assert after.stale_count == 0
    old, new = ({use.key_id for use in each.key_uses if use.workspace} for each in (before, after))
    assert old
    assert not old & new
    assert (await auth.lease("typed")).api_key == "k"
    # Also for who has nothing in memory, and for tokens, whose signing key was sealed anew.
    async with auth.replica() as fresh:
        assert (await auth.lease("typed", at=fresh)).api_key == "k"
    assert await auth.token()


async def test_wrong_requests_name_their_field(auth: Auth) -> None:
    stub = auth.operator(VaultServiceStub)
    assert await refused(stub.RotateKeys(pb.RotateKeysRequest()).read()) == (
        "INVALID_ARGUMENT",
        "INVALID_FIELDS",
        ["level"],
    )
    missing = pb.WatchKeyRotationRequest(name="keyRotations/none")
    assert (await refused(stub.WatchKeyRotation(missing).read()))[0] == "NOT_FOUND"
    wish = pb.ExportCredentialsRequest(public_key="{}", signing_key_id="none")
    assert (await refused(stub.ExportCredentials(wish).read()))[2] == ["public_key"]


async def test_an_export_comes_back_after_the_connections_are_gone(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    stub = auth.operator(VaultServiceStub)
    key = await stub.CreateTransferKey(pb.CreateTransferKeyRequest())
    wish = pb.ExportCredentialsRequest(public_key=key.public_key, signing_key_id=key.key_id)
    lines = [record.line async for record in stub.ExportCredentials(wish)]
    await auth.sql("DELETE FROM connection")

    async def requests() -> AsyncIterator[pb.ImportCredentialsRequest]:
        for number, line in enumerate(lines):
            yield pb.ImportCredentialsRequest(source_public_key="" if number else key.public_key, line=line)

    done = await stub.ImportCredentials(requests())
    assert (done.imported_count, done.present_count) == (1, 0)
    assert (await auth.lease("typed")).api_key == "k"


async def test_a_workspace_is_shredded(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    stub = auth.operator(VaultServiceStub)
    done = await stub.ShredWorkspace(pb.ShredWorkspaceRequest(name="workspaces/acme", reason="the customer left"))
    assert (done.destroyed_keys, done.removed_connections) == (1, 1)
    assert (await refused(auth.lease("typed")))[0] == "NOT_FOUND"
    # Nothing can be put into it any more either.
    typed = auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    assert (await refused(typed))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
