"""QuotaService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.v1 import definition_pb2 as definition_pb
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import to_duration, to_timestamp
from cordboard.proxy.breakers.messages import to_slug
from cordboard.proxy.quotas.bucket import APP, CONNECTION, ENDPOINT, WORKSPACE
from cordboard.proxy.v1 import quota_service_pb2 as pb
from cordboard.proxy.v1.quota_service_pb2_grpc import QuotaServiceServicer

if TYPE_CHECKING:
    from cordboard.proxy.quotas.use import QuotaUses, Use

_SCOPES: Final = {
    APP: definition_pb.RATE_LIMIT_SCOPE_APP,
    WORKSPACE: definition_pb.RATE_LIMIT_SCOPE_WORKSPACE,
    CONNECTION: definition_pb.RATE_LIMIT_SCOPE_CONNECTION,
    ENDPOINT: definition_pb.RATE_LIMIT_SCOPE_ENDPOINT,
}


class QuotaServicer(QuotaServiceServicer):
    """Serves QuotaService."""

    def __init__(self, uses: QuotaUses) -> None:
        """Takes what reads uses."""
        self._uses = uses

    async def ListQuotas(self, request: pb.ListQuotasRequest, context: Any) -> pb.ListQuotasResponse:
        """Lists what is used of the limits that a workspace draws on."""
        paging, slug = Paging.of(request), to_slug(request.integration)
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        found = await self._uses.page(workspace, integration=slug, after=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].key) if len(found) > paging.size else ""
        return pb.ListQuotasResponse(quotas=map(_message, found[: paging.size]), next_page_token=token)


def _message(use: Use) -> pb.QuotaUse:
    return pb.QuotaUse(
        integration=f"integrations/{use.integration}",
        scope=_SCOPES[use.scope],
        owner=use.owner,
        action=use.action,
        limit=use.limit,
        window=to_duration(use.window),
        used=use.used,
        own_used=use.own_used,
        held_until=to_timestamp(use.held_until) if use.held_until is not None else None,
    )
