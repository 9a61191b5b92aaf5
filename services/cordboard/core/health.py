"""What `grpc.health.v1.Health` answers: not serving until every check has passed once, and never again at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_Answer = health_pb2.HealthCheckResponse
MAX_ECHO: Final = 200


class Health(health_pb2_grpc.HealthServicer):
    """Serves Health. The library's own aborts calls by itself, and writes its stream in a shape the layers have not."""

    def __init__(self) -> None:
        """Begins as not serving; the empty name stands for the whole process."""
        self._statuses = {"": _Answer.NOT_SERVING}
        self._changed = asyncio.Event()
        self._ended = False

    def tell(self, names: Iterable[str], *, serving: bool) -> None:
        """Sets the status of these services."""
        if not self._ended:
            self._set(names, _Answer.SERVING if serving else _Answer.NOT_SERVING)

    def end(self) -> None:
        """Makes every service not serving, for good."""
        self._ended = True
        self._set(tuple(self._statuses), _Answer.NOT_SERVING)

    def _set(self, names: Iterable[str], status: Any) -> None:
        self._statuses.update(dict.fromkeys(names, status))
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, _context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
        """Returns the status of a service; raises NotFound."""
        status = self._statuses.get(request.service)
        if status is None:
            raise NotFound(request.service[:MAX_ECHO])
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
