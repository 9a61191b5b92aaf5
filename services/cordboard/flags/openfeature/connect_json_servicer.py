"""ConnectJsonService: messages in, one call of flagd's services, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api.httpbody_pb2 import HttpBody
from openfeature.schemas.protobuf.flagd.evaluation.v1 import evaluation_pb2 as v1
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2

from cordboard.core.errors import CordboardError, MethodUnknown
from cordboard.core.status import code_of, text_of
from cordboard.flags.openfeature import connect_json
from cordboard.flags.openfeature.ofrep_servicer import sent
from cordboard.flags.v1 import connect_json_service_pb2 as pb
from cordboard.flags.v1.connect_json_service_pb2_grpc import ConnectJsonServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.descriptor import ServiceDescriptor

    from cordboard.flags.openfeature.evaluation_servicer import EvaluationV1, EvaluationV2


class ConnectJsonServicer(ConnectJsonServiceServicer):
    """Answers who sends JSON to flagd's services."""

    def __init__(self, first: EvaluationV1, second: EvaluationV2) -> None:
        """Takes what answers flagd.evaluation.v1, and v2."""
        described = ((v1, first), (v2, second))
        services = ((file.DESCRIPTOR.services_by_name["Service"], servicer) for file, servicer in described)
        self._services: dict[str, tuple[ServiceDescriptor, Any]] = {each[0].full_name: each for each in services}

    async def EvaluateFlagd(self, request: pb.EvaluateFlagdRequest, context: Any) -> HttpBody:
        try:
            service, servicer = self._service(request.service)
            message = connect_json.message_of(service, request.method, request.body.data)
            answer = connect_json.answered(await getattr(servicer, request.method)(message, context))
        except CordboardError as error:
            answer = connect_json.refused(*_said(error))
        return await sent(answer, context)

    async def WatchFlagd(self, request: pb.WatchFlagdRequest, context: Any) -> AsyncIterator[HttpBody]:
        try:
            _, servicer = self._service(request.service)
            async for message in servicer.EventStream(None, context):
                yield _part(connect_json.enveloped(message))
        except CordboardError as error:
            yield _part(connect_json.ended(*_said(error)))

    def _service(self, name: str) -> tuple[ServiceDescriptor, Any]:
        found = self._services.get(name)
        if found is None:
            raise MethodUnknown(name[:200])
        return found


def _said(error: CordboardError) -> tuple[str, str]:
    return code_of(error).name.lower(), text_of(error)


def _part(data: bytes) -> HttpBody:
    return HttpBody(content_type=connect_json.STREAM_TYPE, data=data)
