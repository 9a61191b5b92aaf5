"""FormService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.structs import from_struct, to_struct
from cordboard.core.times import to_timestamp
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceServicer
from cordboard.uqi.visibility import ensure_seen

if TYPE_CHECKING:
    from cordboard.uqi.forms import Forms
    from cordboard.uqi.store import FormRecord


class FormServicer(FormServiceServicer):
    """Serves forms."""

    def __init__(self, forms: Forms) -> None:
        """Takes the forms."""
        self._forms = forms

    async def GetForm(self, request: pb.GetFormRequest, context: Any) -> pb.Form:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        return _message(await self._forms.form(integration, form, request.version))

    async def ListForms(self, request: pb.ListFormsRequest, context: Any) -> pb.ListFormsResponse:
        (integration,) = parse(request.parent, "integrations/*", field="parent")
        ensure_seen(integration)
        paging = Paging.of(request)
        found = await self._forms.page(integration, request.version, after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].form) if len(found) > len(page) else ""
        return pb.ListFormsResponse(forms=map(_message, page), next_page_token=token)

    async def BindForm(self, request: pb.BindFormRequest, context: Any) -> pb.BindFormResponse:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        values = from_struct(request.values, "values")
        return pb.BindFormResponse(input=to_struct(await self._forms.bind(integration, form, request.version, values)))


def _message(record: FormRecord) -> pb.Form:
    return pb.Form(
        name=record.name,
        version=record.version,
        title=record.title,
        description=record.description,
        json_schema=record.json_schema,
        appsmith_uqi=record.appsmith,
        etag=record.etag,
        create_time=to_timestamp(record.create_time),
        losses=record.losses,
    )
