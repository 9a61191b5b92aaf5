"""Pages of lists (AIP-158): sizes, and opaque tokens bound to the request that they continue."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cordboard.core.errors import InvalidFields

if TYPE_CHECKING:
    from google.protobuf.message import Message


@dataclass(frozen=True)
class Paging:
    """Which page is asked for: how many rows, and the key after which they begin ('' for the first page)."""

    size: int
    after: str
    binding: str

    @classmethod
    def of(cls, request: Message, *, default: int = 50, maximum: int = 1000) -> Paging:
        """Reads `page_size` and `page_token` of a List request; raises InvalidFields."""
        fields: Any = request
        if fields.page_size < 0:
            raise InvalidFields.one("page_size", "must not be negative")
        bare = type(request)()
        bare.CopyFrom(request)
        bare.ClearField("page_size")
        bare.ClearField("page_token")
        # With the request's type, for two kinds of lists under one parent are asked for with the same bytes.
        material = type(request).DESCRIPTOR.full_name.encode() + b"\0" + bare.SerializeToString(deterministic=True)
        binding = hashlib.sha256(material).hexdigest()[:16]
        size = min(fields.page_size or default, maximum)
        return cls(size, _read(fields.page_token, binding), binding)

    @property
    def after_number(self) -> int | None:
        """The key of a list that goes by numbers, None for the first page; raises InvalidFields."""
        if not self.after:
            return None
        if not (self.after.isascii() and self.after.isdigit() and len(self.after) < 19):
            raise InvalidFields.one("page_token", "is not a token of this list")
        return int(self.after)

    def token(self, last_key: str) -> str:
        """Returns the token of the page that begins after `last_key`."""
        text = json.dumps([self.binding, last_key], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(token: str, binding: str) -> str:
    if not token:
        return ""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        bound, after = json.loads(raw)
        str(after).encode()  # half a surrogate pair is a text for JSON and none for PostgreSQL
    except (TypeError, ValueError, binascii.Error, RecursionError):
        raise InvalidFields.one("page_token", "is not a token of this list") from None
    # PostgreSQL takes no NUL in a text; no token of ours has one.
    if bound != binding or not isinstance(after, str) or "\0" in after:
        raise InvalidFields.one("page_token", "belongs to a list with other conditions")
    return after
