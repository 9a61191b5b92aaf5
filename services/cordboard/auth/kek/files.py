"""Key-encryption keys in the files of a directory."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path
from typing import Final

from cordboard.auth.envelope import KEY_BYTES, Unreadable, unwrap, wrap
from cordboard.auth.kek.provider import DEPENDENCY, KeysRefused, self_test
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret

_FILE: Final = re.compile(r"([1-9][0-9]{0,8})\.key")
_VERSION_BYTES: Final = 4


class Versions:
    """Keys in this process's memory, by version; the highest one wraps."""

    def __init__(self, name: str, keys: dict[int, Secret[bytes]]) -> None:
        """Takes the keys by version, at least one."""
        self._name = name
        self._keys = keys
        self._current = max(keys)

    @property
    def name(self) -> str:
        """Returns the provider's name."""
        return self._name

    def current_version(self) -> int:
        """Returns the highest version."""
        return self._current

    def key_id(self, blob: bytes) -> str:
        """Returns the name and the version that stands before the wrapped key."""
        if len(blob) < _VERSION_BYTES:
            raise Unreadable
        return f"{self._name}/{int.from_bytes(blob[:_VERSION_BYTES], 'big')}"

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the version and the key wrapped under it."""
        version = struct.pack(">I", self._current)
        return version + wrap(self._keys[self._current], key.reveal(), version + aad)

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; raises Unreadable, also where the blob's version is not there any more."""
        version = blob[:_VERSION_BYTES]
        key = self._keys.get(int.from_bytes(version, "big"))
        if key is None:
            raise Unreadable
        return unwrap(key, blob[_VERSION_BYTES:], version + aad)

    async def refresh(self) -> None:
        """Does nothing: what is in memory stays as it was."""

    async def health(self) -> None:
        """Wraps and unwraps a test key, and makes sure that another binding does not unwrap it."""
        await self_test(self)

    async def close(self) -> None:
        """Does nothing: there is no connection."""


class FileKeys(Versions):
    """Keys out of a directory of files `N.key` of 32 bytes: N is the version, the highest one wraps."""

    def __init__(self, keys: dict[int, Secret[bytes]], directory: Path) -> None:
        """Takes the keys by version, at least one, and where they are from."""
        super().__init__("file", keys)
        self._directory = directory

    @classmethod
    def load(cls, directory: Path) -> FileKeys:
        """Reads the keys; raises KeysRefused naming the file and what is wrong with it."""
        return cls(_keys(directory), directory)

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; looks for a newer file where another process has wrapped under one."""
        if int.from_bytes(blob[:_VERSION_BYTES], "big") > self._current:
            await self.refresh()
        return await super().unwrap(aad, blob)

    async def refresh(self) -> None:
        """Reads the directory again; raises DependencyUnavailable where the vault would not start with it."""
        try:
            self._keys = _keys(self._directory)
        except KeysRefused:
            raise DependencyUnavailable(DEPENDENCY) from None
        self._current = max(self._keys)


def _keys(directory: Path) -> dict[int, Secret[bytes]]:
    try:
        _check_directory(directory)
        files = [(match, path) for path in directory.iterdir() if (match := _FILE.fullmatch(path.name))]
        keys = {int(match[1]): _read(path) for match, path in files}
    except OSError as error:
        raise KeysRefused(f"cannot be read: {error.strerror}") from None
    if not keys:
        raise KeysRefused("must hold a key-encryption key, such as 1.key: 32 random bytes, mode 0400")
    return keys


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
