"""Recorded answers, read as the Proxy reads them: what they mean and what comes out is as the recording says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from multidict import CIMultiDict

from cordboard.catalog.document import enum_names
from cordboard.catalog.findings import Findings
from cordboard.catalog.v1.definition_pb2 import ErrorAction
from cordboard.planning.answers import read_answer
from cordboard.planning.decoders import Undecodable
from cordboard.planning.interpretation import Interpretation

if TYPE_CHECKING:
    from cordboard.catalog.v1.definition_pb2 import Action, Definition, Example
    from cordboard.core.errors import Violation
    from cordboard.planning.answers import Answer

# No recording says when it was made; what is read of waits and limits is not compared.
_THEN: Final = datetime(2000, 1, 1, tzinfo=UTC)


def misreadings(definition: Definition) -> list[Violation]:
    """Returns every recorded answer that is read otherwise than its example says; nothing else is wrong with it."""
    found = Findings()
    for index, action in enumerate(definition.actions):
        if not action.examples:
            continue
        interpretation = Interpretation(definition, action)
        for position, example in enumerate(action.examples):
            if example.HasField("response"):
                below = found.below("actions", index).below("examples", position)
                for field, problem in _misreadings(action, interpretation, example):
                    below.add(field, problem)
    return found.violations


def _misreadings(action: Action, interpretation: Interpretation, example: Example) -> Iterator[tuple[str, str]]:
    answer = _answer(interpretation, example)
    verdict = interpretation.verdict(answer)
    wanted = example.outcome or ErrorAction.ERROR_ACTION_SUCCESS
    if verdict.action != wanted:
        yield "outcome", f"is {_word(wanted)}, and the answer means {_word(verdict.action)}"
    elif example.output_json:
        try:
            made = _value(interpretation.output(answer))
        except Undecodable as problem:
            yield "response", f"cannot be read: it {problem}"
            return
        if made != orjson.loads(example.output_json):
            yield "output", f"is otherwise than what {action.id!r} makes of the response"


def _answer(interpretation: Interpretation, example: Example) -> Answer:
    response = example.response
    headers = CIMultiDict(response.headers)
    if response.body_json:
        headers.setdefault("Content-Type", "application/json")
    body = (response.body_json or response.body_text).encode()
    return read_answer(response.status, headers, body, interpretation.dialect, _THEN)


def _value(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.body.decode()


def _word(action: int) -> str:
    return next(name for name, value in enum_names(ErrorAction.DESCRIPTOR).items() if value == action)
