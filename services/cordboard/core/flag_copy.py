"""A service's copy of the flags: the whole set once, what changes after that, and word to Flags of how far it is."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import grpc

from cordboard.core.channel import failure
from cordboard.core.copies import Copy
from cordboard.core.errors import DependencyUnavailable, DocumentInvalid
from cordboard.core.flagging import FlagSet
from cordboard.core.following import follow
from cordboard.flags.v1.consumer_service_pb2 import FlagConsumerReport, ReportFlagConsumersRequest
from cordboard.flags.v1.consumer_service_pb2_grpc import FlagConsumerServiceStub
from cordboard.flags.v1.flag_service_pb2 import WatchFlagsRequest
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cordboard.core.channel import Channels
    from cordboard.core.flagging import Decision

logger = logging.getLogger(__name__)

# How often it is said that nothing is new, in seconds.
SAY_EVERY: Final = 10.0
SAY_TIMEOUT: Final = 5.0


class FlagCopy:
    """The flags, as the stream of Flags keeps them."""

    def __init__(
        self,
        channels: Channels,
        service: str,
        *,
        max_staleness: float,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the way to Flags, which service this is, after how many seconds without Flags the copy is too old, what
        to call with every change, and the time; `run` has to run.
        """
        self._channels = channels
        self._id = f"{service}-{secrets.token_hex(6)}"
        self._max_staleness = max_staleness
        self._changed = changed
        self._flags: FlagSet | None = None
        self._sequence = 0
        self._heard = False
        self._news = asyncio.Event()
        self.copy = Copy("flags", clock=clock)

    @property
    def flags(self) -> FlagSet:
        """Returns the newest set, as it holds at its age; raises DependencyUnavailable before one has come."""
        if self._flags is None:
            raise DependencyUnavailable("flags")
        return self._flags.when_stale() if self.copy.age() > self._max_staleness else self._flags

    async def run(self) -> None:
        """Keeps the copy current, for ever."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(follow(self.copy, self._watch))
            jobs.create_task(self._say())

    def evaluate(self, key: str, context: Mapping[str, Any]) -> Decision:
        """Returns what a flag gives in a context; raises DependencyUnavailable before a set has come."""
        return self.flags.evaluate(key, context)

    async def _watch(self) -> AsyncIterator[None]:
        stub: Any = FlagServiceStub(self._channels.to("flags"))
        try:
            async for _ in self._changes(stub):
                yield
        finally:
            if self._heard:
                # A stream that says nothing is one without news: the copy ages from its end on.
                self.copy.current()

    async def _changes(self, stub: Any) -> AsyncIterator[None]:
        whole = self._heard = False
        async for message in stub.WatchFlags(WatchFlagsRequest(changes_only=True)):
            self._heard = True
            if message.base_sequence and not (whole and message.base_sequence == self._sequence):
                # What lies between never came: the stream that is opened next begins with the whole set.
                logger.warning("a change of flags is missing", extra={"sequence": message.sequence})
                return
            try:
                self._take(message.flag_configuration, whole=not message.base_sequence)
            except DocumentInvalid:
                # What was known last goes on holding.
                logger.error("a set of flags cannot be read", extra={"sequence": message.sequence})
                whole = False
            else:
                whole, self._sequence = True, message.sequence
                self._news.set()
            self._changed()
            yield

    def _take(self, text: str, *, whole: bool) -> None:
        read = FlagSet.parse(text)
        self._flags = read if whole or self._flags is None else self._flags.joined(read)

    async def _say(self) -> None:
        """Says which change is here: with each one, and every ten seconds."""
        while True:
            try:
                async with asyncio.timeout(SAY_EVERY):
                    await self._news.wait()
            except TimeoutError:
                if self.copy.age() > 0:
                    # Who hears nothing from there has nothing to say.
                    continue
            self._news.clear()
            report = FlagConsumerReport(consumer=self._id, sequence=self._sequence)
            try:
                stub = FlagConsumerServiceStub(self._channels.to("flags"))
                await stub.ReportFlagConsumers(ReportFlagConsumersRequest(reports=[report]), timeout=SAY_TIMEOUT)
            except (grpc.aio.AioRpcError, KeyError) as error:
                logger.info("which flags are here could not be said", extra={"code": failure(error)})
