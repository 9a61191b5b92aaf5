"""Key-encryption keys that never leave a hardware security module, through PKCS#11. Needs python-pkcs11.

Keys are AES secret keys of the token with one label; the `CKA_ID` tells their versions apart, as a number.
"""

from __future__ import annotations

import asyncio
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cordboard.auth.envelope import KEY_BYTES, NONCE_BYTES, WRAPPED_BYTES, Unreadable
from cordboard.auth.kek.provider import DEPENDENCY, KeysRefused, self_test
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
_VERSION_BYTES: Final = 4
_TAG_BITS: Final = 128
# How long a module may take before the caller is told that it is away.
SECONDS: Final = 5.0


class TokenKeys:
    """AES keys of one label in one token; the highest version wraps."""

    def __init__(self, module: str, token: str, label: str, pin_file: Path) -> None:
        """Takes where the module, the token and the PIN are; connects when first used."""
        self._module = module
        self._token = token
        self._label = label
        self._pin_file = pin_file
        self._session: Any = None
        self._keys: dict[int, Any] = {}
        # Sessions are not for several threads at once, and a module that hangs must not take other threads along.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pkcs11")

    @classmethod
    def open(cls, attributes: Mapping[str, str], options: Mapping[str, str]) -> TokenKeys:
        """Makes it from the parts of an RFC 7512 URI: `token`, `object`, `module-path`, `pin-source`.

        Raises KeysRefused.
        """
        try:
            import pkcs11  # noqa: F401 - whether it is there
        except ImportError:
            raise KeysRefused("pkcs11: needs the package python-pkcs11: pip install 'cordboard[pkcs11]'") from None
        missing = [name for name in ("token", "object") if not attributes.get(name)]
        missing += [name for name in ("module-path", "pin-source") if not options.get(name)]
        if missing:
            raise KeysRefused(f"pkcs11: {missing[0]} is missing")
        pin_file = Path(options["pin-source"].removeprefix("file:"))
        for name, path in (("module-path", Path(options["module-path"])), ("pin-source", pin_file)):
            if not path.is_file():
                raise KeysRefused(f"pkcs11: {name} must name a file")
        return cls(options["module-path"], attributes["token"], attributes["object"], pin_file)

    @property
    def name(self) -> str:
        """Returns the token and the label."""
        return f"pkcs11/{self._token}/{self._label}"

    def key_id(self, blob: bytes) -> str:
        """Returns the name and the version that stands before the wrapped key."""
        if len(blob) < _VERSION_BYTES:
            raise Unreadable
        return f"{self.name}/{int.from_bytes(blob[:_VERSION_BYTES], 'big')}"

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the version, the nonce and the key wrapped under it."""
        return await self._run(lambda: self._wrapped(aad, key))

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; raises Unreadable."""
        return await self._run(lambda: self._unwrapped(aad, blob))

    async def refresh(self) -> None:
        """Looks for the token's keys again."""
        await self._run(self._disconnect)

    async def health(self) -> None:
        """Wraps and unwraps a test key, and makes sure that another binding does not unwrap it."""
        await self_test(self)

    async def close(self) -> None:
        """Ends the session."""
        await self._run(self._disconnect)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        from pkcs11.exceptions import PKCS11Error

        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (PKCS11Error, OSError, RuntimeError):
            self._session, self._keys = None, {}
            raise DependencyUnavailable(DEPENDENCY) from None

    def _connected(self) -> dict[int, Any]:
        import pkcs11

        if not self._keys:
            pin = self._pin_file.read_text().strip()
            self._session = pkcs11.lib(self._module).get_token(token_label=self._token).open(user_pin=pin)
            found = self._session.get_objects(
                {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, pkcs11.Attribute.LABEL: self._label}
            )
            self._keys = {int.from_bytes(key.id, "big"): key for key in found if key.id}
        if not self._keys:
            raise DependencyUnavailable(DEPENDENCY)
        return self._keys

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._keys = None, {}

    def _wrapped(self, aad: bytes, key: Secret[bytes]) -> bytes:
        keys = self._connected()
        version, nonce = struct.pack(">I", max(keys)), os.urandom(NONCE_BYTES)
        return version + nonce + self._aes(keys[max(keys)].encrypt, nonce, version + aad, key.reveal())

    def _unwrapped(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        from pkcs11.exceptions import EncryptedDataInvalid, EncryptedDataLenRange, FunctionFailed, GeneralError

        version, wrapped = blob[:_VERSION_BYTES], blob[_VERSION_BYTES:]
        number = int.from_bytes(version, "big")
        if number not in self._connected():
            # Another process may have wrapped under a key that was made since.
            self._disconnect()
        key = self._connected().get(number)
        if key is None or len(wrapped) != WRAPPED_BYTES:
            raise Unreadable
        try:
            raw = self._aes(key.decrypt, wrapped[:NONCE_BYTES], version + aad, wrapped[NONCE_BYTES:])
        except (EncryptedDataInvalid, EncryptedDataLenRange, FunctionFailed, GeneralError):
            # Modules do not agree on what to say of a wrong tag. What is away fails the next health check.
            raise Unreadable from None
        if len(raw) != KEY_BYTES:
            raise Unreadable
        return Secret(raw)

    @staticmethod
    def _aes(operation: Callable[..., bytes], nonce: bytes, aad: bytes, text: bytes) -> bytes:
        from pkcs11 import GCMParams, Mechanism

        return bytes(operation(text, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad, _TAG_BITS)))
