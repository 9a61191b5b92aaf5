"""Keeps an edge at its hub: connects, proves who it is, answers each envelope, and begins again after every break."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import grpc

from cordboard.catalog.sync import bundle
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.signing import EDGE, labelled, sign
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.statements import CONNECTION_LOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cordboard.catalog.sync.bootstrap import Bootstrap
    from cordboard.catalog.sync.drift_reports import EdgeDrift
    from cordboard.catalog.sync.replica import Replica
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

SHORTEST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 15.0
# Three heartbeats of the hub: who says nothing for so long is not there any more.
SILENCE_SECONDS: Final = 35.0
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('cordboard sync edge'))"


def dial(bootstrap: Bootstrap, address: str = "") -> grpc.aio.Channel:
    """Opens a channel to a hub: where it said it is, or at another address."""
    return grpc.aio.secure_channel(
        address or bootstrap.address,
        grpc.ssl_channel_credentials(bootstrap.authority or None),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


class Follower:
    """Follows a hub. Of several replicas of an edge's Catalog, one does."""

    def __init__(
        self,
        database: Database,
        replica: Replica,
        bootstrap: Bootstrap,
        release: str,
        open_channel: Callable[[], grpc.aio.Channel],
        *,
        drift: EdgeDrift,
        bundle_file: Path | None = None,
    ) -> None:
        """Takes the database, where to put what comes, who this edge is, its release, the way to the hub, what the hub
        is told of drift, and what to begin with before the hub is reached.
        """
        self._database = database
        self._replica = replica
        self._bootstrap = bootstrap
        self._release = release
        self._open_channel = open_channel
        self._drift = drift
        self._bundle = bundle_file
        self.connected = False

    async def run(self) -> None:
        """Follows for ever."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                async with self._alone():
                    await self.begin()
                    while True:
                        if await self._follow_once():
                            pause = SHORTEST_PAUSE
                        # Spread out: the edges of a hub that comes back do not come all at once.
                        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                        pause = min(pause * 2, LONGEST_PAUSE)
            except (*CONNECTION_LOST, asyncpg.PostgresError, DependencyUnavailable) as error:
                logger.warning("the catalog does not follow its hub", extra={"problem": type(error).__name__})
                await asyncio.sleep(SHORTEST_PAUSE * 5)

    async def begin(self) -> None:
        """Begins with the bundle, once: an edge that has anything goes on from that.

        Raises DependencyUnavailable; `run` then begins with it when the database is there.
        """
        if self._bundle is None:
            return
        if not (await self._replica.record()).hash:
            try:
                await self.take_bundle(self._bundle)
            except Rejected as error:
                logger.warning("the bundle was rejected", extra={"reason": error.word, "problem": error.text})
                await self._replica.note(f"the bundle: {error.word}: {error.text}")
        self._bundle = None

    async def take_bundle(self, file: Path) -> int:
        """Applies the bundle in a file and returns how many envelopes it had; one that was applied before changes
        nothing. Raises Rejected.
        """
        count = 0
        with file.open("rb") as opened:
            for message in bundle.messages(opened):
                if message.HasField("challenge"):
                    await self._replica.learn(message.challenge.keys.keys)
                elif message.HasField("envelope"):
                    await self._replica.apply(message.envelope)
                    count += 1
        return count

    async def _follow_once(self) -> bool:
        """Follows until the stream breaks; returns whether anything came. What was there stays whatever happens."""
        came = False
        problem = ""
        try:
            async with self._open_channel() as channel:
                came = await self._converse(channel)
        except grpc.aio.AioRpcError as error:
            problem = f"the hub cannot be reached: {error.code().name}"
            if error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION):
                problem = f"the hub refuses: {error.details()}"
        except TimeoutError:
            problem = "the hub says nothing"
        except Rejected as error:
            problem = f"{error.word}: {error.text}"
        finally:
            self.connected = False
        if problem:
            logger.warning("following was interrupted", extra={"problem": problem})
            await self._replica.note(problem)
        return came

    async def _converse(self, channel: grpc.aio.Channel) -> bool:
        stream: Any = SyncServiceStub(channel).WatchDeltas()
        applied = False
        self._drift.begin()
        try:
            challenge = await _next(stream)
            if challenge is None or not challenge.HasField("challenge"):
                raise Rejected(pb.REJECTION_REASON_UNREADABLE, "the hub does not begin with a challenge")
            if challenge.challenge.hub != self._bootstrap.hub:
                raise Rejected(pb.REJECTION_REASON_HUB_WRONG, "another hub answers at this address")
            await self._replica.learn(challenge.challenge.keys.keys)
            await _tell(stream, pb.WatchDeltasRequest(hello=await self._hello(challenge.challenge.nonce)))
            while (message := await _next(stream)) is not None:
                if message.HasField("keys"):
                    await self._replica.learn(message.keys.keys)
                elif message.HasField("envelope"):
                    answer = await self._judge(message.envelope)
                    await _tell(stream, answer)
                    self.connected = applied = applied or answer.HasField("acknowledgement")
        finally:
            stream.cancel()
        return applied

    async def _hello(self, nonce: bytes) -> pb.Hello:
        record = await self._replica.record()
        bootstrap = self._bootstrap
        text = labelled(EDGE, bootstrap.hub.encode(), bootstrap.edge.encode(), nonce)
        return pb.Hello(
            edge=bootstrap.edge,
            signature=sign(bootstrap.private_key, text),
            epoch=record.epoch,
            sequence=record.sequence,
            hash=record.hash,
            capabilities=record.capabilities,
            release=self._release,
        )

    async def _judge(self, envelope: pb.Envelope) -> pb.WatchDeltasRequest:
        try:
            place = await self._replica.apply(envelope)
        except Rejected as error:
            logger.warning("an envelope was rejected", extra={"reason": error.word, "problem": error.text})
            await self._replica.note(f"{error.word}: {error.text}")
            return pb.WatchDeltasRequest(rejection=pb.Rejection(reason=error.reason, text=error.text))
        drifts = await self._drift.next()
        acknowledged = pb.Acknowledgement(sequence=place.sequence, hash=place.hash, drifts=drifts)
        return pb.WatchDeltasRequest(acknowledgement=acknowledged)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Waits until no other replica of this edge follows, and keeps them from it."""
        connection = await self._database.raw()
        try:
            while not await connection.fetchval(_LOCK):  # noqa: ASYNC110 - the other one is in another process
                await asyncio.sleep(1.0)
            yield
        finally:
            with contextlib.suppress(Exception):
                await asyncio.shield(connection.close(timeout=1))


async def _next(stream: Any) -> pb.WatchDeltasResponse | None:
    async with asyncio.timeout(SILENCE_SECONDS):
        message = await stream.read()
    return None if message is grpc.aio.EOF else message


async def _tell(stream: Any, request: pb.WatchDeltasRequest) -> None:
    # A hub that went away while an envelope was applied cannot be told anything; reading says what became of it.
    with contextlib.suppress(asyncio.InvalidStateError):
        await stream.write(request)
