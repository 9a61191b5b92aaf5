"""What an operation answers, before it becomes HTTP: plain enough to be kept and given again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cordboard.sandbox.refusals import Refusal

_encode = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """Returns `value` as compact JSON in ASCII."""
    return _encode(value).encode("ascii")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and the headers that belong to them."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Returns an answer with `value` as JSON."""
        return cls(status, encode(value), "application/json", headers or {})

    @classmethod
    def refusing(cls, refusal: Refusal, *, request_id: str) -> Answer:
        """Returns the error answer for `refusal`, as the document's `Error` schema has it."""
        told: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "request_id": request_id}
        if refusal.fields:
            told["fields"] = [{"field": each.field, "message": each.message} for each in refusal.fields]
        return cls.of(told, status=refusal.status, headers=refusal.headers)
