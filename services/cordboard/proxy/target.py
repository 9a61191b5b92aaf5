"""What a call reaches: an action of a definition, at a server, with a credential."""

from __future__ import annotations

from dataclasses import dataclass

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.servers import Place
from cordboard.planning.variables import NO_VALUES, Values
from cordboard.proxy.connections import Lease
from cordboard.proxy.definitions import Action, Definition


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

    @property
    def shows_credential(self) -> bool:
        """Tells whether the vendor is shown a credential, which it could refuse."""
        return self.scheme.WhichOneof("kind") not in (None, "none") and not self.lease.credential.empty
