"""BreakerService: messages in, one call of the domain, messages out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cordboard.core.caller import current_caller
from cordboard.core.times import Clock
from cordboard.proxy.breakers.breakers import Breakers
from cordboard.proxy.breakers.messages import to_breaker, to_key, to_slug
from cordboard.proxy.breakers.override import Overrides
from cordboard.proxy.v1 import breaker_service_pb2 as pb
from cordboard.proxy.v1.breaker_service_pb2_grpc import BreakerServiceServicer
from cordboard.proxy.v1.proxy_service_pb2 import Breaker


class BreakerServicer(BreakerServiceServicer):
    """Serves BreakerService."""

    def __init__(self, breakers: Breakers, overrides: Overrides, clock: Clock) -> None:
        """Takes the parts that do the work."""
        self._breakers = breakers
        self._overrides = overrides
        self._clock = clock

    async def WatchBreakers(
        self, request: pb.WatchBreakersRequest, context: Any
    ) -> AsyncIterator[pb.WatchBreakersResponse]:
        """Streams breakers as they change."""
        caller, slug = current_caller(), to_slug(request.integration)
        workspace = None if caller.is_operator else caller.workspace
        async with contextlib.aclosing(self._breakers.watch(workspace=workspace, integration=slug)) as changes:
            async for changed in changes:
                yield pb.WatchBreakersResponse(breakers=[to_breaker(one, self._clock.now()) for one in changed])

    async def OverrideBreaker(self, request: pb.OverrideBreakerRequest, context: Any) -> Breaker:
        """Overrides a breaker."""
        key, override = to_key(request)
        return to_breaker(await self._overrides.put(key, override, request.reason), self._clock.now())
