"""Ways back over another mesh: a vendor sends browsers to an address that is public, and that mesh sends them on.

A mesh without a public address registers the other one's callback at vendors. Its states begin with the name by which
the other one knows it. What passes there opens nothing: state, verifier and browser are checked where the person began.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from cordboard.auth.oauth import new_secret
from cordboard.core.secrets import Secret

# No state of ours has it otherwise: they are of base64url.
_MARK: Final = "~"
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


class Relay:
    """Makes states that find their way back, and knows where those of other meshes go."""

    def __init__(self, name: str = "", targets: Mapping[str, str] | None = None) -> None:
        """Takes our name at the mesh that we are reached by, if any, and the callbacks of those reached by us."""
        self._name = name
        self._targets = dict(targets or {})

    def state(self) -> Secret[str]:
        """Returns a new state, 256 random bits behind our name."""
        state = new_secret()
        return Secret(f"{self._name}{_MARK}{state.reveal()}") if self._name else state

    def onward(self, state: str, query: Mapping[str, str]) -> str:
        """Returns where a browser goes on to with what the vendor gave it; empty where the state is nobody else's.

        The addresses are those of the settings alone: no state can name another one.
        """
        name, mark, _ = state.partition(_MARK)
        target = self._targets.get(name) if mark else None
        return "" if target is None else f"{target}?{urlencode(query)}"
