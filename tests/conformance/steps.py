"""What the steps of flagd's evaluation suites mean, for anything that evaluates flags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tests.conformance.gherkin import Scenario, Step

KINDS: Final[Mapping[str, Callable[[str], Any]]] = {
    "Boolean": lambda text: text.lower() == "true",
    "String": str,
    "Integer": int,
    "Float": float,
    "Object": lambda text: json.loads(text.replace("\\", "")),
}


class Unknown(Exception):
    """A step is none that is known here: the scenario is skipped, and not passed."""


class Failed(Exception):
    """A scenario does not hold; the text says where."""


@dataclass(frozen=True)
class Answer:
    """What an evaluation gave."""

    value: Any
    variant: str | None = None
    reason: str | None = None
    error: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Subject(Protocol):
    """Anything that evaluates flags."""

    def evaluate(self, kind: str, key: str, default: Any, context: Mapping[str, Any]) -> Answer:
        """Returns what the flag gives."""
        ...


@dataclass
class _Scene:
    subject: Subject
    kind: str = ""
    key: str = ""
    default: Any = None
    context: dict[str, Any] = field(default_factory=dict)
    answer: Answer | None = None


def play(scenario: Scenario, subject: Subject) -> None:
    """Plays a scenario; raises Failed, or Unknown."""
    scene = _Scene(subject)
    for step in scenario.steps:
        for pattern, act in _STEPS:
            found = pattern.fullmatch(step.text)
            if found is not None:
                act(scene, step, *found.groups())
                break
        else:
            raise Unknown(step.text)


def _flag(scene: _Scene, _step: Step, kind: str, key: str, default: str) -> None:
    scene.kind, scene.key, scene.default = kind, key, KINDS[kind](default)


def _context(scene: _Scene, _step: Step, key: str, kind: str, value: str) -> None:
    # An example without a value has none in its context either.
    if value:
        scene.context[key] = KINDS[kind](value)


def _inner(scene: _Scene, _step: Step, outer: str, inner: str, value: str) -> None:
    scene.context[outer] = {inner: value}


def _targeting_key(scene: _Scene, _step: Step, value: str) -> None:
    scene.context["targetingKey"] = value


def _evaluated(scene: _Scene, _step: Step) -> None:
    scene.answer = scene.subject.evaluate(scene.kind, scene.key, scene.default, scene.context)


def _is(scene: _Scene, what: str, wanted: Any) -> None:
    found = getattr(scene.answer, what)
    # A number is a number: the wire knows one kind of them.
    if found != wanted and not (wanted == "" and found is None):
        raise Failed(f"{what} of {scene.key} is {found!r}, and not {wanted!r}")


def _value(scene: _Scene, _step: Step, value: str) -> None:
    _is(scene, "value", KINDS[scene.kind](value))


def _metadata(scene: _Scene, step: Step) -> None:
    assert scene.answer is not None
    for key, kind, value in step.rows[1:]:
        if scene.answer.metadata.get(key) != KINDS[kind](value):
            raise Failed(f"metadata {key} of {scene.key} is {scene.answer.metadata.get(key)!r}")


def _no_metadata(scene: _Scene, _step: Step) -> None:
    assert scene.answer is not None
    if scene.answer.metadata:
        raise Failed(f"{scene.key} has metadata {dict(scene.answer.metadata)!r}")


_STEPS: Final[tuple[tuple[re.Pattern[str], Callable[..., None]], ...]] = tuple(
    (re.compile(pattern), act)
    for pattern, act in (
        (r"an evaluator", lambda *_: None),
        (r'an? (\w+)-flag with key "(.*)" and a (?:fallback|default) value "(.*)"', _flag),
        (r'a context containing a key "(.*)", with type "(\w+)" and with value "(.*)"', _context),
        (
            r'a context containing a nested property with outer key "(.*)" and inner key "(.*)", with value "(.*)"',
            _inner,
        ),
        (r'a context containing a targeting key with value "(.*)"', _targeting_key),
        (r"the flag was evaluated with details", _evaluated),
        (r'the resolved details value should be "(.*)"', _value),
        (r'the reason should be "(.*)"', lambda scene, _, reason: _is(scene, "reason", reason)),
        (r'the variant should be "(.*)"', lambda scene, _, variant: _is(scene, "variant", variant)),
        (r'the error-code should be "(.*)"', lambda scene, _, code: _is(scene, "error", code)),
        (r"the resolved metadata should contain", _metadata),
        (r"the resolved metadata is empty", _no_metadata),
    )
)
