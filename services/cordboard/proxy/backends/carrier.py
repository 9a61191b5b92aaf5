"""How one request reaches a vendor: what every backend has to do, and the one that goes directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from yarl import URL

from cordboard.core.egress import check_url, host_key
from cordboard.planning.plan import Outbound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.planning.answers import Answer
    from cordboard.planning.dialect import Dialect
    from cordboard.proxy.calls import Call
    from cordboard.proxy.credentials import Ready
    from cordboard.proxy.feed import Feed
    from cordboard.proxy.sender import Sender
    from cordboard.proxy.target import Target


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt may take, and what is said of it."""

    timeout: float
    """In seconds."""
    resend: int
    """How many were made before."""
    labels: Mapping[str, str]
    feed: Feed | None = None


class Parcel(Protocol):
    """One request, ready to go."""

    @property
    def host(self) -> str:
        """Returns where it goes, as breakers name it."""
        ...

    @property
    def sent(self) -> Outbound:
        """Returns the request with the credential in it: what must not be told."""
        ...

    async def answer(self, attempt: Attempt) -> Answer:
        """Sends it once; raises Unanswered, and EgressDenied at the socket."""
        ...


class Carrier(Protocol):
    """A backend."""

    async def parcel(self, call: Call, target: Target, request: Outbound) -> Parcel:
        """Returns the request as this backend sends it: nothing of it has left. Raises CordboardErrors."""
        ...


@dataclass(frozen=True, slots=True)
class Direct:
    """Sends requests to the vendor itself, with the connection's credential."""

    sender: Sender

    async def parcel(self, call: Call, target: Target, request: Outbound) -> Parcel:  # noqa: ARG002 - one interface
        """Returns the request with the connection's credential, to one of the hosts that the definition allows."""
        definition = target.definition
        placed = target.lease.credential.place(
            request, target.scheme, definition.schemes, definition.variables.defaults
        )
        url = check_url(placed.url, target.place.hosts)
        return HttpParcel(self.sender, placed, url, target.action.interpretation.dialect)


@dataclass(frozen=True, slots=True)
class HttpParcel:
    """A request that goes by HTTP."""

    sender: Sender
    sent: Ready
    url: URL
    dialect: Dialect

    @property
    def host(self) -> str:
        """Returns the host, with its port unless that is 443."""
        return host_key(self.url)

    async def answer(self, attempt: Attempt) -> Answer:
        """Sends it once; raises Unanswered, and EgressDenied at the socket."""
        return await self.sender.send(
            self.sent,
            self.url,
            self.dialect,
            timeout=attempt.timeout,
            resend=attempt.resend,
            labels=attempt.labels,
            feed=attempt.feed,
        )
