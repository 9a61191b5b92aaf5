"""Key-encryption keys out of an environment variable: for development and for tests."""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import Final

from cordboard.auth.envelope import KEY_BYTES
from cordboard.auth.kek.files import Versions
from cordboard.auth.kek.provider import KeysRefused
from cordboard.core.secrets import Secret

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")


class EnvironmentKeys(Versions):
    """Keys as `N:BASE64,…` in a variable; one without a number is version 1."""

    @classmethod
    def load(cls, variable: str, *, keep: bool = False) -> EnvironmentKeys:
        """Reads the keys and takes the variable away, unless it is to be kept; raises KeysRefused."""
        if not _NAME.fullmatch(variable):
            raise KeysRefused("env: must be followed by the name of a variable")
        text = os.environ.get(variable, "")
        if not text:
            raise KeysRefused(f"the variable {variable} is empty: it must hold 32 random bytes in base64")
        keys = dict(_one(variable, part) for part in text.split(","))
        if not keep:
            # A child of this process, and whoever reads its /proc entry by then, gets none.
            del os.environ[variable]
        return cls("env", keys)


def _one(variable: str, part: str) -> tuple[int, Secret[bytes]]:
    version, colon, encoded = part.strip().rpartition(":")
    if colon and not _VERSION.fullmatch(version):
        raise KeysRefused(f"a version in the variable {variable} is no number above 0")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise KeysRefused(f"a key in the variable {variable} is not {KEY_BYTES} bytes in base64")
    return int(version or 1), Secret(raw)
