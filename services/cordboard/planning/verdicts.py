"""What an answer means: by the rules of its definition, and else by its status. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer
from cordboard.planning.pointers import pointed

MAX_MESSAGE: Final = 200

_BY_STATUS: Final[Mapping[int, pb.ErrorAction.ValueType]] = {
    401: pb.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY,
    429: pb.ERROR_ACTION_RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about an answer."""

    action: pb.ErrorAction.ValueType
    ruled: bool = False
    """A rule of the definition says so, and not the status alone."""
    failure: pb.FailureType.ValueType = pb.FAILURE_TYPE_UNSPECIFIED
    message: str = ""
    """What the definition tells the caller about it."""

    @property
    def good(self) -> bool:
        """Tells whether the vendor did what was asked."""
        return self.action in (pb.ERROR_ACTION_SUCCESS, pb.ERROR_ACTION_IGNORE)


_SUCCESS: Final = Verdict(pb.ERROR_ACTION_SUCCESS)


class Judgement:
    """The rules for the answers of one action."""

    def __init__(self, rules: Sequence[pb.ErrorRule], successes: Collection[int] = ()) -> None:
        """Takes the rules, the first that fits decides, and the statuses of success; none: 200 to 299."""
        self._rules = tuple((frozenset(rule.statuses), rule) for rule in rules)
        self._successes = frozenset(successes)

    def verdict(self, answer: Answer, document: Callable[[], Any]) -> Verdict:
        """Returns what an answer means; `document` reads it, None where that cannot be, and is asked where it matters.

        A pointer alone asks whether something is there: null, false, and what is empty are nothing.
        """
        read: list[Any] = []
        for statuses, rule in self._rules:
            if statuses and answer.status not in statuses:
                continue
            if rule.header and rule.header not in answer.headers:
                continue
            if rule.pointer:
                if not read:
                    read.append(document())
                if not _holds(rule, pointed(read[0], rule.pointer)):
                    continue
            return Verdict(rule.action, True, rule.failure, rule.message)
        if answer.status in self._successes or (not self._successes and 200 <= answer.status < 300):
            return _SUCCESS
        return Verdict(_BY_STATUS.get(answer.status, pb.ERROR_ACTION_FAIL))


def vendors_words(document: Any, pointers: Iterable[str]) -> str:
    """Returns the text that an error answer has in one of these places, on one line and cut; empty: none."""
    for pointer in pointers:
        found = pointed(document, pointer)
        if isinstance(found, str) and found.strip():
            plain = "".join(character if character.isprintable() else " " for character in found[: MAX_MESSAGE * 2])
            return " ".join(plain.split())[:MAX_MESSAGE]
    return ""


def _holds(rule: pb.ErrorRule, found: Any) -> bool:
    if not rule.equals and not rule.contains:
        return found is not False and (found == 0 or bool(found)) and found is not None
    if isinstance(found, (dict, list)) or found is None:
        return False
    text = found if isinstance(found, str) else orjson.dumps(found).decode()
    if rule.equals and text not in rule.equals:
        return False
    return rule.contains.casefold() in text.casefold()
