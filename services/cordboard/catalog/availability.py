"""Which integrations a workspace may use: decided here by the flags that decide it in the Proxy."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cordboard.core.copies import Copy
from cordboard.core.errors import DependencyUnavailable, DocumentInvalid, InvalidFields
from cordboard.core.flagging import FlagSet, integration_key, is_on
from cordboard.core.following import follow
from cordboard.flags.v1.flag_service_pb2 import WatchFlagsRequest
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cordboard.core.caller import Caller
    from cordboard.core.channel import Channels

logger = logging.getLogger(__name__)


class Availability:
    """The whole set of flags, and what it says of integrations."""

    def __init__(self, channels: Channels) -> None:
        """Takes the way to Flags; `run` has to run."""
        self._channels = channels
        self._flags: FlagSet | None = None
        self._copy = Copy("flags")

    async def run(self) -> None:
        """Keeps the copy current, for ever."""
        await follow(self._copy, self._watch)

    def of(self, caller: Caller) -> Callable[[str], bool]:
        """Returns what tells, by slug, whether the caller's workspace may use an integration in its environment.

        Raises InvalidFields for a caller without a workspace, and DependencyUnavailable before a set of flags has come.
        """
        if not caller.workspace:
            raise InvalidFields.one("available_only", "needs the token of a workspace")
        flags = self._flags
        if flags is None:
            raise DependencyUnavailable("flags")
        context = {
            "targetingKey": caller.workspace,
            "workspace": caller.workspace,
            "customer": caller.customer,
            "tier": caller.tier,
            "region": caller.region,
            "environment": caller.environment,
        }
        return lambda slug: is_on(flags.evaluate(integration_key(slug), context))

    async def _watch(self) -> AsyncIterator[None]:
        stub = FlagServiceStub(self._channels.to("flags"))
        async for message in stub.WatchFlags(WatchFlagsRequest()):
            try:
                self._flags = FlagSet.parse(message.flag_configuration)
            except DocumentInvalid:
                # What was known last goes on holding.
                logger.error("a set of flags cannot be read", extra={"sequence": message.sequence})
            yield
