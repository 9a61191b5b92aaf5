"""What is judged: the mesh's own evaluation, and an unmodified provider on the mesh's servers of flagd's protocols."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import grpc
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import add_ServiceServicer_to_server
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import add_FlagSyncServiceServicer_to_server

from cordboard.core.access import SERVICES
from cordboard.core.caller import OPERATOR, Caller, set_caller
from cordboard.core.errors import CordboardError, FlagBroken, InvalidFields, NotFound
from cordboard.core.flagging import FlagSet, RuleBroken, inlined
from cordboard.core.status import code_of
from cordboard.core.times import SystemClock
from cordboard.flags.consumers.consumers import Consumers
from cordboard.flags.consumers.store import ConsumerStore
from cordboard.flags.evaluation import LiveFlags, Snapshot
from cordboard.flags.experiments.exposures import Exposures
from cordboard.flags.openfeature.evaluation_servicer import EvaluationV2
from cordboard.flags.openfeature.events import Events
from cordboard.flags.openfeature.resolution import BOOLEAN, FLOAT, INT, OBJECT, STRING, resolution
from cordboard.flags.openfeature.sync_servicer import FlagSync
from tests.conformance.steps import Answer

KINDS: Final = {"Boolean": BOOLEAN, "String": STRING, "Integer": INT, "Float": FLOAT, "Object": OBJECT}


class Evaluator:
    """The mesh's own evaluation, in process."""

    def __init__(self, configuration: str) -> None:
        """Takes flagd JSON."""
        self._flags = FlagSet.parse(configuration)

    def evaluate(self, kind: str, key: str, default: Any, context: Mapping[str, Any]) -> Answer:
        """Returns what the flag gives, as a client would say it."""
        try:
            found = resolution(self._flags, key, context, KINDS[kind])
        except NotFound:
            return Answer(default, reason="ERROR", error="FLAG_NOT_FOUND")
        except InvalidFields:
            return Answer(default, reason="ERROR", error="TYPE_MISMATCH")
        except FlagBroken:
            return Answer(default, reason="ERROR", error="PARSE_ERROR")
        except CordboardError:
            return Answer(default, reason="ERROR", error="GENERAL")
        value = default if found.variant is None else found.value
        return Answer(value, found.variant, found.reason, None, found.metadata)


class Provider:
    """An OpenFeature client with a provider."""

    def __init__(self, client: OpenFeatureClient) -> None:
        """Takes the client."""
        self._client = client

    def evaluate(self, kind: str, key: str, default: Any, context: Mapping[str, Any]) -> Answer:
        """Returns what the flag gives to a program that uses the provider."""
        attributes = {name: value for name, value in context.items() if name != "targetingKey"}
        known = EvaluationContext(context.get("targetingKey"), attributes)
        ask = getattr(self._client, f"get_{kind.lower()}_details")
        found = ask(key, default, known)
        reason = None if found.reason is None else str(found.reason)
        error = None if found.error_code is None else str(found.error_code.value)
        return Answer(found.value, found.variant, reason, error, found.flag_metadata)


@contextlib.asynccontextmanager
async def serving(configuration: str) -> AsyncIterator[int]:
    """Serves flagd's protocols with these flags by the servicers of the mesh; yields the port.

    Whoever asks is an operator, for whom what a request claims counts: the suites claim all there is to know.
    """
    live, exposures = cast("LiveFlags", _Still(configuration)), cast("Exposures", _NoExperiment())
    consumers = Consumers(cast("ConsumerStore", None), live, SystemClock())
    server = grpc.aio.server(interceptors=[_AsOperator()])
    add_ServiceServicer_to_server(EvaluationV2(live, Events(live, consumers), exposures), server)
    add_FlagSyncServiceServicer_to_server(FlagSync(live, consumers), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def connect(port: int, mode: ResolverType) -> Provider:
    """Returns a subject with the unmodified provider; blocks until it is ready."""
    api.set_provider_and_wait(FlagdProvider(host="127.0.0.1", port=port, resolver_type=mode, deadline_ms=10_000))
    return Provider(api.get_client())


class _NoExperiment:
    """Nothing that would want to know who got which variant."""

    def note(self, *_: Any) -> None:
        """Notes nothing."""


class _Still:
    """A set of flags that never changes, in the place of the one that follows the database."""

    def __init__(self, configuration: str) -> None:
        document = json.loads(configuration)
        evaluators = document.get("$evaluators", {})
        texts = {}
        for key, flag in document["flags"].items():
            # A rule that refers to nothing is broken for whoever evaluates it.
            with contextlib.suppress(RuleBroken):
                if "targeting" in flag:
                    flag["targeting"] = inlined(flag["targeting"], evaluators)
            texts[key] = json.dumps(flag)
        self.flags = FlagSet.parse(configuration)
        self.snapshot = Snapshot(1, self.flags, texts)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        yield self.snapshot
        await self.snapshot.superseded.wait()


class _AsOperator(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler and grpc.unary_stream_rpc_method_handler(
                self._streaming(handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )

    @staticmethod
    def _enter() -> None:
        set_caller(Caller(peer=SERVICES[0], roles=frozenset({OPERATOR})))

    def _unary(self, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            self._enter()
            try:
                return await behaviour(request, context)
            except CordboardError as error:
                await context.abort(code_of(error), error.text)

        return call

    def _streaming(self, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            self._enter()
            async for message in behaviour(request, context):
                yield message

        return call
