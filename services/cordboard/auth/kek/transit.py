"""Key-encryption keys that never leave HashiCorp Vault or OpenBao: their transit secrets engine wraps and unwraps."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from cordboard.auth.envelope import KEY_BYTES, Unreadable
from cordboard.auth.kek.provider import DEPENDENCY, KeysRefused, self_test
from cordboard.core.egress import Egress, ResponseTooLarge, read_limited
from cordboard.core.errors import DependencyUnavailable, EgressDenied
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT: Final = 5.0
MOST_BYTES: Final = 64 * 1024
_PATH: Final = re.compile(r"/((?:[A-Za-z0-9_.-]+/)+)([A-Za-z0-9_.-]+)")
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]+")


class TransitKeys:
    """One named key of a transit engine; its newest version wraps."""

    def __init__(self, egress: Egress, url: str, token_file: Path, namespace: str = "") -> None:
        """Takes `https://HOST/MOUNT/KEY`, and the file of a token, which may be replaced while this runs.

        Raises KeysRefused.
        """
        base, separator, path = url.partition("://")
        host, slash, rest = path.partition("/")
        match = _PATH.fullmatch(slash + rest)
        if base not in ("https", "http") or not separator or match is None:
            raise KeysRefused("transit: must be followed by https://HOST:PORT/MOUNT/KEY")
        mount, self._key = match[1].rstrip("/"), match[2]
        self._base = f"{base}://{host}/v1/{mount}"
        self._name = f"transit/{mount}/{self._key}"
        self._egress = egress
        self._session: aiohttp.ClientSession | None = None
        self._token_file = token_file
        self._namespace = namespace

    @classmethod
    def open(cls, url: str, options: dict[str, str], networks: Iterable[str]) -> TransitKeys:
        """Makes it from a URL and the options `token-file`, `ca-file` and `namespace`; raises KeysRefused."""
        token_file = Path(options.get("token-file", ""))
        if not token_file.is_file():
            raise KeysRefused("transit: token-file must name a file with a token")
        try:
            tls = ssl.create_default_context(cafile=options["ca-file"]) if "ca-file" in options else None
        except OSError:
            raise KeysRefused("transit: ca-file must name a file with certificates") from None
        return cls(Egress(networks, tls=tls), url, token_file, options.get("namespace", ""))

    @property
    def name(self) -> str:
        """Returns the mount and the key."""
        return self._name

    def key_id(self, blob: bytes) -> str:
        """Returns the key and the version that the ciphertext names."""
        match = _CIPHERTEXT.fullmatch(blob.decode("latin-1"))
        if match is None:
            raise Unreadable
        return f"{self._name}/{match[1]}"

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns the engine's ciphertext."""
        answer = await self._ask("encrypt", aad, plaintext=base64.b64encode(key.reveal()).decode())
        ciphertext = str((answer or {}).get("ciphertext", ""))
        if _CIPHERTEXT.fullmatch(ciphertext) is None:
            raise DependencyUnavailable(DEPENDENCY)
        return ciphertext.encode()

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; what the engine calls a bad request is Unreadable."""
        self.key_id(blob)
        answer = await self._ask("decrypt", aad, ciphertext=blob.decode())
        if answer is None:
            raise Unreadable
        try:
            raw = base64.b64decode(str(answer.get("plaintext", "")), validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable from None
        if len(raw) != KEY_BYTES:
            raise Unreadable
        return Secret(raw)

    async def refresh(self) -> None:
        """Does nothing: the engine itself knows its newest version."""

    async def health(self) -> None:
        """Wraps and unwraps a test key, and makes sure that another binding does not unwrap it."""
        await self_test(self)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._egress.session(timeout=TIMEOUT, connections=16)
        return self._session

    async def _ask(self, verb: str, aad: bytes, **values: str) -> dict[str, Any] | None:
        # The context is what a key with derivation needs, the associated data is what any AEAD key binds: a key of
        # either kind thus refuses a wrapped key that was moved.
        bound = base64.b64encode(aad).decode()
        body = orjson.dumps({**values, "context": bound, "associated_data": bound})
        try:
            headers = {"X-Vault-Token": self._token_file.read_text().strip(), "X-Vault-Request": "true"}
            if self._namespace:
                headers["X-Vault-Namespace"] = self._namespace
            async with self._http().post(
                f"{self._base}/{verb}/{self._key}", data=body, headers=headers, allow_redirects=False
            ) as response:
                text = await read_limited(response, MOST_BYTES)
                if response.status == 400 and verb == "decrypt":
                    return None
                if response.status != 200:
                    raise DependencyUnavailable(DEPENDENCY)
                found = orjson.loads(text)
        except (aiohttp.ClientError, EgressDenied, ResponseTooLarge, OSError, ValueError):
            raise DependencyUnavailable(DEPENDENCY) from None
        data = found.get("data") if isinstance(found, dict) else None
        if not isinstance(data, dict):
            raise DependencyUnavailable(DEPENDENCY)
        return data
