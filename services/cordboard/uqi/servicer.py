"""FormService and QueryEditorService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cordboard.core import headers
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.http_answers import NOT_MODIFIED, OVER_HTTP, STATUS, entity_tag, is_held
from cordboard.core.layers import API_KEY
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.structs import from_struct, to_struct
from cordboard.core.times import to_duration, to_timestamp
from cordboard.uqi.binding import accepted
from cordboard.uqi.form_sets import SetState
from cordboard.uqi.forms import Settings
from cordboard.uqi.languages import wanted
from cordboard.uqi.options import Question
from cordboard.uqi.query_editor import Command
from cordboard.uqi.recent import Recent
from cordboard.uqi.sealing import Owner
from cordboard.uqi.texts import json_text
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1 import query_editor_service_pb2 as editor_pb
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceServicer
from cordboard.uqi.v1.query_editor_service_pb2_grpc import QueryEditorServiceServicer
from cordboard.uqi.visibility import ensure_seen

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from cordboard.uqi.binding import Bound, Client
    from cordboard.uqi.custom_action import Request
    from cordboard.uqi.form_sets import FormSet, FormSets
    from cordboard.uqi.forms import Forms
    from cordboard.uqi.languages import Ranges
    from cordboard.uqi.options import Credentials, Listed, Options
    from cordboard.uqi.query_editor import QueryEditor
    from cordboard.uqi.query_editors import QueryEditors
    from cordboard.uqi.rendering import Rendering
    from cordboard.uqi.sealing import Sealing
    from cordboard.uqi.store import FormRecord


class FormServicer(FormServiceServicer):
    """Serves forms."""

    def __init__(self, forms: Forms, options: Options, sets: FormSets, sealing: Sealing, *, ttl: int) -> None:
        """Takes the forms, the choices that only vendors know, what knows how far forms are, and what seals secrets.

        A browser may keep a form for `ttl` seconds.
        """
        self._forms = forms
        self._options = options
        self._sets = sets
        self._sealing = sealing
        self._ttl = ttl
        self._answers: Recent[tuple[str, str], tuple[FormRecord, pb.Form]] = Recent(MOST_ANSWER_BYTES, _weight)

    async def GetForm(self, request: pb.GetFormRequest, context: Any) -> pb.Form:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        ranges = _ranges(request.language, context)
        record = await self._forms.form_in(integration, form, request.version, ranges)
        # Headers cost a quarter of such a call, and a form says its etag itself.
        tagged = headers.first(context, OVER_HTTP)
        if tagged and await self._held(entity_tag(record.etag.encode(), record.version.encode()), context):
            return pb.Form()
        return self._answer(record, self._forms.silence())

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
        ranges = _ranges(request.language, context)
        found = await self._forms.document(integration, form, request.version, ranges)
        return form_pb2.FormDocument() if await self._held(found.tag, context) else found.message

    async def RenderForm(self, request: pb.RenderFormRequest, context: Any) -> pb.RenderFormResponse:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        ranges = _ranges(request.language, context)
        record, found = await self._forms.rendering(integration, form, request.version, request.target, ranges)
        if await self._held(found.tag(record.version), context):
            return pb.RenderFormResponse()
        return _rendered(record.version, found, request.etag, self._forms.silence())

    async def BindForm(self, request: pb.BindFormRequest, context: Any) -> pb.BindFormResponse:
        integration, form = parse(request.name, "integrations/*/forms/*")
        ensure_seen(integration)
        values = from_struct(request.values, "values")
        ranges = _ranges(request.language, context)
        client, stored = _CLIENTS.get(request.target, ""), tuple(request.stored_field_ids)
        settings = Settings(client, request.allow_expressions, request.revision, ranges, stored)
        found = await self._forms.bound(integration, form, request.version, values, settings)
        bound = found if request.report_problems else accepted(found)
        return _bound(
            await self._sealing.sealed(bound, _owner(request.workspace, integration, form), _credentials(context))
        )

    async def ListFormOptions(self, request: pb.ListFormOptionsRequest, context: Any) -> pb.ListFormOptionsResponse:
        integration, form = parse(request.form, "integrations/*/forms/*", field="form")
        ensure_seen(integration)
        values = from_struct(request.values, "values")
        about, asker = (integration, form, request.version, request.field_id), _asker()
        ranges = _ranges(request.language, context)
        question = Question(*about, asker, request.connection, values, request.search, ranges)
        return _options(await self._options.listed(question, _credentials(context)))

    async def GetFormSet(self, request: pb.GetFormSetRequest, context: Any) -> pb.FormSet:
        integration, version = parse(request.name, "integrations/*/formSets/*")
        ensure_seen(integration)
        return _set(await self._sets.form_set(integration, version), self._forms.silence())

    async def ListFormSets(self, request: pb.ListFormSetsRequest, context: Any) -> pb.ListFormSetsResponse:
        (integration,) = parse(request.parent, "integrations/*", field="parent")
        ensure_seen(integration)
        paging = Paging.of(request)
        found = await self._sets.page(integration, after=paging.after, limit=paging.size + 1)
        page, silence = found[: paging.size], self._forms.silence()
        token = paging.token(page[-1].version) if len(found) > len(page) else ""
        return pb.ListFormSetsResponse(form_sets=(_set(each, silence) for each in page), next_page_token=token)

    async def _held(self, tag: str, context: Any) -> bool:
        return await _told(tag, self._ttl, self._forms.silence(), context)

    def _answer(self, record: FormRecord, silence: float) -> pb.Form:
        # Most of what such a call does of its own is to copy the form into a message: the same one goes out again.
        key = (record.version, record.etag)
        kept = self._answers.get(key)
        if kept is None or kept[0] is not record:
            kept = self._answers.put(key, (record, _message(record)))
        if not silence:
            return kept[1]
        old = pb.Form()
        old.CopyFrom(kept[1])
        old.stale_duration.CopyFrom(to_duration(silence))
        return old


class QueryEditorServicer(QueryEditorServiceServicer):
    """Serves editors over all actions of an integration."""

    def __init__(self, editors: QueryEditors, forms: Forms, sealing: Sealing, *, ttl: int) -> None:
        """Takes the editors, the forms that know how old they are, and what seals secrets.

        A browser may keep an editor for `ttl` seconds.
        """
        self._editors = editors
        self._forms = forms
        self._sealing = sealing
        self._ttl = ttl

    async def GetQueryEditor(self, request: editor_pb.GetQueryEditorRequest, context: Any) -> editor_pb.QueryEditor:
        (integration,) = parse(request.name, EDITOR)
        ensure_seen(integration)
        return _editor(request.name, await self._editors.editor(integration, request.version))

    async def RenderQueryEditor(
        self, request: editor_pb.RenderQueryEditorRequest, context: Any
    ) -> pb.RenderFormResponse:
        (integration,) = parse(request.name, EDITOR)
        ensure_seen(integration)
        ranges = _ranges(request.language, context)
        editor, found = await self._editors.rendering(integration, request.version, request.target, ranges)
        if await _told(found.tag(editor.version), self._ttl, self._forms.silence(), context):
            return pb.RenderFormResponse()
        return _rendered(editor.version, found, request.etag, self._forms.silence())

    async def BindQuery(self, request: editor_pb.BindQueryRequest, context: Any) -> editor_pb.BindQueryResponse:
        (integration,) = parse(request.name, EDITOR)
        ensure_seen(integration)
        ranges = _ranges(request.language, context)
        settings = Settings("appsmith", request.allow_expressions, request.form_revision, ranges)
        values = from_struct(request.values, "values")
        command, found = await self._editors.bound(integration, request.version, values, settings)
        if not isinstance(command, Command):
            answer = _bound(found if request.report_problems else accepted(found))
            return editor_pb.BindQueryResponse(bound=answer, request=_request(command))
        bound, form = found if request.report_problems else accepted(found), command.form.rpartition("/")[2]
        owner = _owner(request.workspace, integration, form)
        sealed = await self._sealing.sealed(bound, owner, _credentials(context))
        return editor_pb.BindQueryResponse(action=command.action, bound=_bound(sealed))


EDITOR: Final = "integrations/*/queryEditor"
# Of forms that are kept ready to be sent.
MOST_ANSWER_BYTES: Final = 8_000_000
_CLIENTS: Final[Mapping[int, Client]] = {
    form_pb2.FORM_TARGET_JSON_SCHEMA: "json_schema",
    form_pb2.FORM_TARGET_APPSMITH: "appsmith",
    form_pb2.FORM_TARGET_JSON_FORMS: "json_forms",
    form_pb2.FORM_TARGET_REACT: "react",
}


_STATES: Final = {
    SetState.MAKING: pb.FormSet.STATE_MAKING,
    SetState.READY: pb.FormSet.STATE_READY,
    SetState.FAILED: pb.FormSet.STATE_FAILED,
}
# As many as a person reads; the log has the others.
_FAILURES: Final = 100


def _set(found: FormSet, silence: float) -> pb.FormSet:
    return pb.FormSet(
        name=f"integrations/{found.integration}/formSets/{found.version}",
        active=found.active,
        state=_STATES[found.state],
        made_count=found.made,
        total_count=found.total,
        start_time=to_timestamp(found.start_time) if found.start_time else None,
        update_time=to_timestamp(found.update_time) if found.update_time else None,
        problem=found.problem,
        failures=(pb.FormFailure(form=each.id, problem=each.problem) for each in found.failures[:_FAILURES]),
        failure_count=len(found.failures),
        stale_duration=_stale(silence),
    )


def _editor(name: str, found: QueryEditor) -> editor_pb.QueryEditor:
    commands = (
        editor_pb.QueryCommand(
            command=each.command,
            action=each.action,
            form=each.form,
            form_revision=each.form_revision,
            title=each.title,
            description=each.description,
        )
        for each in found.commands
    )
    return editor_pb.QueryEditor(
        name=name,
        version=found.version,
        revision=found.revision,
        commands=commands,
        custom_requests=found.custom_requests,
    )


def _request(found: Request | None) -> editor_pb.CustomRequest | None:
    if found is None:
        return None
    headers = (editor_pb.CustomHeader(name=name, value=value) for name, value in found.headers)
    return editor_pb.CustomRequest(method=found.method, path=found.path, headers=headers, body=found.body)


def _rendered(version: str, found: Rendering, known: str, silence: float) -> pb.RenderFormResponse:
    same = known == found.etag
    return pb.RenderFormResponse(
        version=version,
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
        secrets=(
            pb.SecretPlace(field_id=each.field_id, pointer=each.pointer, submitted_pointer=each.submitted_pointer)
            for each in found.secrets
        ),
        revision=found.revision,
        kept_pointers=found.kept,
    )


def _options(found: Listed) -> pb.ListFormOptionsResponse:
    return pb.ListFormOptionsResponse(
        options=(pb.FormOption(value_json=json_text(value), label=label) for value, label in found.options),
        more=found.more,
        problem=found.problem,
    )


def _owner(workspace: str, integration: str, form: str) -> Owner | None:
    if not workspace:
        return None
    (found,) = parse(workspace, "workspaces/*", field="workspace")
    kind, _, action = form.partition(".")
    if kind != "action":
        raise InvalidFields.one(
            "workspace", "is for actions: SubmitConnectSession puts the values of a scheme into the vault"
        )
    return Owner(found, integration, action)


def _asker() -> str:
    caller = current_caller()
    return f"{caller.actor} {caller.workspace} {caller.environment} {sorted(caller.roles)}"


def _credentials(context: Any) -> Credentials:
    return tuple((name, str(value)) for name, value in headers.sent(context) if name in ("authorization", API_KEY))


async def _told(tag: str, ttl: int, silence: float, context: Any) -> bool:
    """Sends ahead of an answer its tag, how long it may be kept (RFC 9111, RFC 5861) and how old it is already.

    Returns whether the caller has the answer, so that an empty one is to follow, which Envoy does not hand on.
    """
    # Whose forms they are depends on the caller; nobody between may keep them.
    kept = f"private, max-age={ttl}, stale-if-error=86400"
    said = [("cache-control", kept), ("vary", "authorization, accept-language"), ("etag", tag)]
    if silence:
        said.append(("age", str(int(silence))))
    held = is_held(tag, headers.combined(context, "if-none-match"))
    if held:
        said.append((STATUS, str(NOT_MODIFIED)))
    await context.send_initial_metadata(said)
    return held


def _ranges(asked: str, context: Any) -> Ranges:
    return wanted(asked, headers.combined(context, "accept-language"))


def _stale(silence: float) -> Duration | None:
    return to_duration(silence) if silence else None


def _weight(kept: tuple[FormRecord, pb.Form]) -> int:
    return kept[1].ByteSize() + 1000


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
