"""Key-encryption keys: who wraps the workspaces' keys. The files of a directory are one provider of them."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path
from typing import Final, Protocol

from cordboard.auth.envelope import KEY_BYTES, Unreadable, unwrap, wrap
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret

_FILE: Final = re.compile(r"([1-9][0-9]{0,8})\.key")
_PROBE_AAD: Final = b"cordboard/self-test"
_VERSION_BYTES: Final = 4


class KeysRefused(ValueError):
    """The key-encryption keys are missing, malformed, or open to others: the vault does not start."""


class KeyProvider(Protocol):
    """Wraps and unwraps keys under keys that it alone holds."""

    def current_version(self) -> int:
        """Returns the version that wraps now."""
        ...

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the key, wrapped under the current version and bound to `aad`; raises DependencyUnavailable."""
        ...

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns what `wrap` was given with the same `aad`; raises Unreadable and DependencyUnavailable."""
        ...

    async def health(self) -> None:
        """Wraps and unwraps a test key; raises DependencyUnavailable."""
        ...


class FileKeys:
    """Keys out of a directory of files `N.key` of 32 bytes: N is the version, the highest one wraps."""

    def __init__(self, keys: dict[int, Secret[bytes]]) -> None:
        """Takes the keys by version, at least one."""
        self._keys = keys
        self._current = max(keys)

    @classmethod
    def load(cls, directory: Path) -> FileKeys:
        """Reads the keys; raises KeysRefused naming the file and what is wrong with it."""
        try:
            _check_directory(directory)
            files = [(match, path) for path in directory.iterdir() if (match := _FILE.fullmatch(path.name))]
            keys = {int(match[1]): _read(path) for match, path in files}
        except OSError as error:
            raise KeysRefused(f"cannot be read: {error.strerror}") from None
        if not keys:
            raise KeysRefused("must hold a key-encryption key, such as 1.key: 32 random bytes, mode 0400")
        return cls(keys)

    def current_version(self) -> int:
        """Returns the highest version."""
        return self._current

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the version and the key wrapped under it."""
        version = struct.pack(">I", self._current)
        return version + wrap(self._keys[self._current], key.reveal(), version + aad)

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; raises Unreadable, also where the blob's version has no file any more."""
        version = blob[:_VERSION_BYTES]
        key = self._keys.get(int.from_bytes(version, "big"))
        if key is None:
            raise Unreadable
        return unwrap(key, blob[_VERSION_BYTES:], version + aad)

    async def health(self) -> None:
        """Wraps and unwraps a test key, and makes sure that another binding does not unwrap it."""
        blob = await self.wrap(_PROBE_AAD, Secret(os.urandom(KEY_BYTES)))
        if not await self._opens(_PROBE_AAD, blob) or await self._opens(_PROBE_AAD + b"!", blob):
            raise DependencyUnavailable("key-provider")

    async def _opens(self, aad: bytes, blob: bytes) -> bool:
        try:
            await self.unwrap(aad, blob)
        except Unreadable:
            return False
        return True


def _check_directory(directory: Path) -> None:
    state = directory.stat()
    if not stat.S_ISDIR(state.st_mode):
        raise KeysRefused("must be a directory")
    if state.st_mode & 0o022:
        raise KeysRefused(f"can be changed by others than its owner (mode {stat.S_IMODE(state.st_mode):04o})")
    _check_owner(state, "the directory")


def _read(path: Path) -> Secret[bytes]:
    # One descriptor for the checks and the bytes: the file that was judged is the file that is read.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise KeysRefused(f"{path.name} must be a file")
        if state.st_mode & 0o077:
            mode = stat.S_IMODE(state.st_mode)
            raise KeysRefused(f"{path.name} is open to others than its owner (mode {mode:04o}): make it 0400")
        _check_owner(state, path.name)
        raw = file.read(KEY_BYTES + 1)
    if len(raw) != KEY_BYTES:
        raise KeysRefused(f"{path.name} must be {KEY_BYTES} bytes")
    return Secret(raw)


def _check_owner(state: os.stat_result, name: str) -> None:
    if state.st_uid not in (0, os.geteuid()):
        raise KeysRefused(f"{name} belongs to another user")
