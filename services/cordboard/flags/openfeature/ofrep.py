"""Answers in the words of OFREP 0.3, the OpenFeature Remote Evaluation Protocol: bodies, statuses, tags."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cordboard.core.errors import CordboardError, FlagBroken, FlagFailed, NotFound
from cordboard.core.http_answers import NOT_MODIFIED, entity_tag, is_held
from cordboard.flags.openfeature.resolution import resolution

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cordboard.core.flagging import FlagSet

OK: Final = 200
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404

FLAG_NOT_FOUND: Final = "FLAG_NOT_FOUND"
PARSE_ERROR: Final = "PARSE_ERROR"
INVALID_CONTEXT: Final = "INVALID_CONTEXT"
GENERAL: Final = "GENERAL"


@dataclass(frozen=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    body: bytes
    tag: str = ""
    """The entity tag of the body (RFC 9110 section 8.8.3), where it has one."""


class RequestUnusable(Exception):
    """A request says nothing that can be evaluated; the text says why."""

    def __init__(self, code: str, text: str) -> None:
        """Takes OpenFeature's code for what is wrong."""
        super().__init__(text)
        self.code = code


def context_of(body: bytes) -> dict[str, Any]:
    """Returns the evaluation context of a request, empty where it has none; raises RequestUnusable."""
    if not body.strip():
        return {}
    try:
        document = json.loads(body, parse_float=_number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise RequestUnusable(PARSE_ERROR, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise RequestUnusable(PARSE_ERROR, "the body is not a JSON object")
    context = document.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise RequestUnusable(INVALID_CONTEXT, "`context` is not an object")
    if not isinstance(context.get("targetingKey", ""), str):
        raise RequestUnusable(INVALID_CONTEXT, "`context.targetingKey` is not text")
    return context


def refusal(problem: RequestUnusable, key: str | None = None) -> Answer:
    """Returns the answer to a request that cannot be used; `key` is the flag that it was about."""
    return _answer(BAD_REQUEST, _failure(key, problem.code, str(problem)))


def one(flags: FlagSet, key: str, context: Mapping[str, Any]) -> Answer:
    """Returns the answer to a question about one flag."""
    found = _evaluated(flags, key, context)
    code = found.get("errorCode")
    return _answer({None: OK, FLAG_NOT_FOUND: NOT_FOUND}.get(code, BAD_REQUEST), found)


def every(flags: FlagSet, context: Mapping[str, Any], known: str, streams: Sequence[Mapping[str, Any]]) -> Answer:
    """Returns the answer about all flags; nothing but its tag where that is one of those in `known`.

    `streams` says where the client hears of changes.
    """
    body = encoded({"flags": [_evaluated(flags, key, context) for key in sorted(flags)], "eventStreams": streams})
    tag = entity_tag(body)
    if is_held(tag, known):
        return Answer(NOT_MODIFIED, b"", tag)
    return Answer(OK, body, tag)


def _evaluated(flags: FlagSet, key: str, context: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = resolution(flags, key, context)
    except NotFound:
        return _failure(key, FLAG_NOT_FOUND, "there is no such flag")
    except FlagBroken:
        return _failure(key, PARSE_ERROR, "the rules of the flag are broken")
    except (FlagFailed, CordboardError):
        return _failure(key, GENERAL, "the rules of the flag cannot be evaluated in this context")
    if isinstance(found.value, list):
        return _failure(key, GENERAL, "the value of the flag is a list, for which this protocol has no type")
    # Some clients read the variant without looking whether there is one.
    answer = {"key": key, "reason": found.reason, "variant": found.variant or "", "metadata": dict(found.metadata)}
    # Without a value the client takes the default of its code.
    return answer if found.variant is None else {**answer, "value": found.value}


def _failure(key: str | None, code: str, text: str) -> dict[str, Any]:
    named = {} if key is None else {"key": key}
    return {**named, "errorCode": code, "errorDetails": text}


def _answer(status: int, content: Mapping[str, Any]) -> Answer:
    return Answer(status, encoded(content))


def encoded(content: Mapping[str, Any]) -> bytes:
    """Returns JSON as answers have it."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _number(text: str) -> int | float:
    # As everywhere in a context: what is whole is an integer, so that 7.0 equals 7 as text too.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return int(number) if number.is_integer() else number


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)
