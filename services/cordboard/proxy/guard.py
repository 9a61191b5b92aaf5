"""What a request passes before it goes to a vendor: the breakers of where it goes, and the limits that it draws on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cordboard.core.errors import CordboardError, DeadlineExceeded, LimitExceeded
from cordboard.proxy.breakers.standing import Cause, Key
from cordboard.proxy.quotas.quotas import LONGEST_WAIT
from cordboard.proxy.stages import GUARD

if TYPE_CHECKING:
    from cordboard.proxy.breakers.breaker import Ticket
    from cordboard.proxy.breakers.breakers import Breakers
    from cordboard.proxy.breakers.health import Health
    from cordboard.proxy.calls import Call
    from cordboard.proxy.connections import Lease
    from cordboard.proxy.quotas.bucket import Draw
    from cordboard.proxy.quotas.quotas import Quotas


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request goes, and as whom."""

    host: str
    action: str
    lease: Lease

    @property
    def vendor(self) -> Key:
        """Names the breaker of the whole host."""
        return Key(self.lease.integration, self.host, Cause.VENDOR)

    @property
    def endpoint(self) -> Key:
        """Names the breaker of the action alone."""
        return Key(self.lease.integration, self.host, Cause.ENDPOINT, self.action)

    @property
    def credential(self) -> Key:
        """Names the breaker of the connection's credential."""
        return Key(self.lease.integration, "", Cause.CREDENTIAL, connection=self.lease.connection)

    @property
    def quota(self) -> Key:
        """Names the breaker of what the vendor lets the connection call no more."""
        return Key(self.lease.integration, "", Cause.QUOTA, self.action, self.lease.connection)


@dataclass(slots=True)
class Passage:
    """One request's way through. It ends with one `note` and one `shown`."""

    way: Way
    breakers: Breakers
    health: Health
    tickets: list[Ticket] = field(default_factory=list)

    def note(self, *, healthy: bool | None) -> None:
        """Says what the request showed of the vendor's health; None: nothing."""
        tickets = [one for one in self.tickets if one.breaker.key.cause is not Cause.CREDENTIAL]
        for ticket in tickets:
            _settle(ticket, healthy)
        if tickets or healthy is None or self.breakers.standing_against((self.way.vendor, self.way.endpoint)):
            # What was sent before a breaker opened says nothing about now.
            return
        down = self.health.count(self.way.action, failed=not healthy)
        if down is not None:
            self.breakers.trip(self.way.vendor if down is Cause.VENDOR else self.way.endpoint)

    def shown(self, *, accepted: bool | None) -> None:
        """Says whether the vendor took the credential; None: the request showed nothing of it."""
        for ticket in self.tickets:
            if ticket.breaker.key.cause is Cause.CREDENTIAL:
                _settle(ticket, accepted)
        if accepted:
            self.breakers.accepted(self.way.lease.connection)
        elif accepted is False:
            self.rejected()

    def rejected(self) -> None:
        """Says that the vendor refused the credential, and that there is no other one."""
        self.breakers.rejected(self.way.credential, self.way.lease.generation)

    def left(self) -> None:
        """Says that the request ended without showing anything."""
        self.note(healthy=None)
        self.shown(accepted=None)

    def limited(self, seconds: float) -> None:
        """Says that the vendor wants no more of these calls for so many seconds."""
        self.breakers.trip(self.way.quota, seconds=min(seconds, self.breakers.longest_rest))


class Guard:
    """Lets requests through."""

    def __init__(self, breakers: Breakers, quotas: Quotas) -> None:
        """Takes the breakers and the limits of this process."""
        self._breakers = breakers
        self.quotas = quotas

    async def enter(self, call: Call, way: Way, draw: Draw) -> Passage:
        """Returns when the request may go, within the call's deadline.

        Raises BreakerOpen, LimitExceeded, ReconnectRequired and DeadlineExceeded.
        """
        breakers = self._breakers
        passage = Passage(way, breakers, breakers.health(way.lease.integration, way.host, call.order.workspace))
        breakers.renewed(way.credential, way.lease.generation)
        # Before anything is taken or waited for.
        for against in breakers.standing_against((way.vendor, way.endpoint, way.credential)):
            against.check()
        await self._rested(call, way)
        if draw.buckets:
            with call.stages.working(GUARD):
                await self.quotas.take(draw, call.left, yielding=call.order.background)
        try:
            if call.left() <= 0:
                raise DeadlineExceeded("sending the request")
            held = breakers.standing_against((way.vendor, way.endpoint, way.credential))
            if held:
                passage.tickets += await breakers.enter(held)
                if call.left() <= 0:
                    passage.left()
                    raise DeadlineExceeded("sending the request")
        except CordboardError:
            self.quotas.give_back(draw, yielding=call.order.background)
            raise
        return passage

    async def _rested(self, call: Call, way: Way) -> None:
        """Waits until the vendor takes such calls again, where there is time for that."""
        for against in self._breakers.standing_against((way.quota,)):
            try:
                against.check()
            except LimitExceeded as error:
                wait = error.retry_after or 0.0
                if wait > LONGEST_WAIT or wait >= call.left():
                    raise
                await asyncio.sleep(wait)


def _settle(ticket: Ticket, well: bool | None) -> None:
    if well is None:
        ticket.breaker.left(ticket)
    elif well:
        ticket.breaker.succeeded(ticket)
    else:
        ticket.breaker.failed(ticket)
