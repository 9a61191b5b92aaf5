"""What the steps of flagd-testbed's suites of providers ask, as plain data: the same for a client in any language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.conformance.gherkin import Scenario, Step
from tests.conformance.steps import KINDS, Unknown

Act = dict[str, Any]
"""One thing to do or to look at: `do` says which, the other members what with."""

_OPTIONS: Final[dict[str, Callable[[str], Any]]] = {
    "Integer": int,
    "Long": int,
    "Boolean": KINDS["Boolean"],
    "String": str,
    "CacheType": str,
    "StringList": lambda text: [each.strip() for each in text.split(",") if each.strip()],
}


def acts(scenario: Scenario) -> list[Act]:
    """Returns what a scenario asks, in order; raises Unknown for a step that is none of those known here."""
    found: list[Act] = []
    for step in scenario.steps:
        for pattern, act in _PHRASES:
            match = pattern.fullmatch(step.text)
            if match is not None:
                found += act(step, *match.groups())
                break
        else:
            raise Unknown(step.text)
    return list(_typed(found))


def _typed(found: list[Act]) -> Iterator[Act]:
    """Yields the acts with the value that is wanted as one of the type of the flag that was asked for."""
    kind = "String"
    for act in found:
        kind = act["kind"] if act["do"] == "flag" else kind
        yield {**act, "wanted": KINDS[kind](act["wanted"])} if act.get("what") == "value" else act


def _option(_step: Step, name: str, kind: str, value: str) -> Iterator[Act]:
    yield {"do": "option", "name": name, "value": _OPTIONS[kind](value)}


def _provider(_step: Step, name: str) -> Iterator[Act]:
    yield {"do": "provider", "name": name}


def _flag(_step: Step, kind: str, key: str, default: str) -> Iterator[Act]:
    yield {"do": "flag", "kind": kind, "key": key, "default": KINDS[kind](default)}


def _context(_step: Step, key: str, kind: str, value: str) -> Iterator[Act]:
    # An example without a value has none in its context either; a text without a sign in it is one.
    if value or kind == "String":
        yield {"do": "context", "key": key, "value": KINDS[kind](value)}


def _inner(_step: Step, outer: str, inner: str, value: str) -> Iterator[Act]:
    yield {"do": "context", "key": outer, "value": {inner: value}}


def _targeting_key(_step: Step, value: str) -> Iterator[Act]:
    yield {"do": "context", "key": "targetingKey", "value": value}


def _handler(_step: Step, event: str) -> Iterator[Act]:
    yield {"do": "handler", "event": event}


def _fired(_step: Step, event: str, milliseconds: str | None = None) -> Iterator[Act]:
    yield {"do": "fired", "event": event, "within": int(milliseconds) / 1000 if milliseconds else None}


def _lost(_step: Step, seconds: str) -> Iterator[Act]:
    yield {"do": "lost", "seconds": int(seconds)}


def _wanted(what: str) -> Callable[[Step, str], Iterator[Act]]:
    def expect(_step: Step, wanted: str) -> Iterator[Act]:
        yield {"do": "expect", "what": what, "wanted": wanted}

    return expect


def _metadata(step: Step) -> Iterator[Act]:
    yield {"do": "metadata", "wanted": {key: KINDS[kind](value) for key, kind, value in step.rows[1:]}}


def _plain(do: str) -> Callable[[Step], Iterator[Act]]:
    def one(_step: Step) -> Iterator[Act]:
        yield {"do": do}

    return one


_PHRASES: Final[tuple[tuple[re.Pattern[str], Callable[..., Iterator[Act]]], ...]] = tuple(
    (re.compile(pattern), act)
    for pattern, act in (
        (r'an option "(.*)" of type "(\w+)" with value "(.*)"', _option),
        (r"an? (\w+) flagd provider", _provider),
        (r'an? (\w+)-flag with key "(.*)" and a (?:fallback|default) value "(.*)"', _flag),
        (r'a context containing a key "(.*)", with type "(\w+)" and with value "(.*)"', _context),
        (
            r'a context containing a nested property with outer key "(.*)" and inner key "(.*)", with value "(.*)"',
            _inner,
        ),
        (r'a context containing a targeting key with value "(.*)"', _targeting_key),
        (r"an? (\w+) event handler", _handler),
        (r"an? (\w+) event was fired", _fired),
        (r"the (\w+) event handler should have been executed", _fired),
        (r"the (\w+) event handler should have been executed within (\d+)ms", _fired),
        (r"the connection is lost for (\d+)s", _lost),
        (r"the flag was modified", _plain("change")),
        (r"the flag should be part of the event payload", _plain("payload")),
        (r"the flag was evaluated with details", _plain("evaluate")),
        (r'the resolved details value should be "(.*)"', _wanted("value")),
        (r'the reason should be "(.*)"', _wanted("reason")),
        (r'the variant should be "(.*)"', _wanted("variant")),
        (r'the error-code should be "(.*)"', _wanted("error")),
        (r"the resolved metadata should contain", _metadata),
        (r"the resolved metadata is empty", _plain("no metadata")),
        (r"the client should be in fatal state", _plain("fatal")),
    )
)
