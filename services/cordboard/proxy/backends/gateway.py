"""Sends requests through the proxy of an integration vendor, as the definition of that vendor says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url, host_key
from cordboard.core.errors import EgressDenied, StateConflict
from cordboard.planning import styles
from cordboard.planning.plan import Outbound
from cordboard.planning.pointers import pointed
from cordboard.proxy.backends.carrier import Attempt, HttpParcel, Parcel
from cordboard.proxy.retry import Fate
from cordboard.proxy.sender import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.planning.answers import Answer
    from cordboard.proxy.calls import Call
    from cordboard.proxy.connections import Lease
    from cordboard.proxy.definitions import Definition
    from cordboard.proxy.sender import Sender
    from cordboard.proxy.target import Target

# A word of the problem of an attempt, beside the sender's.
GATEWAY: Final = "gateway"
_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# These tell how to read the two messages, and gateways pass them on by themselves.
_PLAIN: Final = frozenset({"content-type", "accept", "user-agent"})


class Entrance(Protocol):
    """Says as whom a workspace may use a gateway."""

    async def gateway(self, call: Call, connection: str, environment: str) -> tuple[Definition, Lease]:
        """Returns the definition and the lease of a connection at a gateway; raises as a call of its own would."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """Sends requests through other integration vendors."""

    sender: Sender
    entrance: Entrance

    async def parcel(self, call: Call, target: Target, request: Outbound) -> Parcel:
        """Returns the request as the gateway takes it, with the credential that the workspace has at the gateway.

        Raises StateConflict where the connection is at no gateway, or the request cannot go through it.
        """
        via = target.via
        definition, lease = await self.entrance.gateway(call, via.connection, target.lease.environment)
        shape, scheme = definition.gateway, definition.schemes.get(lease.auth_scheme)
        if shape is None or scheme is None:
            raise StateConflict(via.connection, GATEWAY, f"{definition.slug} is not described as a gateway")
        place = definition.servers.place(lease.configuration, "", shape.server)
        values = definition.variables.values(lease.configuration, lease.secrets)
        base, path = target.place.base, request.url
        if not path.startswith((f"{base}/", f"{base}?")):
            # What leads away from the server that the gateway knows the integration by cannot be named there.
            raise EgressDenied("")
        told = {
            "base": base,
            "host": base.partition("://")[2].partition("/")[0],
            "integration": via.integration or target.definition.slug,
            "connection": via.remote(target.lease.connection),
        }

        def filled(template: str, quoted: Callable[[str], str]) -> str:
            def value(match: re.Match[str]) -> str:
                name = match[1]
                found = told.get(name)
                if found is None:
                    known = values.of(name)
                    if known is None:
                        text = f"the connection at the gateway has no value for {name!r}"
                        raise StateConflict(via.connection, "configuration", text, variable=name)
                    found = styles.text(known)
                return quoted(found)

            return _NAME.sub(value, template)

        front = filled(shape.path.removesuffix("{path}"), lambda text: quote(text, safe=""))
        own = {name: self._clean(via.connection, filled(text, str)) for name, text in shape.headers.items()}
        taken = {name.lower() for name in own}
        headers = {
            (name if name.lower() in _PLAIN else shape.header_prefix + name): text
            for name, text in request.headers.items()
            if name.lower() not in taken
        }
        url = place.base + front + path[len(base) :].removeprefix("/")
        outbound = Outbound(request.method, place.template + shape.path, url, {**headers, **own}, request.body)
        placed = lease.credential.place(outbound, scheme, definition.schemes, definition.variables.defaults)
        parcel = HttpParcel(
            self.sender, placed, check_url(placed.url, place.hosts), target.action.interpretation.dialect
        )
        return GatewayParcel(parcel, shape.error if shape.HasField("error") else None)

    @staticmethod
    def _clean(connection: str, text: str) -> str:
        if _CONTROL.search(text):
            raise StateConflict(connection, "configuration", "a value cannot stand in a header")
        return text


@dataclass(frozen=True, slots=True)
class GatewayParcel:
    """A request that goes to a gateway, which may answer for itself."""

    parcel: HttpParcel
    own_error: pb.GatewayError | None

    @property
    def host(self) -> str:
        """Returns the gateway's host."""
        return host_key(self.parcel.url)

    @property
    def sent(self) -> Outbound:
        """Returns the request with the credential."""
        return self.parcel.sent

    async def answer(self, attempt: Attempt) -> Answer:
        """Sends it once; raises Unanswered too where the gateway says that it did not ask the vendor."""
        answer = await self.parcel.answer(attempt)
        if answer.status >= 400 and self.own_error is not None and _word(answer, self.own_error) is not None:
            raise Unanswered(Fate.NOT_SENT, GATEWAY)
        return answer


def _word(answer: Answer, own: pb.GatewayError) -> str | None:
    try:
        found = pointed(orjson.loads(answer.body), own.pointer)
    except ValueError:
        return None
    return found if isinstance(found, str) and found in own.codes else None
