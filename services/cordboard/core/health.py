"""What `grpc.health.v1.Health` answers: not serving until every check has passed once, and never again at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_Answer = health_pb2.HealthCheckResponse
MAX_ECHO: Final = 200
# Whoever has not asked for so long asks no more: Envoy asks twice a second, and every two where it sends no calls.
ASKS_WITHIN: Final = 3.0
# How long after the answer a call may still be on its way: one that was sent before it was read.
ON_ITS_WAY: Final = 0.25


class Health(health_pb2_grpc.HealthServicer):
    """Serves Health. The library's own aborts calls by itself, and writes its stream in a shape the layers have not."""

    def __init__(self) -> None:
        """Begins as not serving; the empty name stands for the whole process."""
        self._statuses: dict[str, Any] = {"": _Answer.NOT_SERVING}
        self._changed = asyncio.Event()
        self._ended = False
        # When each peer asked last, and those of them that have been told of the end.
        self._asked: dict[str, float] = {}
        self._told: set[str] = set()

    @property
    def serving(self) -> bool:
        """Whether the whole process serves."""
        return bool(self._statuses[""] == _Answer.SERVING)

    def tell(self, names: Iterable[str], *, serving: bool) -> None:
        """Sets the status of these services."""
        if not self._ended:
            self._set(names, _Answer.SERVING if serving else _Answer.NOT_SERVING)

    def end(self) -> None:
        """Makes every service not serving, for good."""
        self._ended = True
        self._set(tuple(self._statuses), _Answer.NOT_SERVING)

    async def noticed(self, within: float) -> None:
        """Returns when everybody who asks again and again has heard of the end, or after `within` seconds."""
        since = time.monotonic() - ASKS_WITHIN
        waited_for = {peer for peer, asked in self._asked.items() if asked > since}
        if not waited_for:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                # Every one of their questions is an event, and there are few.
                while not waited_for <= self._told:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                await asyncio.sleep(ON_ITS_WAY)

    def _note(self, peer: str) -> None:
        now = time.monotonic()
        if self._ended:
            self._told.add(peer)
        elif peer not in self._asked:
            # Somebody new, which is rare: the time to forget who has gone.
            self._asked = {known: asked for known, asked in self._asked.items() if asked > now - ASKS_WITHIN}
        self._asked[peer] = now

    def _set(self, names: Iterable[str], status: Any) -> None:
        self._statuses.update(dict.fromkeys(names, status))
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
        """Returns the status of a service; raises NotFound."""
        status = self._statuses.get(request.service)
        if status is None:
            raise NotFound(request.service[:MAX_ECHO])
        if not request.service and context is not None:
            self._note(context.peer())
        return _Answer(status=status)

    async def List(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Returns the status of every service, as a HealthListResponse, which the package's types do not know yet."""
        statuses = {name: _Answer(status=status) for name, status in self._statuses.items()}
        return health_pb2.HealthListResponse(statuses=statuses)  # type: ignore[attr-defined]

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, _context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yields the status of a service now and after each change; SERVICE_UNKNOWN for a name that is none."""
        last = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _Answer.SERVICE_UNKNOWN)
            if status != last:
                last = status
                yield _Answer(status=status)
            await changed.wait()
