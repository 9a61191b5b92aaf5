"""What the runtime of this release can do, and what a definition needs."""

from __future__ import annotations

from typing import Final

from cordboard.catalog.v1.definition_pb2 import Definition

CAPABILITY: Final = 1
"""The level of this release. A definition that needs more stays at the hub."""
_FIELD: Final = Definition.DESCRIPTOR.fields_by_name.get("min_capability")


def needed_capability(content: bytes) -> int:
    """Returns the level that a serialised definition needs at least."""
    if _FIELD is None:
        return CAPABILITY
    return max(int(getattr(Definition.FromString(content), _FIELD.name)), CAPABILITY)
