"""Headers of a call: gRPC's metadata, and what Envoy made of a browser's request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def sent(context: Any) -> Sequence[tuple[str, Any]]:
    """Returns all headers that a call came with, in their order; gRPC has their names in lower case."""
    received: Sequence[tuple[str, Any]] = context.invocation_metadata() or ()
    return received


def values(context: Any, name: str) -> list[str]:
    """Returns the values of each header of that name; none where the call came without it."""
    return [str(value) for key, value in sent(context) if key == name]


def combined(context: Any, name: str) -> str:
    """Returns a header as one value: several of one name are one list (RFC 9110, 5.2)."""
    return ",".join(values(context, name))


def first(context: Any, name: str) -> str:
    """Returns the value of the first header of that name; empty where the call came without it."""
    return next(iter(values(context, name)), "")
