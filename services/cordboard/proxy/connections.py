"""Leases of connections' credentials: asked for once, kept until they end or the connection changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import grpc

from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.core.channel import Channels
from cordboard.core.copies import Copy
from cordboard.core.errors import CordboardError, DependencyUnavailable, NotFound, ReconnectRequired
from cordboard.core.following import follow
from cordboard.core.secrets import Secret
from cordboard.core.status import details
from cordboard.core.times import to_seconds
from cordboard.core.waiters import Waiters
from cordboard.proxy.credentials import Credential

LEASE_TIMEOUT: Final = 15.0
_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection and its credential."""

    connection: str
    """The connection's resource name."""
    integration: str
    """The integration's slug."""
    environment: str
    auth_scheme: str
    generation: int
    configuration: dict[str, str]
    credential: Credential = field(repr=False)
    expires: float
    """When to lease again, by the monotonic clock."""
    secrets: Secret[Mapping[str, str]] = field(default_factory=lambda: Secret({}))
    """The values of secret config variables."""
    unverified: bool = False
    """Auth waits for the news that the vendor accepts the credential."""


class Connections:
    """The leases that this process holds."""

    def __init__(self, channels: Channels) -> None:
        """Takes the way to Auth; `run` has to run."""
        self._channels = channels
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Lease]] = {}
        self._waiters: Waiters[Lease] = Waiters()
        self._telling: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._sequence = 0

    async def run(self) -> None:
        """Ends leases as their connections change, for ever."""
        await follow(Copy("auth"), self._watch)

    def known(self, connection: str) -> Lease | None:
        """Returns the lease that is held, or None when there is none that is still good."""
        lease = self._leases.get(connection)
        return lease if lease is not None and lease.expires > time.monotonic() else None

    async def lease(self, connection: str, timeout: float) -> Lease:
        """Returns a lease, from Auth when none is held; whoever asks at the same time shares one request.

        It ends when nobody waits for it any more. Raises NotFound, ReconnectRequired or DependencyUnavailable.
        """
        known = self.known(connection)
        if known is not None:
            return known
        task = self._asking.get(connection)
        if task is None:
            task = asyncio.create_task(self._ask(connection))
            self._asking[connection] = task
            task.add_done_callback(lambda done: self._answered(connection, done))
        try:
            # Auth works no longer than the last deadline.
            async with asyncio.timeout(timeout):
                return await self._waiters.result(task, lambda: self._give_up(connection, task))
        except TimeoutError:
            raise DependencyUnavailable("auth") from None

    def accepted(self, lease: Lease) -> None:
        """Tells Auth, in the background and once, that the vendor accepts a credential that Auth was not sure of."""
        if not lease.unverified or (lease.connection, lease.generation) in self._telling:
            return
        key = (lease.connection, lease.generation)
        self._telling[key] = asyncio.create_task(self._tell_accepted(lease))
        self._telling[key].add_done_callback(lambda _: self._telling.pop(key))

    async def _tell_accepted(self, lease: Lease) -> None:
        stub = CredentialServiceStub(self._channels.to("auth"))
        request = pb.ReportCredentialRequest(connection=lease.connection, generation=lease.generation, accepted=True)
        # Where this does not work, the next call of the connection tells it.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.ReportCredential(request, timeout=LEASE_TIMEOUT)

    async def renew(self, lease: Lease, timeout: float) -> Lease:
        """Returns a newer lease than this one, which the vendor refused; raises ReconnectRequired without one."""
        ends = time.monotonic() + timeout
        known = self.known(lease.connection)
        if known is not None and known.generation > lease.generation:
            return known
        self._forget(lease.connection)
        stub = CredentialServiceStub(self._channels.to("auth"))
        request = pb.ReportCredentialRequest(connection=lease.connection, generation=lease.generation)
        try:
            report = await stub.ReportCredential(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error, lease.connection) from None
        ended = report.state == connection_pb.Connection.STATE_RECONNECT_REQUIRED
        if ended or report.generation <= lease.generation:
            raise ReconnectRequired(lease.connection, "rejected")
        known = self.known(lease.connection)
        if known is None or known.generation < report.generation:
            # Whoever leased in the meantime may have been given, or wait for, what was refused.
            self._forget(lease.connection)
        return await self.lease(lease.connection, max(0.0, ends - time.monotonic()))

    async def _ask(self, connection: str) -> Lease:
        stub = CredentialServiceStub(self._channels.to("auth"))
        try:
            answer = await stub.LeaseCredential(pb.LeaseCredentialRequest(connection=connection), timeout=LEASE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error, connection) from None
        now = time.monotonic()
        about = answer.connection
        expires = float("inf")
        if answer.HasField("good_for"):
            # By no clock of ours: one that is ahead would lease for each call, one that is behind use what has ended.
            expires = now + to_seconds(answer.good_for)
        elif answer.HasField("expire_time"):
            expires = now + answer.expire_time.ToNanoseconds() / 1e9 - time.time()
        return Lease(
            connection=connection,
            integration=about.integration.removeprefix("integrations/"),
            environment=about.environment,
            auth_scheme=about.auth_scheme,
            generation=answer.generation,
            configuration=dict(about.configuration),
            credential=Credential(connection, answer),
            expires=expires,
            secrets=Secret(dict(answer.secret_variables)),
            unverified=about.state == connection_pb.Connection.STATE_UNVERIFIED,
        )

    def _give_up(self, connection: str, task: asyncio.Task[Lease]) -> None:
        if self._asking.get(connection) is task:
            del self._asking[connection]

    def _answered(self, connection: str, task: asyncio.Task[Lease]) -> None:
        # One that was forgotten while it was on its way is good for those who wait for it and for nobody else.
        current = self._asking.get(connection) is task
        if current:
            del self._asking[connection]
        # The exception is looked at here, for it may be that nobody waits for it any more.
        if task.cancelled() or task.exception() is not None or not current:
            return
        self._leases[connection] = task.result()
        if len(self._leases) > _KEPT:
            self._leases.popitem(last=False)

    def _forget(self, connection: str) -> None:
        self._leases.pop(connection, None)
        self._asking.pop(connection, None)

    async def _watch(self) -> AsyncIterator[None]:
        stub = CredentialServiceStub(self._channels.to("auth"))
        request = pb.WatchConnectionsRequest(after_sequence=self._sequence)
        if self._sequence == 0:
            # What changed before the stream stands is not told: what is held may be old.
            self._leases.clear()
            self._asking.clear()
        async for change in stub.WatchConnections(request):
            self._sequence = max(self._sequence, change.sequence)
            if change.connection:
                held = self._leases.get(change.connection)
                # Its state can change without its credential, so a lease of the same generation ends too.
                if held is None or change.generation == 0 or held.generation <= change.generation:
                    self._forget(change.connection)
            yield


def _error_of(error: grpc.aio.AioRpcError, connection: str) -> CordboardError:
    code = error.code()
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(connection)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return ReconnectRequired(connection, details(error).info.metadata.get("problem", "rejected"))
    return DependencyUnavailable("auth")
