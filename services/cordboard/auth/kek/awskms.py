"""Key-encryption keys that never leave AWS KMS. Needs botocore, for its credentials and its signatures."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
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
_ARN: Final = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+")
_CONTEXT: Final = "cordboard:binding"
# What KMS says of a ciphertext that is not one, not of this key, or bound to something else.
_UNREADABLE: Final = ("InvalidCiphertextException", "IncorrectKeyException", "ValidationException")


class KmsKeys:
    """One KMS key, pinned by its ARN. What wraps within it, AWS rotates by itself and does not tell."""

    def __init__(self, egress: Egress, arn: str, credentials: Any, endpoint: str = "") -> None:
        """Takes botocore's credentials; raises KeysRefused where the ARN is not one of a key."""
        match = _ARN.fullmatch(arn)
        if match is None:
            raise KeysRefused("awskms: must be followed by the ARN of a key, not of an alias")
        self._region = match[2]
        domain = "amazonaws.com.cn" if match[1] == "aws-cn" else "amazonaws.com"
        self._endpoint = endpoint or f"https://kms.{self._region}.{domain}/"
        self._arn = arn
        self._egress = egress
        self._session: aiohttp.ClientSession | None = None
        self._credentials = credentials

    @classmethod
    def open(cls, arn: str, options: dict[str, str], networks: Iterable[str]) -> KmsKeys:
        """Makes it from an ARN and the option `endpoint`, with AWS's usual credentials; raises KeysRefused."""
        try:
            from botocore.session import get_session  # type: ignore[import-untyped]
        except ImportError:
            raise KeysRefused("awskms: needs the package botocore: pip install 'cordboard[awskms]'") from None
        credentials = get_session().get_credentials()
        if credentials is None:
            raise KeysRefused("awskms: found no AWS credentials")
        return cls(Egress(networks), arn, credentials, options.get("endpoint", ""))

    @property
    def name(self) -> str:
        """Returns the key's ARN."""
        return f"awskms/{self._arn}"

    def key_id(self, blob: bytes) -> str:  # noqa: ARG002 - the same for each
        """Returns the key's ARN: a ciphertext does not tell which of AWS's own versions made it."""
        return self.name

    async def wrap(self, aad: bytes, key: Secret[bytes]) -> bytes:
        """Returns KMS's ciphertext."""
        answer = await self._ask("Encrypt", aad, Plaintext=base64.b64encode(key.reveal()).decode())
        return _bytes(answer or {}, "CiphertextBlob")

    async def unwrap(self, aad: bytes, blob: bytes) -> Secret[bytes]:
        """Returns the key; raises Unreadable, also where another key than the pinned one answered."""
        answer = await self._ask("Decrypt", aad, CiphertextBlob=base64.b64encode(blob).decode())
        if answer is None or answer.get("KeyId") != self._arn:
            raise Unreadable
        raw = _bytes(answer, "Plaintext")
        if len(raw) != KEY_BYTES:
            raise Unreadable
        return Secret(raw)

    async def refresh(self) -> None:
        """Does nothing: AWS itself knows what is newest."""

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

    async def _ask(self, operation: str, aad: bytes, **values: str) -> dict[str, Any] | None:
        context = {_CONTEXT: base64.b64encode(aad).decode()}
        body = orjson.dumps({"KeyId": self._arn, "EncryptionContext": context, **values})
        try:
            # Credentials of a role are fetched and renewed here, by requests that block.
            headers = await asyncio.to_thread(self._signed, operation, body)
            async with self._http().post(self._endpoint, data=body, headers=headers, allow_redirects=False) as response:
                found = orjson.loads(await read_limited(response, MOST_BYTES))
                if (
                    response.status == 400
                    and operation == "Decrypt"
                    and str(found.get("__type", "")).endswith(_UNREADABLE)
                ):
                    return None
                if response.status != 200 or not isinstance(found, dict):
                    raise DependencyUnavailable(DEPENDENCY)
                return found
        except (aiohttp.ClientError, EgressDenied, ResponseTooLarge, OSError, ValueError, AttributeError):
            raise DependencyUnavailable(DEPENDENCY) from None

    def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}"}
        request = AWSRequest("POST", self._endpoint, headers=headers, data=body)
        try:
            SigV4Auth(self._credentials.get_frozen_credentials(), "kms", self._region).add_auth(request)
        except BotoCoreError:
            raise DependencyUnavailable(DEPENDENCY) from None
        return dict(request.headers.items())


def _bytes(answer: dict[str, Any], field: str) -> bytes:
    try:
        raw = base64.b64decode(str(answer.get(field, "")), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw:
        raise DependencyUnavailable(DEPENDENCY)
    return raw
