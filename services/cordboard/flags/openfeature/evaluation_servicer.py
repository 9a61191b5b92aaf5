"""flagd.evaluation.v1 and v2: what clients ask that leave evaluating to the server.

They differ in one thing: v2 can say "no value, take the default of your code", where v1 has only NOT_FOUND for a flag
without default and a zero value for a disabled one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openfeature.schemas.protobuf.flagd.evaluation.v1 import evaluation_pb2 as v1
from openfeature.schemas.protobuf.flagd.evaluation.v1 import evaluation_pb2_grpc as v1_grpc
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2_grpc as v2_grpc

from cordboard.core.caller import current_caller
from cordboard.core.errors import CordboardError, NotFound
from cordboard.core.flagging import DISABLED
from cordboard.core.structs import from_struct, to_struct
from cordboard.core.telemetry import mark_decided
from cordboard.flags.evaluation import context_of, known_of
from cordboard.flags.openfeature.resolution import BOOLEAN, FLOAT, INT, OBJECT, STRING, Resolution, resolution
from cordboard.flags.openfeature.selector import check_selector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.experiments.exposures import Exposures
    from cordboard.flags.openfeature.events import Events
    from cordboard.flags.openfeature.resolution import Kind


class _Evaluations:
    """What both versions share."""

    def __init__(self, live: LiveFlags, events: Events, exposures: Exposures) -> None:
        """Takes the set that holds now, the news of it, and what experiments want to know."""
        self._live = live
        self._events = events
        self._exposures = exposures

    def _resolve(self, request: Any, context: Any, kind: Kind) -> Resolution:
        check_selector(context)
        caller = current_caller()
        known = context_of(caller, from_struct(request.context, "context"))
        found = resolution(self._live.flags, request.flag_key, known, kind)
        mark_decided(request.flag_key, found.variant, found.reason)
        self._exposures.note(caller, request.flag_key, known)
        return found

    async def _messages(self, context: Any, message: Any) -> AsyncIterator[Any]:
        check_selector(context)
        async for event in self._events.stream(known_of(current_caller())):
            yield message(type=event.type, data=to_struct(dict(event.data)) if event.data else None)


class EvaluationV1(_Evaluations, v1_grpc.ServiceServicer):
    """Serves flagd.evaluation.v1."""

    async def ResolveAll(self, request: v1.ResolveAllRequest, context: Any) -> v1.ResolveAllResponse:
        check_selector(context)
        known = context_of(current_caller(), from_struct(request.context, "context"))
        answer = v1.ResolveAllResponse()
        flags = self._live.flags
        for key in flags:
            try:
                found = resolution(flags, key, known)
            except CordboardError:
                # flagd leaves out what it cannot evaluate: the others are not the worse for it.
                continue
            if found.variant is not None:
                _put(answer.flags[key], found)
        return answer

    async def ResolveBoolean(self, request: v1.ResolveBooleanRequest, context: Any) -> v1.ResolveBooleanResponse:
        return v1.ResolveBooleanResponse(**self._answer(request, context, BOOLEAN, False))

    async def ResolveString(self, request: v1.ResolveStringRequest, context: Any) -> v1.ResolveStringResponse:
        return v1.ResolveStringResponse(**self._answer(request, context, STRING, ""))

    async def ResolveFloat(self, request: v1.ResolveFloatRequest, context: Any) -> v1.ResolveFloatResponse:
        return v1.ResolveFloatResponse(**self._answer(request, context, FLOAT, 0.0))

    async def ResolveInt(self, request: v1.ResolveIntRequest, context: Any) -> v1.ResolveIntResponse:
        return v1.ResolveIntResponse(**self._answer(request, context, INT, 0))

    async def ResolveObject(self, request: v1.ResolveObjectRequest, context: Any) -> v1.ResolveObjectResponse:
        answer = self._answer(request, context, OBJECT, {})
        return v1.ResolveObjectResponse(**{**answer, "value": to_struct(answer["value"])})

    async def EventStream(self, _request: v1.EventStreamRequest, context: Any) -> AsyncIterator[v1.EventStreamResponse]:
        async for message in self._messages(context, v1.EventStreamResponse):
            yield message

    def _answer(self, request: Any, context: Any, kind: Kind, zero: Any) -> dict[str, Any]:
        found = self._resolve(request, context, kind)
        if found.variant is None and found.reason != DISABLED:
            raise NotFound(f"flags/{request.flag_key}")
        return {
            "value": zero if found.variant is None else found.value,
            "variant": found.variant or "",
            "reason": found.reason,
            "metadata": to_struct(dict(found.metadata)),
        }


class EvaluationV2(_Evaluations, v2_grpc.ServiceServicer):
    """Serves flagd.evaluation.v2."""

    async def ResolveBoolean(self, request: v2.ResolveBooleanRequest, context: Any) -> v2.ResolveBooleanResponse:
        return v2.ResolveBooleanResponse(**self._answer(request, context, BOOLEAN))

    async def ResolveString(self, request: v2.ResolveStringRequest, context: Any) -> v2.ResolveStringResponse:
        return v2.ResolveStringResponse(**self._answer(request, context, STRING))

    async def ResolveFloat(self, request: v2.ResolveFloatRequest, context: Any) -> v2.ResolveFloatResponse:
        return v2.ResolveFloatResponse(**self._answer(request, context, FLOAT))

    async def ResolveInt(self, request: v2.ResolveIntRequest, context: Any) -> v2.ResolveIntResponse:
        return v2.ResolveIntResponse(**self._answer(request, context, INT))

    async def ResolveObject(self, request: v2.ResolveObjectRequest, context: Any) -> v2.ResolveObjectResponse:
        answer = self._answer(request, context, OBJECT)
        if "value" in answer:
            answer["value"] = to_struct(answer["value"])
        return v2.ResolveObjectResponse(**answer)

    async def EventStream(self, _request: v2.EventStreamRequest, context: Any) -> AsyncIterator[v2.EventStreamResponse]:
        async for message in self._messages(context, v2.EventStreamResponse):
            yield message

    def _answer(self, request: Any, context: Any, kind: Kind) -> dict[str, Any]:
        found = self._resolve(request, context, kind)
        answer: dict[str, Any] = {"reason": found.reason, "metadata": to_struct(dict(found.metadata))}
        if found.variant is not None:
            answer |= {"value": found.value, "variant": found.variant}
        return answer


def _put(flag: v1.AnyFlag, found: Resolution) -> None:
    flag.reason = found.reason
    flag.variant = found.variant or ""
    flag.metadata.CopyFrom(to_struct(dict(found.metadata)))
    value = found.value
    if isinstance(value, bool):
        flag.bool_value = value
    elif isinstance(value, str):
        flag.string_value = value
    elif isinstance(value, (int, float)):
        flag.double_value = value
    elif isinstance(value, dict):
        flag.object_value.CopyFrom(to_struct(value))
