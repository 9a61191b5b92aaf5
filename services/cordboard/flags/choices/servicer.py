"""ChoiceService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.caller import current_caller
from cordboard.core.names import check_id, parse
from cordboard.core.paging import Paging
from cordboard.flags.choices.messages import (
    after_of,
    after_text,
    choice_message,
    choice_of,
    environment_of,
    place_of,
    slug_of,
)
from cordboard.flags.evaluation import context_of
from cordboard.flags.flags import Cause
from cordboard.flags.v1 import choice_service_pb2 as pb
from cordboard.flags.v1.choice_service_pb2_grpc import ChoiceServiceServicer

if TYPE_CHECKING:
    from cordboard.flags.choices.choices import Choices


class ChoiceServicer(ChoiceServiceServicer):
    """Serves what workspaces choose."""

    def __init__(self, choices: Choices) -> None:
        """Takes the choices."""
        self._choices = choices

    async def SetIntegrationChoice(
        self, request: pb.SetIntegrationChoiceRequest, _context: Any
    ) -> pb.IntegrationChoice:
        place, choice = place_of(request.name, request.environment, current_caller()), choice_of(request.choice)
        cause = Cause(current_caller().actor, request.reason)
        known = _known(place.workspace, place.environment)
        return choice_message(await self._choices.choose(place, choice, cause=cause, context=known))

    async def GetIntegrationChoice(
        self, request: pb.GetIntegrationChoiceRequest, _context: Any
    ) -> pb.IntegrationChoice:
        place = place_of(request.name, request.environment, current_caller())
        known = _known(place.workspace, place.environment)
        return choice_message(await self._choices.choice(place, context=known))

    async def ListIntegrationChoices(
        self, request: pb.ListIntegrationChoicesRequest, _context: Any
    ) -> pb.ListIntegrationChoicesResponse:
        paging, [workspace] = Paging.of(request), parse(request.parent, "workspaces/*", field="parent")
        workspace, after = check_id(workspace, "parent"), slug_of(paging.after, "page_token")
        environment = environment_of(request.environment, current_caller())
        known = _known(workspace, environment)
        if known is None:
            found = await self._choices.chosen(workspace, environment, after=after, limit=paging.size + 1)
            last = found[paging.size - 1].record.place.integration if len(found) > paging.size else ""
            found = found[: paging.size]
        else:
            found, last = await self._choices.open_to(workspace, environment, known, after=after, limit=paging.size)
        token = paging.token(last) if last else ""
        return pb.ListIntegrationChoicesResponse(integration_choices=map(choice_message, found), next_page_token=token)

    async def SearchIntegrationChoices(
        self, request: pb.SearchIntegrationChoicesRequest, _context: Any
    ) -> pb.SearchIntegrationChoicesResponse:
        paging, integration = Paging.of(request), slug_of(request.integration, "integration")
        found = await self._choices.all(integration, after=after_of(paging.after), limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(after_text(page[-1].record.place)) if len(found) > len(page) else ""
        return pb.SearchIntegrationChoicesResponse(integration_choices=map(choice_message, page), next_page_token=token)


def _known(workspace: str, environment: str) -> dict[str, Any] | None:
    """Returns what the token proves of the workspace that is asked about; None where it is another's."""
    caller = current_caller()
    if caller.workspace != workspace:
        return None
    return {**context_of(caller, {}), "environment": environment}
