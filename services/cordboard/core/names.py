"""Resource names (AIP-122) and ids."""

from __future__ import annotations

import os
import re
import time
from typing import Final

from cordboard.core.errors import InvalidFields, Violation

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
# Crockford's base 32 in lower case, two digits at a time: it is asked for several times in a call.
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS: Final = range(120, -1, -10)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,254}")


def parse(name: str, pattern: str, *, field: str = "name") -> tuple[str, ...]:
    """Returns the segments of `name` that stand for the `*` of `pattern`; raises InvalidFields naming `field`."""
    segments, expected = name.split("/"), pattern.split("/")
    found = []
    if len(segments) == len(expected):
        for segment, wanted in zip(segments, expected, strict=True):
            if wanted == "*":
                # A literal asterisk is no id either.
                if not _SEGMENT.fullmatch(segment):
                    break
                found.append(segment)
            elif wanted != segment:
                break
        else:
            return tuple(found)
    raise InvalidFields([Violation(field, f"must look like {pattern.replace('*', '{id}')!r}", "RESOURCE_NAME")])


def check_id(value: str, field: str) -> str:
    """Returns `value` when it is a valid id: 2 to 63 of a-z, 0-9 and hyphens; raises InvalidFields otherwise."""
    if not _ID.fullmatch(value):
        raise InvalidFields(
            [Violation(field, "must be 2 to 63 of a-z, 0-9 and hyphens, begin with a letter and not end in a hyphen")]
        )
    return value


def new_id() -> str:
    """Returns a new id of 26 characters (a-z, 0-9) that sorts by the time it was made, within a millisecond."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
