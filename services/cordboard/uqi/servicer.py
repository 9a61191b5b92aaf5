"""FormService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.caller import current_caller
from cordboard.core.layers import API_KEY
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.structs import from_struct, to_struct
from cordboard.core.times import to_duration, to_timestamp
from cordboard.uqi.binding import accepted
from cordboard.uqi.forms import Settings
from cordboard.uqi.options import Question
from cordboard.uqi.texts import json_text
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceServicer
from cordboard.uqi.visibility import ensure_seen

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from cordboard.uqi.binding import Bound, Client
    from cordboard.uqi.forms import Forms
    from cordboard.uqi.options import Credentials, Listed, Options
    from cordboard.uqi.rendering import Rendering
    from cordboard.uqi.store import FormRecord


class FormServicer(FormServiceServicer):
    """Serves forms."""

    def __init__(self, forms: Forms, options: Options) -> None:
        """Takes the forms, and the choices that only vendors know."""
        self._forms = forms
        self._options = options

    async def GetForm(self, request: pb.GetFormRequest, context: Any) -> pb.Form:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        return _message(await self._forms.form(integration, form, request.version), self._forms.silence())

    async def ListForms(self, request: pb.ListFormsRequest, context: Any) -> pb.ListFormsResponse:
        (integration,) = parse(request.parent, "integrations/*", field="parent")
        ensure_seen(integration)
        paging = Paging.of(request)
        found = await self._forms.page(integration, request.version, after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].form) if len(found) > len(page) else ""
        return pb.ListFormsResponse(forms=map(_message, page), next_page_token=token)

    async def GetFormDocument(self, request: pb.GetFormDocumentRequest, context: Any) -> form_pb2.FormDocument:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        return await self._forms.document(integration, form, request.version)

    async def RenderForm(self, request: pb.RenderFormRequest, context: Any) -> pb.RenderFormResponse:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        record, found = await self._forms.rendering(integration, form, request.version, request.target)
        return _rendered(record, found, request.etag, self._forms.silence())

    async def BindForm(self, request: pb.BindFormRequest, context: Any) -> pb.BindFormResponse:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        values = from_struct(request.values, "values")
        settings = Settings(_CLIENTS.get(request.target, ""), request.allow_expressions, request.revision)
        found = await self._forms.bound(integration, form, request.version, values, settings)
        return _bound(found if request.report_problems else accepted(found))

    async def ListFormOptions(self, request: pb.ListFormOptionsRequest, context: Any) -> pb.ListFormOptionsResponse:
        integration, form = parse(request.form, "integrations/*/forms/*", field="form")
        ensure_seen(integration)
        values = from_struct(request.values, "values")
        about, asker = (integration, form, request.version, request.field_id), _asker()
        question = Question(*about, asker, request.connection, values, request.search)
        return _options(await self._options.listed(question, _credentials(context)))


_CLIENTS: Final[Mapping[int, Client]] = {
    form_pb2.FORM_TARGET_JSON_SCHEMA: "json_schema",
    form_pb2.FORM_TARGET_APPSMITH: "appsmith",
    form_pb2.FORM_TARGET_JSON_FORMS: "json_forms",
    form_pb2.FORM_TARGET_REACT: "react",
}


def _rendered(record: FormRecord, found: Rendering, known: str, silence: float) -> pb.RenderFormResponse:
    same = known == found.etag
    return pb.RenderFormResponse(
        version=record.version,
        document_json="" if same else found.text,
        etag=found.etag,
        not_modified=same,
        losses=found.losses,
        stale_duration=_stale(silence),
    )


def _bound(found: Bound) -> pb.BindFormResponse:
    return pb.BindFormResponse(
        input=None if found.problems else to_struct(found.input),
        problems=(
            pb.FieldProblem(
                field_id=each.field_id,
                pointer=each.pointer,
                description=each.violation.description,
                reason=each.violation.reason,
            )
            for each in found.problems
        ),
        dropped_pointers=found.dropped,
        deferred_pointers=found.deferred,
        moved_pointers=found.moved,
        revision=found.revision,
    )


def _options(found: Listed) -> pb.ListFormOptionsResponse:
    return pb.ListFormOptionsResponse(
        options=(pb.FormOption(value_json=json_text(value), label=label) for value, label in found.options),
        more=found.more,
        problem=found.problem,
    )


def _asker() -> str:
    caller = current_caller()
    return f"{caller.actor} {caller.workspace} {caller.environment} {sorted(caller.roles)}"


def _credentials(context: Any) -> Credentials:
    sent = context.invocation_metadata() or ()
    return tuple((name, str(value)) for name, value in sent if name in ("authorization", API_KEY))


def _stale(silence: float) -> Duration | None:
    return to_duration(silence) if silence else None


def _message(record: FormRecord, silence: float = 0.0) -> pb.Form:
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
        stale_duration=_stale(silence),
    )
