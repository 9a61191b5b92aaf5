"""Which mesh the command talks to: the one on this machine, or a remote one that a profile names.

Profiles are in `profiles.toml` in the user's configuration directory: `[name]` with `address`, and optionally
`ca_file`, `token_file` and `identity_dir`. The environment's CORDBOARD_TOKEN wins over a token file. Who signs in gets
a token file below `tokens/` there.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cordboard.cli.failures import CommandFailed

LOCAL: Final = "local"
KEYS: Final = ("address", "ca_file", "token_file", "identity_dir")
TOKEN_VARIABLE: Final = "CORDBOARD_TOKEN"  # noqa: S105 - the name of a variable
PROFILE_VARIABLE: Final = "CORDBOARD_PROFILE_NAME"


@dataclass(frozen=True)
class RemoteProfile:
    """A mesh elsewhere."""

    name: str
    address: str
    ca_file: str = ""
    token_file: str = ""
    identity_dir: str = ""

    def ca(self) -> Path | None:
        """Returns the file with the certificate authority to trust; None: the system's."""
        return Path(self.ca_file).expanduser() if self.ca_file else None

    def identity(self) -> Path | None:
        """Returns the directory with the client certificate to show; None: none."""
        return Path(self.identity_dir).expanduser() if self.identity_dir else None

    def token(self) -> str:
        """Returns the token to use; raises CommandFailed when there is none."""
        token = token_from_environment() or kept_token(self)
        if not token:
            way = f"sign in with `cordboard --profile {self.name} login`"
            raise CommandFailed(f"profile {self.name!r} has no token: {way}, or set {TOKEN_VARIABLE}", 4)
        return token


def path() -> Path:
    """Returns where profiles are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cordboard" / "profiles.toml"


def token_from_environment() -> str:
    """Returns the token that the environment gives; empty when it gives none."""
    return os.environ.get(TOKEN_VARIABLE, "")


def kept_token(profile: RemoteProfile) -> str:
    """Returns what is in a profile's token file; empty when there is none. Raises CommandFailed."""
    if not profile.token_file:
        return ""
    try:
        return Path(profile.token_file).expanduser().read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"the token file of profile {profile.name!r} cannot be read: {error}", 4) from None


def keep_token(name: str, token: str) -> Path:
    """Writes a token where its owner alone can read it, and returns where."""
    file = _own_token_file(name)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made anew and renamed: a file that lies there already could have been opened to others, or be a link.
    part = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{token}\n")
    part.replace(file)
    return file


def is_signed_in(profile: RemoteProfile) -> bool:
    """Tells whether a profile's token is one that `keep_token` has written."""
    file = _own_token_file(profile.name)
    return bool(profile.token_file) and Path(profile.token_file).expanduser() == file and file.exists()


def forget_token(profile: RemoteProfile) -> None:
    """Deletes the token that `keep_token` has written, and takes it out of the profile."""
    _own_token_file(profile.name).unlink(missing_ok=True)
    add(replace(profile, token_file=""))


def _own_token_file(name: str) -> Path:
    return path().parent / "tokens" / f"{quote(name, safe='')}.token"


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
        unknown = set(table) - set(KEYS)
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
        for key in KEYS:
            if value := getattr(each, key):
                text += f"{key} = {json.dumps(value)}\n"
        text += "\n"
    path().write_text(text)
