"""ApiKeyService: messages in, one domain call, messages out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cordboard.auth.api_keys import KeyWish
from cordboard.auth.v1 import api_key_service_pb2 as pb
from cordboard.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceServicer
from cordboard.common.v1 import options_pb2
from cordboard.core.access import role_name
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from cordboard.auth.api_keys import ApiKeyRing
    from cordboard.auth.store.api_keys import ApiKeyRow

KEY = "workspaces/*/apiKeys/*"


class ApiKeyServicer(ApiKeyServiceServicer):
    """Answers ApiKeyService."""

    def __init__(self, ring: ApiKeyRing) -> None:
        """Takes what keeps the keys."""
        self._ring = ring

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, _: Any) -> pb.CreateApiKeyResponse:
        made = await self._ring.create(_wish(request), current_caller())
        return pb.CreateApiKeyResponse(api_key=_message(made.row), secret=made.key.reveal())

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, _: Any) -> pb.ListApiKeysResponse:
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        page = Paging.of(request)
        found = await self._ring.keys(workspace, after=page.after, limit=page.size + 1)
        response = pb.ListApiKeysResponse(api_keys=[_message(row) for row in found[: page.size]])
        if len(found) > page.size:
            response.next_page_token = page.token(found[page.size - 1].id)
        return response

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, _: Any) -> pb.ApiKey:
        workspace, key = parse(request.name, KEY)
        return _message(await self._ring.revoke(workspace, key, request.reason, current_caller()))


def _wish(request: pb.CreateApiKeyRequest) -> KeyWish:
    known = options_pb2.Role.values()
    return KeyWish(
        workspace=parse(request.parent, "workspaces/*", field="parent")[0],
        display_name=request.display_name,
        environment=request.environment,
        roles=tuple(role_name(role) if role in known else str(role) for role in request.roles),
        expire_time=_moment(request.expire_time) if request.HasField("expire_time") else None,
    )


def _moment(given: Timestamp) -> datetime:
    try:
        return given.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidFields([Violation("expire_time", "is no time between the years 1 and 9999")]) from None


def _message(row: ApiKeyRow) -> pb.ApiKey:
    message = pb.ApiKey(
        name=f"workspaces/{row.workspace}/apiKeys/{row.id}",
        display_name=row.display_name,
        environment=row.environment,
        roles=[options_pb2.Role.Value(f"ROLE_{role.upper().replace('-', '_')}") for role in row.roles],
        creator=row.creator,
        create_time=to_timestamp(row.create_time),
    )
    for field in ("expire_time", "last_use_time", "revoke_time"):
        if (moment := getattr(row, field)) is not None:
            getattr(message, field).CopyFrom(to_timestamp(moment))
    return message
