"""What decides how a vendor is asked: the definition, our client there, and what the workspace has set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cordboard.auth.clients import OAuthClients
    from cordboard.auth.configurations import Configurations
    from cordboard.auth.definitions import Definitions


@dataclass(frozen=True)
class Ways:
    """The parts of the service that know it."""

    definitions: Definitions
    clients: OAuthClients
    configurations: Configurations
