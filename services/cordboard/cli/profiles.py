"""Which mesh the command talks to: the one on this machine, or a remote one that a profile names.

Profiles are in `profiles.toml` in the user's configuration directory: `[name]` with `address`, and optionally
`ca_file` and `token_file`. The environment's CORDBOARD_TOKEN wins over a token file.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cordboard.cli.failures import CommandFailed

LOCAL: Final = "local"
TOKEN_VARIABLE: Final = "CORDBOARD_TOKEN"  # noqa: S105 - the name of a variable
PROFILE_VARIABLE: Final = "CORDBOARD_PROFILE_NAME"


@dataclass(frozen=True)
class RemoteProfile:
    """A mesh elsewhere."""

    name: str
    address: str
    ca_file: str = ""
    token_file: str = ""

    def ca(self) -> Path | None:
        """Returns the file with the certificate authority to trust; None: the system's."""
        return Path(self.ca_file).expanduser() if self.ca_file else None

    def token(self) -> str:
        """Returns the token to use; raises CommandFailed when there is none."""
        if token := os.environ.get(TOKEN_VARIABLE):
            return token
        if self.token_file:
            return Path(self.token_file).expanduser().read_text().strip()
        raise CommandFailed(f"profile {self.name!r} has no token: set {TOKEN_VARIABLE} or its token_file", 4)


def path() -> Path:
    """Returns where profiles are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cordboard" / "profiles.toml"


def all_profiles() -> dict[str, RemoteProfile]:
    """Returns the remote profiles by name; raises CommandFailed when the file cannot be read."""
    try:
        found = tomllib.loads(path().read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path()}: {error}", 2) from None
    profiles = {}
    for name, table in found.items():
        if not isinstance(table, dict) or not isinstance(table.get("address"), str):
            raise CommandFailed(f"{path()}: profile {name!r} needs an address", 2)
        unknown = set(table) - {"address", "ca_file", "token_file"}
        if unknown:
            raise CommandFailed(f"{path()}: profile {name!r} has unknown keys: {', '.join(sorted(unknown))}", 2)
        profiles[name] = RemoteProfile(name, **{key: str(value) for key, value in table.items()})
    return profiles


def profile(name: str) -> RemoteProfile:
    """Returns a remote profile; raises CommandFailed."""
    known = all_profiles()
    if name not in known:
        raise CommandFailed(f"there is no profile {name!r} in {path()}; known: {', '.join([LOCAL, *known])}", 2)
    return known[name]


def add(new: RemoteProfile) -> None:
    """Adds a profile, or replaces the one of its name."""
    known = all_profiles() | {new.name: new}
    path().parent.mkdir(parents=True, exist_ok=True)
    text = ""
    for each in known.values():
        text += f"[{json.dumps(each.name)}]\n"
        for key in ("address", "ca_file", "token_file"):
            if value := getattr(each, key):
                text += f"{key} = {json.dumps(value)}\n"
        text += "\n"
    path().write_text(text)
