"""Names of traces, as they stand in requests."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


def trace_id(name: str, *, field: str = "name") -> UUID:
    """Returns the id in `traces/{trace id in hex}`; raises InvalidFields, which names the field."""
    (segment,) = parse(name, "traces/*", field=field)
    if not _TRACE_ID.fullmatch(segment.lower()):
        raise InvalidFields.one(field, "must end in a trace id: 32 hex digits", "RESOURCE_NAME")
    return UUID(hex=segment)
