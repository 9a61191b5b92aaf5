"""What a gRPC answer tells Envoy about the HTTP answer that is made of it: its status, and the tag of its body."""

from __future__ import annotations

import hashlib
from typing import Final

# What Envoy makes the status of the HTTP answer, where a route says so: a gRPC status would bring a body of its own.
STATUS: Final = "cordboard-http-status"
# What Envoy tells of a request on such a route; nobody else's says it.
OVER_HTTP: Final = "x-cordboard-over-http"
NOT_MODIFIED: Final = 304


def entity_tag(*parts: bytes) -> str:
    """Returns the entity tag (RFC 9110 section 8.8.3) of an answer that is made of these parts and of nothing else."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return f'"{hashed.hexdigest()[:32]}"'


def is_held(tag: str, known: str) -> bool:
    """Tells whether `If-None-Match` names this tag, so that the caller has the body already."""
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in known.split(","))
