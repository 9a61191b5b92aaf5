"""Actions run by the Proxy, with the caller's own token: whoever may not run an action sees no choices of it either."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import grpc

from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from cordboard.uqi.options import Items
from cordboard.uqi.texts import clean

if TYPE_CHECKING:
    from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceAsyncStub
    from cordboard.uqi.options import Call, Credentials

# A person waits in front of a list.
MOST_SECONDS: Final = 10.0
MOST_PAGES: Final = 10
_REASON: Final = 300


class ProxiedActions:
    """Runs actions through the Proxy."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel] | None) -> None:
        """Takes what returns the channel to use now; None where this process knows no Proxy."""
        self._channel = channel

    async def items(self, call: Call, credentials: Credentials, limit: int) -> Items:
        """Returns the first `limit` items or somewhat more; never raises what the vendor or the Proxy says."""
        if self._channel is None:
            return Items(runs_nothing=True)
        request = pb.ExecuteStreamRequest(
            connection=call.connection,
            action=call.action,
            input_json=call.input_json,
            max_pages=MOST_PAGES,
            output_format=pb.OUTPUT_FORMAT_JSON,
        )
        stub: ProxyServiceAsyncStub = ProxyServiceStub(self._channel())
        found: list[Any] = []
        pages = 0
        stream = stub.ExecuteStream(request, timeout=MOST_SECONDS, metadata=credentials)
        try:
            async for page in stream:
                found += json.loads(page.items_json or "[]")
                pages += 1
                if len(found) >= limit:
                    break
        except grpc.aio.AioRpcError as error:
            return Items(problem=clean(error.details() or error.code().name, _REASON))
        finally:
            stream.cancel()
        return Items(tuple(found), more=len(found) >= limit or pages == MOST_PAGES)
