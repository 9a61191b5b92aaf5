"""Channels to other services: mutual TLS, traces, and a new channel when our certificate was replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation import set_span_in_context

from cordboard.core.liveness import KEEPALIVE
from cordboard.core.telemetry import HELD, mark_failed, propagator, tracer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cordboard.core.identity import Identity

# Definitions of large APIs travel whole.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
# How long a channel with a replaced certificate stays open for its streams, in seconds: longer than any server keeps a
# connection (an hour, see core.server), so that what closes here is idle and no watcher is cut off by our own hand.
RETIRE_AFTER: Final = 7_200.0


def failure(error: grpc.aio.AioRpcError | KeyError) -> str:
    """Returns the status with which a call over one of these channels failed; KeyError is what `to` raises."""
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else "NO_ADDRESS"


class Channels:
    """The services that this one may call, by name."""

    def __init__(self, identity: Identity, addresses: Mapping[str, str]) -> None:
        """Takes who we are and where the others are: name to HOST:PORT."""
        self._identity = identity
        self._addresses = addresses
        self._open: dict[str, tuple[str, grpc.aio.Channel]] = {}
        self._retired: set[asyncio.Task[None]] = set()

    def to(self, service: str) -> grpc.aio.Channel:
        """Returns a channel to a service, for use now: ask again for the next call, for certificates change."""
        material = self._identity.current()
        known = self._open.get(service)
        if known is not None and known[0] == material.version:
            return known[1]
        if known is not None:
            task = asyncio.create_task(self._retire(known[1]))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        channel = grpc.aio.secure_channel(
            self._addresses[service],
            grpc.ssl_channel_credentials(material.ca, material.key, material.certificate),
            options=[
                # The address may be an IP; the certificate names the service.
                ("grpc.ssl_target_name_override", f"{service}.cordboard.internal"),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.enable_retries", 0),
                *KEEPALIVE,
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1_000),
                # Channels of one process share connections by default: a replaced certificate must not.
                ("grpc.use_local_subchannel_pool", 1),
            ],
            interceptors=[_UnarySpans(), _StreamSpans()],
        )
        self._open[service] = (material.version, channel)
        return channel

    async def close(self) -> None:
        """Closes every channel."""
        for task in list(self._retired):
            task.cancel()
        for _, channel in self._open.values():
            await channel.close()

    @staticmethod
    async def _retire(channel: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(RETIRE_AFTER)
        finally:
            await channel.close()


def _prepared(details: grpc.aio.ClientCallDetails) -> tuple[Any, grpc.aio.ClientCallDetails]:
    raw = details.method
    method = (raw.decode() if isinstance(raw, bytes) else raw).lstrip("/")
    opened = tracer().start_span(
        method,
        kind=SpanKind.CLIENT,
        attributes={"rpc.system.name": "grpc", "rpc.method": method},
    )
    carrier: dict[str, str] = {}
    propagator.inject(carrier, context=set_span_in_context(opened))
    if not opened.get_span_context().trace_flags.sampled and opened.is_recording():
        # The flag alone would say that nobody records it.
        carrier[HELD[0]] = HELD[1]
    metadata = grpc.aio.Metadata(*(tuple(details.metadata or ())), *carrier.items())
    return opened, details._replace(metadata=metadata)  # type: ignore[attr-defined]


class _UnarySpans(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        opened, details = _prepared(client_call_details)
        call: Any = None
        try:
            call = await continuation(details, request)
            code = await call.code()
        except BaseException as error:
            if call is not None:
                # Whoever waited has gone. The library does not tell the other side, which would work on.
                call.cancel()
            mark_failed(opened, error)
            opened.end()
            raise
        opened.set_attribute("rpc.response.status_code", code.name)
        if code is not grpc.StatusCode.OK:
            opened.set_attribute("error.type", code.name)
        opened.end()
        return call


class _StreamSpans(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> AsyncIterator[Any]:
        # A watch lives for hours: its span covers the opening, and what it delivers belongs to other traces.
        opened, details = _prepared(client_call_details)
        try:
            return await continuation(details, request)  # type: ignore[no-any-return]
        finally:
            opened.end()
