"""In what an answer of a vendor shows that its definition has fallen behind. Pure."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from cordboard.catalog.v1.drift_service_pb2 import (
    DRIFT_KIND_DEPRECATION,
    DRIFT_KIND_ENDPOINT,
    DRIFT_KIND_OUTPUT,
    DRIFT_KIND_SCOPE,
)
from cordboard.planning.decoders import Undecodable

if TYPE_CHECKING:
    from cordboard.planning.answers import Answer
    from cordboard.proxy.definitions import Action

Sign = tuple[int, str, str]
"""Its kind, its place, and what does not hold there."""

# Beyond these, PostgreSQL and Python disagree about what a time is.
_LATEST: Final = 253_402_300_799
_GONE: Final = (405, 410, 501)
_MAX_RULE: Final = 255
_SCOPE: Final = re.compile(r'\berror="?insufficient_scope\b', re.IGNORECASE)
_SCOPES: Final = re.compile(r'\bscope="([^"]*)"', re.IGNORECASE)


def signs_of_answer(action: Action, answer: Answer, *, reads_output: bool) -> list[Sign]:
    """Returns what a success shows; `reads_output` tells that its body is the output that the definition describes."""
    found: list[Sign] = [
        (DRIFT_KIND_DEPRECATION, name, _day(answer.headers[name])) for name in _ENDS if answer.headers.get(name)
    ]
    # A success that says nothing, such as 204, is no output: the schema is of the one that says something.
    if reads_output and answer.body:
        # What cannot be read fails the call, and is told there.
        with contextlib.suppress(Undecodable, ValueError):
            output = action.interpretation.output(answer).json()
            found += [(DRIFT_KIND_OUTPUT, place, rule) for place, rule in action.drift(output)]
    return found


def signs_of_refusal(answer: Answer) -> list[Sign]:
    """Returns what an error shows."""
    if answer.status in _GONE:
        return [(DRIFT_KIND_ENDPOINT, "status", str(answer.status))]
    challenge = answer.headers.get("WWW-Authenticate", "")
    if answer.status in (401, 403) and _SCOPE.search(challenge):
        scopes = _SCOPES.search(challenge)
        return [(DRIFT_KIND_SCOPE, "WWW-Authenticate", _words(scopes[1] if scopes is not None else ""))]
    return []


_ENDS: Final = ("Deprecation", "Sunset")


def _day(value: str) -> str:
    """Returns the day that a header names, as ISO 8601 has it; empty where it names none."""
    try:
        if value.startswith("@"):
            seconds = int(value[1:])
            return datetime.fromtimestamp(seconds, UTC).date().isoformat() if 0 <= seconds <= _LATEST else ""
        return parsedate_to_datetime(value).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def _words(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:_MAX_RULE]
