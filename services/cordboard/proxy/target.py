"""What a call reaches: an action of a definition, at a server, with a credential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import StateConflict
from cordboard.planning.servers import Place
from cordboard.planning.variables import NO_VALUES, Values
from cordboard.proxy.backends.route import DIRECT, Backend, Kind
from cordboard.proxy.connections import Lease
from cordboard.proxy.definitions import Action, Definition
from cordboard.proxy.quotas.bucket import Draw, draw

_NO_SCHEME: Final = pb.AuthScheme()
# Whoever runs the action knows where it goes.
_NOWHERE: Final = Place("", "", frozenset())


@dataclass(frozen=True, slots=True)
class Target:
    """What is called, and as whom."""

    definition: Definition
    action: Action
    scheme: pb.AuthScheme
    place: Place
    lease: Lease
    values: Values = NO_VALUES
    """Its config variables."""
    via: Backend = DIRECT
    """Which way its requests go."""

    @property
    def way(self) -> Kind:
        """Returns how its requests are sent."""
        direct = self.via.kind is Kind.DIRECT
        return Kind.DATABASE if direct and self.definition.database is not None else self.via.kind

    @property
    def elsewhere(self) -> bool:
        """Tells whether another mesh runs the action: nothing of it is planned, tried again or read here."""
        return self.via.kind is Kind.HUB

    @property
    def replays(self) -> bool:
        """Tells whether a request may be sent again under the same idempotency key after doubt."""
        # The hub has a ledger of its own, and judges by it.
        return self.elsewhere or self.action.repeatable or self.action.takes_key

    @property
    def shows_credential(self) -> bool:
        """Tells whether the vendor is shown a credential, which it could refuse."""
        if self.via.kind is not Kind.DIRECT:
            return False
        return self.scheme.WhichOneof("kind") not in (None, "none") and not self.lease.credential.empty

    @property
    def draw(self) -> Draw:
        """Returns what one request takes of the vendor's limits."""
        action = self.action
        return draw(
            action.limits,
            slug=self.definition.slug,
            connection=self.lease.connection,
            action=action.id,
            weight=action.weight,
        )

    def at(self, action_id: str) -> Target:
        """Returns another action of the same definition as the same connection; raises as `aim` does, and NotFound."""
        return aim(self.definition, self.definition.action(action_id), self.lease, self.via)


def aim(definition: Definition, action: Action, lease: Lease, via: Backend = DIRECT) -> Target:
    """Returns an action as a target of a connection; raises StateConflict where the connection cannot run it."""
    if via.kind is Kind.HUB:
        return Target(definition, action, _NO_SCHEME, _NOWHERE, lease, via=via)
    scheme = definition.schemes.get(lease.auth_scheme)
    if via.kind is not Kind.DIRECT:
        # Whoever stands between has a credential of its own for the vendor.
        scheme = _NO_SCHEME
    elif scheme is None or (action.auth_schemes and lease.auth_scheme not in action.auth_schemes):
        raise StateConflict(
            lease.connection, "auth_scheme", f"the action {action.id!r} cannot be run with the connection's auth scheme"
        )
    values = definition.variables.values(lease.configuration, lease.secrets)
    server_id = definition.servers.choice(action.server_variable, values)
    place = definition.servers.place(lease.configuration, action.server_url, server_id)
    return Target(definition, action, scheme, place, lease, values, via)
