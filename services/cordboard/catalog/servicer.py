"""CatalogService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.catalog.catalog import Description, Wanted
from cordboard.catalog.openapi import Files
from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from cordboard.core.caller import current_caller
from cordboard.core.names import parse
from cordboard.core.paging import Paging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cordboard.catalog.availability import Availability
    from cordboard.catalog.catalog import Catalog

INTEGRATION = "integrations/*"
VERSION = "integrations/*/versions/*"


class CatalogServicer(CatalogServiceServicer):
    """Serves the catalog."""

    def __init__(self, catalog: Catalog, availability: Availability) -> None:
        """Takes the catalog, and what tells who may use what."""
        self._catalog = catalog
        self._availability = availability

    async def PublishDefinition(self, request: pb.PublishDefinitionRequest, _context: Any) -> pb.DefinitionVersion:
        return await self._catalog.publish(request.document, stage=request.stage, validate_only=request.validate_only)

    async def ImportOpenApi(self, request: pb.ImportOpenApiRequest, _context: Any) -> pb.ImportOpenApiResponse:
        found = description_of(request)
        version, report, before = await self._catalog.import_openapi(found, validate_only=request.validate_only)
        return pb.ImportOpenApiResponse(definition_version=version, report=report, previous_version=before)

    async def GetIntegration(self, request: pb.GetIntegrationRequest, _context: Any) -> pb.Integration:
        (slug,) = parse(request.name, INTEGRATION)
        return self._catalog.integration(slug)

    async def ListIntegrations(self, request: pb.ListIntegrationsRequest, _context: Any) -> pb.ListIntegrationsResponse:
        paging = Paging.of(request)
        available = self._availability.of(current_caller()) if request.available_only else None
        found = self._catalog.integrations(_wanted(request, available), after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].name.removeprefix("integrations/")) if len(found) > len(page) else ""
        return pb.ListIntegrationsResponse(integrations=page, next_page_token=token)

    async def GetDefinitionVersion(
        self, request: pb.GetDefinitionVersionRequest, _context: Any
    ) -> pb.DefinitionVersion:
        slug, version = parse(request.name, VERSION)
        return await self._catalog.version(slug, version)

    async def ListDefinitionVersions(
        self, request: pb.ListDefinitionVersionsRequest, _context: Any
    ) -> pb.ListDefinitionVersionsResponse:
        (slug,) = parse(request.parent, INTEGRATION, field="parent")
        paging = Paging.of(request)
        found = self._catalog.versions(slug, before=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1][0]) if len(found) > len(page) else ""
        return pb.ListDefinitionVersionsResponse(
            definition_versions=[version for _, version in page], next_page_token=token
        )

    async def ListActions(self, request: pb.ListActionsRequest, _context: Any) -> pb.ListActionsResponse:
        (slug,) = parse(request.parent, INTEGRATION, field="parent")
        paging = Paging.of(request)
        found = self._catalog.actions(slug, after=paging.after, limit=paging.size + 1, query=request.query)
        page = found[: paging.size]
        token = paging.token(page[-1].id) if len(found) > len(page) else ""
        return pb.ListActionsResponse(actions=page, next_page_token=token)

    async def WatchDefinitions(
        self, request: pb.WatchDefinitionsRequest, _context: Any
    ) -> AsyncIterator[pb.WatchDefinitionsResponse]:
        async for message in self._catalog.watch(request.after_sequence):
            yield message


def description_of(request: pb.ImportOpenApiRequest) -> Description:
    """Returns what a request asks to be imported; raises InvalidFields."""
    return Description(
        document=request.document,
        slug=request.slug,
        owner=request.owner,
        source_uri=request.source_uri,
        server_url=request.server_url,
        files=Files.of(request.path, ((one.path, one.content) for one in request.files)),
    )


def _wanted(request: pb.ListIntegrationsRequest, available: Callable[[str], bool] | None) -> Wanted:
    since = request.changed_since
    return Wanted(
        category=request.category,
        query=request.query,
        state=request.state,
        owner=request.owner,
        tag=request.tag,
        changed_since=since.seconds + since.nanos / 1e9 if request.HasField("changed_since") else None,
        available=available,
    )
