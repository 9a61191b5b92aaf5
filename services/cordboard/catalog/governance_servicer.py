"""GovernanceService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.governance_messages import difference_message, found_action, validation_fields
from cordboard.catalog.inventory import Wanted
from cordboard.catalog.lifecycle import ACTIVE, STAGED, Move
from cordboard.catalog.servicer import INTEGRATION, VERSION, description_of
from cordboard.catalog.usage import UseRecord
from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceServicer
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import check_id, parse
from cordboard.core.paging import Paging

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from cordboard.catalog.catalog import Catalog
    from cordboard.catalog.inventory import Inventory
    from cordboard.catalog.lifecycle import Lifecycle
    from cordboard.catalog.pins import Pins
    from cordboard.catalog.snapshot import PinKey
    from cordboard.catalog.usage import Usage
    from cordboard.catalog.v1.catalog_service_pb2 import DefinitionVersion
    from cordboard.catalog.v1.lifecycle_pb2 import Pin

WORKSPACE: Final = "workspaces/*"
PIN: Final = "workspaces/*/environments/*/pins/*"
EVERYWHERE: Final = "workspaces/-"
MAX_COUNTS: Final = 10_000
# Beyond these, PostgreSQL and Python disagree about what a time is: the end of the last second of 9999 is kept as
# "infinity", and comes back without a zone.
_TIMES: Final = (0, 253_402_300_798)


class GovernanceServicer(GovernanceServiceServicer):
    """Serves what governs integrations."""

    def __init__(self, catalog: Catalog, lifecycle: Lifecycle, pins: Pins, inventory: Inventory, usage: Usage) -> None:
        """Takes the parts of the domain."""
        self._catalog = catalog
        self._lifecycle = lifecycle
        self._pins = pins
        self._inventory = inventory
        self._usage = usage

    async def TransitionDefinitionVersion(
        self, request: pb.TransitionDefinitionVersionRequest, _context: Any
    ) -> DefinitionVersion:
        slug, version = parse(request.name, VERSION)
        move = Move(
            state=request.state,
            etag=request.etag,
            reason=request.reason,
            force=request.force,
            sunset_time=time_of(request.sunset_time, "sunset_time") if request.HasField("sunset_time") else None,
            successor=request.successor,
        )
        return await self._lifecycle.transition(slug, version, move)

    async def DeleteDefinitionVersion(
        self, request: pb.DeleteDefinitionVersionRequest, _context: Any
    ) -> pb.DeleteDefinitionVersionResponse:
        slug, version = parse(request.name, VERSION)
        await self._lifecycle.delete(slug, version, request.etag)
        return pb.DeleteDefinitionVersionResponse()

    async def DiffDefinitionVersions(
        self, request: pb.DiffDefinitionVersionsRequest, _context: Any
    ) -> pb.DefinitionDifference:
        (slug,) = parse(request.parent, INTEGRATION, field="parent")
        return difference_message(await self._catalog.compare(slug, request.old_version, request.new_version))

    async def ValidateDefinition(
        self, request: pb.ValidateDefinitionRequest, _context: Any
    ) -> pb.ValidateDefinitionResponse:
        workspace = _workspace(request.parent) if request.parent else ""
        found = await self._catalog.validate(request.document, workspace=workspace)
        return pb.ValidateDefinitionResponse(definition_version=found.version, **validation_fields(found))

    async def ValidateOpenApi(self, request: pb.ValidateOpenApiRequest, _context: Any) -> pb.ValidateOpenApiResponse:
        found, report = await self._catalog.validate_openapi(description_of(request.import_request))
        return pb.ValidateOpenApiResponse(definition_version=found.version, report=report, **validation_fields(found))

    async def SetPin(self, request: pb.SetPinRequest, _context: Any) -> Pin:
        pin = request.pin
        return await self._pins.put(_pin_key(pin.name, "pin.name"), pin.version, reason=pin.reason, etag=pin.etag)

    async def ListPins(self, request: pb.ListPinsRequest, _context: Any) -> pb.ListPinsResponse:
        workspace = "" if request.parent == EVERYWHERE else parse(request.parent, WORKSPACE, field="parent")[0]
        slug = parse(request.integration, INTEGRATION, field="integration")[0] if request.integration else ""
        paging = Paging.of(request)
        found = await self._pins.pins(
            workspace, after=paging.after, limit=paging.size + 1, slug=slug, environment=request.environment
        )
        page = found[: paging.size]
        token = paging.token(page[-1].name) if len(found) > len(page) else ""
        return pb.ListPinsResponse(pins=page, next_page_token=token)

    async def DeletePin(self, request: pb.DeletePinRequest, _context: Any) -> pb.DeletePinResponse:
        await self._pins.delete(_pin_key(request.name, "name"), etag=request.etag)
        return pb.DeletePinResponse()

    async def ListNotices(self, request: pb.ListNoticesRequest, _context: Any) -> pb.ListNoticesResponse:
        (workspace,) = parse(request.parent, WORKSPACE, field="parent")
        paging = Paging.of(request)
        found = await self._inventory.notices(workspace, after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].definition_version) if len(found) > len(page) else ""
        return pb.ListNoticesResponse(notices=page, next_page_token=token)

    async def ListInventory(self, request: pb.ListInventoryRequest, _context: Any) -> pb.ListInventoryResponse:
        paging = Paging.of(request)
        wanted = Wanted(request.owner, request.min_criticality, request.data_class, request.host, request.state)
        found = await self._inventory.entries(wanted, after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        last = page[-1].integration.name.partition("/")[2] if page else ""
        token = paging.token(last) if len(found) > len(page) else ""
        return pb.ListInventoryResponse(entries=page, next_page_token=token)

    async def ListReviews(self, request: pb.ListReviewsRequest, _context: Any) -> pb.ListReviewsResponse:
        paging = Paging.of(request)
        found = self._inventory.reviews(
            overdue=request.overdue, owner=request.owner, after=paging.after, limit=paging.size + 1
        )
        page = found[: paging.size]
        token = paging.token(page[-1][0]) if len(found) > len(page) else ""
        return pb.ListReviewsResponse(reviews=[review for _, review in page], next_page_token=token)

    async def RecordReview(self, request: pb.RecordReviewRequest, _context: Any) -> pb.Review:
        (slug,) = parse(request.integration, INTEGRATION, field="integration")
        due = time_of(request.due_time, "due_time") if request.HasField("due_time") else None
        return await self._inventory.review(slug, due=due, note=request.note)

    async def SearchActions(self, request: pb.SearchActionsRequest, _context: Any) -> pb.SearchActionsResponse:
        paging = Paging.of(request)
        slug, _, action = paging.after.partition("/")
        found = self._catalog.search(
            request.query, after=(slug, action), limit=paging.size + 1, category=request.category
        )
        page = [found_action(*one) for one in found[: paging.size]]
        last = f"{page[-1].integration.partition('/')[2]}/{page[-1].action.id}" if page else ""
        token = paging.token(last) if len(found) > len(page) else ""
        return pb.SearchActionsResponse(actions=page, next_page_token=token)

    async def PublishPrivateDefinition(
        self, request: pb.PublishPrivateDefinitionRequest, _context: Any
    ) -> DefinitionVersion:
        return await self._catalog.publish(
            request.document,
            workspace=_workspace(request.parent),
            stage=request.stage,
            validate_only=request.validate_only,
        )

    async def PromoteIntegration(self, request: pb.PromoteIntegrationRequest, _context: Any) -> DefinitionVersion:
        (name,) = parse(request.name, INTEGRATION)
        found = await self._catalog.promote(
            name, slug=request.slug, version=request.version, stage=request.stage or STAGED, update=request.update
        )
        if found.state == ACTIVE:
            await self._lifecycle.supersede(name, found, request.reason)
        return found

    async def ReportUsage(self, request: pb.ReportUsageRequest, _context: Any) -> pb.ReportUsageResponse:
        await self._usage.add(_counts(request))
        return pb.ReportUsageResponse()


def _workspace(parent: str) -> str:
    (workspace,) = parse(parent, WORKSPACE, field="parent")
    return check_id(workspace, "parent")


def _pin_key(name: str, field: str) -> PinKey:
    workspace, environment, slug = parse(name, PIN, field=field)
    return check_id(workspace, field), check_id(environment, field), slug


def time_of(stamp: Timestamp, field: str) -> datetime:
    """Returns the time that a message has; raises InvalidFields where it is none that can be kept."""
    if not _TIMES[0] <= stamp.seconds <= _TIMES[1] or not 0 <= stamp.nanos < 1_000_000_000:
        raise InvalidFields.one(field, "must be a time from 1970 to 9999")
    return datetime.fromtimestamp(stamp.seconds, UTC).replace(microsecond=stamp.nanos // 1000)


def _counts(request: pb.ReportUsageRequest) -> list[UseRecord]:
    if len(request.counts) > MAX_COUNTS:
        raise InvalidFields.one("counts", f"must be at most {MAX_COUNTS}")
    found, wrong = [], []
    for index, one in enumerate(request.counts):
        at = f"counts[{index}]"
        texts = (one.workspace, one.environment, one.integration, one.version)
        if not all(0 < len(text) <= 255 and "\0" not in text for text in texts) or not 0 < one.calls < 2**40:
            wrong.append(
                Violation(at, "must name a workspace, an environment, an integration and a version, and calls")
            )
        else:
            found.append(UseRecord(*texts, one.calls, time_of(one.last_call_time, f"{at}.last_call_time")))
    if wrong:
        raise InvalidFields(wrong[:100])
    return found
