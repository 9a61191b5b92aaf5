"""VaultService: messages in, one domain call, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.v1 import vault_service_pb2 as pb
from cordboard.auth.v1.vault_service_pb2_grpc import VaultServiceServicer
from cordboard.core.errors import DependencyUnavailable, InvalidFields
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.auth.rotation import KeyReport, Rotations
    from cordboard.auth.shredding import Shredder
    from cordboard.auth.store.rotations import RotationRow
    from cordboard.auth.transfer import Transfers
    from cordboard.auth.vault import Vault

SHOWN: Final = 10
_LEVELS: Final = {pb.KEY_LEVEL_KEK: "kek", pb.KEY_LEVEL_WORKSPACE: "workspace", pb.KEY_LEVEL_DATA: "data"}
_BY_NAME: Final = {name: level for level, name in _LEVELS.items()}


class VaultServicer(VaultServiceServicer):
    """Answers VaultService."""

    def __init__(self, vault: Vault, rotations: Rotations, shredder: Shredder, transfers: Transfers) -> None:
        """Takes what is done to the vault's keys."""
        self._vault = vault
        self._rotations = rotations
        self._shredder = shredder
        self._transfers = transfers

    async def RotateKeys(self, request: pb.RotateKeysRequest, _: Any) -> AsyncIterator[pb.RotateKeysResponse]:
        begun = await self._rotations.begin(_LEVELS.get(request.level, ""), _workspace(request.workspace))
        async for row in self._rotations.watch(begun.id):
            yield pb.RotateKeysResponse(rotation=_rotation(row))

    async def WatchKeyRotation(
        self, request: pb.WatchKeyRotationRequest, _: Any
    ) -> AsyncIterator[pb.WatchKeyRotationResponse]:
        (rotation,) = parse(request.name, "keyRotations/*")
        async for row in self._rotations.watch(rotation):
            yield pb.WatchKeyRotationResponse(rotation=_rotation(row))

    async def GetVaultStatus(self, request: pb.GetVaultStatusRequest, _: Any) -> pb.GetVaultStatusResponse:
        found = await self._rotations.report(_workspace(request.workspace))
        return pb.GetVaultStatusResponse(
            key_provider=self._vault.provider.name,
            key_provider_healthy=await self._healthy(),
            key_uses=[_use(each) for each in found],
            rotations=[_rotation(row) for row in await self._rotations.rotations(SHOWN)],
            stale_count=sum(each.count for each in found if not each.current),
        )

    async def ShredWorkspace(self, request: pb.ShredWorkspaceRequest, _: Any) -> pb.ShredWorkspaceResponse:
        (workspace,) = parse(request.name, "workspaces/*")
        done = await self._shredder.shred(workspace, reason=request.reason, force=request.force)
        return pb.ShredWorkspaceResponse(destroyed_keys=done.keys, removed_connections=done.connections)

    async def CreateTransferKey(self, _request: pb.CreateTransferKeyRequest, _: Any) -> pb.TransferKey:
        made = await self._transfers.create_key()
        return pb.TransferKey(key_id=made.id, public_key=made.text())

    async def ExportCredentials(
        self, request: pb.ExportCredentialsRequest, _: Any
    ) -> AsyncIterator[pb.ExportCredentialsResponse]:
        workspace = _workspace(request.workspace)
        async for line in self._transfers.export(request.public_key, workspace, request.signing_key_id):
            yield pb.ExportCredentialsResponse(line=line)

    async def ImportCredentials(
        self, requests: AsyncIterator[pb.ImportCredentialsRequest], _: Any
    ) -> pb.ImportCredentialsResponse:
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidFields.one("source_public_key", "is required in the first message", "REQUIRED")
        done = await self._transfers.take(first.source_public_key, _lines(first, requests))
        return pb.ImportCredentialsResponse(imported_count=done.imported, present_count=done.present)

    async def _healthy(self) -> bool:
        try:
            await self._vault.provider.health()
        except DependencyUnavailable:
            return False
        return True


async def _lines(
    first: pb.ImportCredentialsRequest, rest: AsyncIterator[pb.ImportCredentialsRequest]
) -> AsyncIterator[str]:
    yield first.line
    async for request in rest:
        yield request.line


def _workspace(name: str) -> str:
    return parse(name, "workspaces/*", field="workspace")[0] if name else ""


def _rotation(row: RotationRow) -> pb.KeyRotation:
    return pb.KeyRotation(
        name=f"keyRotations/{row.id}",
        level=_BY_NAME[row.level],
        workspace=f"workspaces/{row.workspace}" if row.workspace else "",
        state=pb.KeyRotation.State.Value(f"STATE_{row.state.upper()}"),
        done_count=row.done,
        total_count=row.total,
        problem=row.problem,
        create_time=to_timestamp(row.create_time),
        update_time=to_timestamp(row.update_time),
    )


def _use(report: KeyReport) -> pb.KeyUse:
    return pb.KeyUse(
        level=_BY_NAME[report.level],
        workspace=f"workspaces/{report.workspace}" if report.workspace else "",
        key_id=report.key_id,
        count=report.count,
        current=report.current,
    )
