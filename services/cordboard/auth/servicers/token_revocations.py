"""RevocationService: messages in, one domain call, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.auth.v1 import revocation_service_pb2 as pb
from cordboard.auth.v1.revocation_service_pb2_grpc import RevocationServiceServicer
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.auth.store.token_revocations import RevocationRow
    from cordboard.auth.token_revocations import TokenRevocations


class RevocationServicer(RevocationServiceServicer):
    """Answers RevocationService."""

    def __init__(self, revocations: TokenRevocations) -> None:
        """Takes what revokes."""
        self._revocations = revocations

    async def RevokeToken(self, request: pb.RevokeTokenRequest, _: Any) -> pb.Revocation:
        (token,) = parse(request.name, "tokens/*")
        workspace = _id(request.workspace)
        return _message(await self._revocations.revoke(token, workspace, request.reason, current_caller()))

    async def RevokeAllTokens(self, request: pb.RevokeAllTokensRequest, _: Any) -> pb.Revocation:
        workspace = _id(request.workspace)
        if bool(workspace) is request.operators:
            raise InvalidFields([Violation("workspace", "is required, or else `operators`: one of them", "REQUIRED")])
        return _message(
            await self._revocations.revoke_all(workspace, request.reason, current_caller(), api_keys=request.api_keys)
        )

    async def ListRevocations(self, request: pb.ListRevocationsRequest, _: Any) -> pb.ListRevocationsResponse:
        page = Paging.of(request)
        found = await self._revocations.revocations(before=page.after_number or 0, limit=page.size + 1)
        response = pb.ListRevocationsResponse(revocations=[_message(row) for row in found[: page.size]])
        if len(found) > page.size:
            response.next_page_token = page.token(str(found[page.size - 1].sequence))
        return response


def _id(name: str) -> str:
    return parse(name, "workspaces/*", field="workspace")[0] if name else ""


def _message(row: RevocationRow) -> pb.Revocation:
    message = pb.Revocation(
        kind=kind_value(row.kind),
        workspace=f"workspaces/{row.workspace}" if row.workspace else "",
        subject=row.subject,
        generation=row.generation,
        reason=row.reason,
        create_time=to_timestamp(row.create_time),
    )
    if row.expire_time is not None:
        message.expire_time.CopyFrom(to_timestamp(row.expire_time))
    return message


def kind_value(kind: str) -> pb.Revocation.Kind.ValueType:
    """Returns what was revoked, as the API has it."""
    return pb.Revocation.Kind.Value(f"KIND_{kind.upper().replace('-', '_')}")
