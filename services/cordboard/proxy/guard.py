"""What a request passes before it goes to a vendor: the breaker of where it goes, and the limits that it draws on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cordboard.core.errors import CordboardError, DeadlineExceeded
from cordboard.proxy.stages import GUARD

if TYPE_CHECKING:
    from cordboard.proxy.breaker import Breaker, Breakers
    from cordboard.proxy.calls import Call
    from cordboard.proxy.quotas.bucket import Draw
    from cordboard.proxy.quotas.quotas import Quotas


@dataclass(frozen=True, slots=True)
class Passage:
    """One request's way through. It ends with one `note`."""

    breaker: Breaker
    probe: bool

    def note(self, *, healthy: bool | None) -> None:
        """Says what the request showed of the vendor's health; None: nothing."""
        if healthy is None:
            self.breaker.left(self.probe)
        elif healthy:
            self.breaker.succeeded(self.probe)
        else:
            self.breaker.failed(self.probe)


class Guard:
    """Lets requests through."""

    def __init__(self, breakers: Breakers, quotas: Quotas) -> None:
        """Takes the breakers and the limits of this process."""
        self._breakers = breakers
        self.quotas = quotas

    async def enter(self, call: Call, host: str, draw: Draw) -> Passage:
        """Returns when the request may go to the host, within the call's deadline.

        Raises BreakerOpen, LimitExceeded and DeadlineExceeded.
        """
        breaker = self._breakers.of(call.integration, host, call.order.workspace)
        # Before anything is taken or waited for.
        breaker.check()
        if draw.buckets:
            with call.stages.working(GUARD):
                await self.quotas.take(draw, call.left, yielding=call.order.background)
        try:
            if call.left() <= 0:
                raise DeadlineExceeded("sending the request")
            return Passage(breaker, breaker.enter())
        except CordboardError:
            self.quotas.give_back(draw, yielding=call.order.background)
            raise
