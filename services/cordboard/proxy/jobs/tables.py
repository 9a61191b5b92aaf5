"""The columns of a table that keeps a dataclass field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

_TYPES: Final[Mapping[str, Any]] = {
    "int": sa.Integer,
    "float": sa.Float,
    "bool": sa.Boolean,
    "bytes": sa.LargeBinary,
    "bytes | None": sa.LargeBinary,
    "datetime": sa.DateTime(timezone=True),
    "datetime | None": sa.DateTime(timezone=True),
    "dict[str, Any]": JSONB,
    "str": sa.Text,
}


def columns_of(kind: type) -> list[sa.Column[Any]]:
    """Returns a column for each field of a dataclass."""
    return [sa.Column(each.name, _TYPES[str(each.type)]) for each in fields(kind)]
