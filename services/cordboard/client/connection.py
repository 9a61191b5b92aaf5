"""One connection to a mesh, through Envoy: the stubs, a default deadline, the token, and our errors for gRPC's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import grpc

from cordboard.client.errors import from_rpc
from cordboard.client.stubs import Stubs
from cordboard.proxy.v1 import proxy_service_pb2 as proxy

DEFAULT_TIMEOUT: Final = 30.0
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

TokenSource = str | Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Result:
    """What an action gave."""

    output: Any
    """The output as Python values, exact: the vendor's JSON, or bytes where it is no JSON."""
    vendor_status: int
    call: proxy.CallSummary
    stale: str = ""
    """Which sources the mesh could not ask, and how old the copies are that it used, in seconds, such as
    `catalog;age=12`; empty when everything was current.
    """


def staleness(trailers: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Returns what the trailers of an answer say of copies that were not current; empty when nothing."""
    return next((str(value) for key, value in trailers or () if key == "cordboard-stale"), "")


class Client(Stubs):
    """A connection to a mesh. Errors are those of `cordboard.client.errors`."""

    def __init__(
        self,
        address: str,
        *,
        token: TokenSource = "",
        ca_file: str | Path | None = None,
        identity_dir: str | Path | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        traceparent: Callable[[], str] | None = None,
    ) -> None:
        """Takes Envoy's HOST:PORT, a token or a coroutine function that gives the current one, and the certificate
        authority to trust (None: the system's).

        `identity_dir` holds `tls.crt` and `tls.key`, a client certificate of the mesh to show: a token that is bound to
        one (RFC 8705) is worth nothing without it. `timeout` is the deadline, in seconds, of calls that set none.
        `traceparent` gives the W3C header of the trace that calls belong to.
        """
        self._token = token
        self._timeout = timeout
        self._traceparent = traceparent
        self._channel = grpc.aio.secure_channel(
            address,
            _credentials(ca_file, identity_dir),
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.enable_retries", 0),
                # A connection that the network has lost is given up after ten seconds, and not after a minute; an
                # attempt to connect, after five.
                ("grpc.keepalive_time_ms", 5_000),
                ("grpc.keepalive_timeout_ms", 5_000),
                ("grpc.http2.ping_timeout_ms", 5_000),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.min_reconnect_backoff_ms", 5_000),
                ("grpc.max_reconnect_backoff_ms", 5_000),
                ("grpc.use_local_subchannel_pool", 1),
            ],
            interceptors=[_Unary(self), _Streams(self), _Uploads(self), _BothWays(self)],
        )
        super().__init__(self._channel)

    async def __aenter__(self) -> Self:
        """Returns the client; it connects with the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def execute(
        self,
        connection: str,
        action: str,
        input: dict[str, Any] | None = None,  # noqa: A002 - the field's name
        *,
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Result:
        """Runs an action of a connection and returns what it gave."""
        call: Any = self.proxy.Execute(
            proxy.ExecuteRequest(
                connection=connection,
                action=action,
                input_json=json.dumps(input or {}),
                idempotency_key=idempotency_key,
                output_format=proxy.OUTPUT_FORMAT_JSON,
            ),
            timeout=timeout,
        )
        answer: proxy.ExecuteResponse = await call
        stale = staleness(await call.trailing_metadata())
        if answer.WhichOneof("payload") == "output_bytes":
            return Result(answer.output_bytes, answer.vendor_status, answer.call, stale)
        return Result(json.loads(answer.output_json or "null"), answer.vendor_status, answer.call, stale)

    async def pages(
        self,
        connection: str,
        action: str,
        input: dict[str, Any] | None = None,  # noqa: A002 - the field's name
        *,
        max_pages: int = 0,
    ) -> AsyncIterator[list[Any]]:
        """Runs a paged action and yields each page's items as they come."""
        request = proxy.ExecuteStreamRequest(
            connection=connection,
            action=action,
            input_json=json.dumps(input or {}),
            max_pages=max_pages,
            output_format=proxy.OUTPUT_FORMAT_JSON,
        )
        async for page in self.proxy.ExecuteStream(request):
            yield json.loads(page.items_json or "[]")

    async def details(self, details: grpc.aio.ClientCallDetails, *, bounded: bool) -> grpc.aio.ClientCallDetails:
        """Returns a call's details with the token, the trace and, where asked, the default deadline."""
        added = []
        token = self._token if isinstance(self._token, str) else await self._token()
        if token:
            added.append(("authorization", f"Bearer {token}"))
        if self._traceparent is not None and (traceparent := self._traceparent()):
            added.append(("traceparent", traceparent))
        timeout = self._timeout if bounded and details.timeout is None else details.timeout
        metadata = grpc.aio.Metadata(*(tuple(details.metadata or ())), *added)
        return cast(
            "grpc.aio.ClientCallDetails",
            details._replace(metadata=metadata, timeout=timeout),  # type: ignore[attr-defined]
        )


def _credentials(ca_file: str | Path | None, identity_dir: str | Path | None) -> grpc.ChannelCredentials:
    roots = Path(ca_file).read_bytes() if ca_file is not None else None
    if identity_dir is None:
        return grpc.ssl_channel_credentials(roots)
    key, certificate = ((Path(identity_dir) / name).read_bytes() for name in ("tls.key", "tls.crt"))
    return grpc.ssl_channel_credentials(roots, key, certificate)


class _Unary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, client: Client) -> None:
        self._client = client

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        call = await continuation(await self._client.details(client_call_details, bounded=True), request)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        # Not its answer: whoever asks also gets at what came with it.
        return call


class _Streams(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, client: Client) -> None:
        self._client = client

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        call = await continuation(await self._client.details(client_call_details, bounded=False), request)
        return _answers(call)


class _Uploads(grpc.aio.StreamUnaryClientInterceptor):
    def __init__(self, client: Client) -> None:
        self._client = client

    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        # gRPC takes no answer from this interceptor, only the call: its error stays gRPC's own.
        return await continuation(await self._client.details(client_call_details, bounded=False), request_iterator)


class _BothWays(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, client: Client) -> None:
        self._client = client

    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        call = await continuation(await self._client.details(client_call_details, bounded=False), request_iterator)
        return _answers(call)


async def _answers(call: Any) -> AsyncIterator[Any]:
    try:
        async for answer in call:
            yield answer
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
    finally:
        # Nobody reads on: the mesh need not go on fetching.
        call.cancel()
