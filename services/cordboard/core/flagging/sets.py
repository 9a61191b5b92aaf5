"""Immutable sets of flags.

Other evaluators refuse a whole set for one bad flag and raise on strange input; here each flag is read by itself, so
that a bad one is left out alone, and an evaluation always answers.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cordboard.core.errors import DocumentInvalid
from cordboard.core.flagging.bucketing import BUCKETING, NEWEST
from cordboard.core.flagging.decisions import (
    CHOICE,
    DEFAULT,
    DISABLED,
    ERROR,
    FLAG_NOT_FOUND,
    GENERAL,
    KILLED,
    PARSE_ERROR,
    REVISION,
    STALE,
    STATIC,
    TARGETING_MATCH,
    TO_DEFAULT,
    WHEN_STALE,
    Decision,
)
from cordboard.core.flagging.rules import RuleBroken, compiled, inlined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

STATES: Final = ("ENABLED", "DISABLED")
# What flagd's clients know of a flag: they refuse a whole set for one member more.
MEMBERS: Final = frozenset({"state", "variants", "defaultVariant", "targeting", "metadata", "source", "selector"})


class FlagSet:
    """An immutable set of flags that can be evaluated."""

    def __init__(self, definitions: Mapping[str, Any], evaluators: Mapping[str, Any] | None = None) -> None:
        """Takes flagd flag definitions by key, and the `$evaluators` that they refer to."""
        self._flags: dict[str, _Flag] = {}
        self._left_out: dict[str, str] = {}
        self._when_stale: FlagSet | None = None
        self._take(definitions.items(), evaluators)

    @classmethod
    def parse(cls, flagd_json: str | bytes) -> FlagSet:
        """Reads flagd JSON, `{"flags": {...}}`; raises DocumentInvalid where there is no such object."""
        try:
            document = json.loads(flagd_json, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise DocumentInvalid("the flag configuration is not JSON") from None
        flags = document.get("flags") if isinstance(document, dict) else None
        if not isinstance(flags, dict):
            raise DocumentInvalid("the flag configuration has no object `flags`")
        evaluators = document.get("$evaluators")
        return cls(flags, evaluators if isinstance(evaluators, dict) else None)

    def updated(self, definitions: Mapping[str, Any]) -> FlagSet:
        """Returns a set with these flags in the place of those of the same keys; the others are not read again."""
        changed = FlagSet({})
        changed._flags = {key: flag for key, flag in self._flags.items() if key not in definitions}
        changed._left_out = {key: why for key, why in self._left_out.items() if key not in definitions}
        changed._take(definitions.items(), None)
        return changed

    def joined(self, changes: FlagSet) -> FlagSet:
        """Returns a set with the flags of another in the place of those of the same keys."""
        named = changes._flags.keys() | changes._left_out.keys()
        joined = FlagSet({})
        joined._flags = {key: flag for key, flag in self._flags.items() if key not in named} | changes._flags
        joined._left_out = {key: why for key, why in self._left_out.items() if key not in named} | changes._left_out
        return joined

    def when_stale(self) -> FlagSet:
        """Returns the set as it holds in a copy that is too old: flags that say so give their default, as STALE."""
        if self._when_stale is None:
            aged = FlagSet({})
            aged._flags = {key: flag.when_stale() for key, flag in self._flags.items()}
            aged._left_out = self._left_out
            self._when_stale = aged
        return self._when_stale

    @property
    def left_out(self) -> Mapping[str, str]:
        """Returns the flags that could not be read, by key, each with the reason."""
        return MappingProxyType(self._left_out)

    def __contains__(self, key: str) -> bool:
        """Tells whether the set has the flag, and could read it."""
        return key in self._flags

    def __len__(self) -> int:
        """Returns the number of flags that can be evaluated."""
        return len(self._flags)

    def metadata(self, key: str) -> Mapping[str, Any]:
        """Returns what the flag says about itself, nothing for an unknown one."""
        flag = self._flags.get(key)
        return flag.metadata if flag is not None else {}

    def __iter__(self) -> Iterator[str]:
        """Yields the keys of the flags that can be evaluated."""
        return iter(self._flags)

    def evaluate(self, key: str, context: Mapping[str, Any]) -> Decision:
        """Returns what the flag gives in `context`; whatever either of them holds, it answers and never raises."""
        flag = self._flags.get(key)
        if flag is None:
            return _BROKEN if key in self._left_out else _UNKNOWN
        return flag.decide(context)

    def _take(self, definitions: Iterable[tuple[str, Any]], evaluators: Mapping[str, Any] | None) -> None:
        for key, definition in definitions:
            try:
                self._flags[key] = _Flag.read(key, definition, evaluators)
            except _Unreadable as problem:
                self._left_out[key] = str(problem)


_UNKNOWN: Final = Decision(None, None, ERROR, error=FLAG_NOT_FOUND)
_BROKEN: Final = Decision(None, None, ERROR, error=PARSE_ERROR)


class _Unreadable(Exception):
    """A flag definition cannot be used; the text says why."""


class _Rule:
    """A flag's rule. It is compiled when it is first run: of a large set a process asks for a few flags."""

    __slots__ = ("_bucketing", "_document", "_evaluators", "run")

    def __init__(self, document: Any, evaluators: Mapping[str, Any], bucketing: Any) -> None:
        self._document = document
        self._evaluators = evaluators
        self._bucketing = bucketing
        self.run: Callable[[Any], Any] = self._first

    def _first(self, context: Any) -> Any:
        try:
            self.run = compiled(inlined(self._document, self._evaluators), bucketing=self._bucketing)
        except RuleBroken:
            self.run = _break
        # What was compiled is not needed again.
        self._document = None
        return self.run(context)


def _break(_context: Any) -> NoReturn:
    raise RuleBroken


@dataclass(frozen=True, slots=True)
class _Flag:
    key: str
    variants: Mapping[str, Any]
    metadata: Mapping[str, Any]
    revision: int | None
    otherwise: Decision
    """What it gives where no rule decides."""
    rule: _Rule | None
    """None where it gives the same in every context."""
    choice: _Rule | None = None
    """What holds in a copy of any age: what workspaces themselves have switched off."""

    @classmethod
    def read(cls, key: str, definition: Any, evaluators: Mapping[str, Any] | None) -> _Flag:
        if not isinstance(definition, dict):
            raise _Unreadable("is not an object")
        _check(definition)
        metadata = definition.get("metadata") or {}
        revision = metadata.get(REVISION)
        revision = revision if isinstance(revision, int) and not isinstance(revision, bool) else None
        variants = definition["variants"]
        default = _variant_name(definition.get("defaultVariant")) or None
        rules = definition.get("targeting")
        if definition["state"] == "DISABLED":
            return cls(key, variants, metadata, revision, Decision(None, None, DISABLED, revision), None)
        reason = DEFAULT if rules or default is None else STATIC
        if metadata.get(KILLED) is True:
            reason = DISABLED
        value = None if default is None else variants[default]
        otherwise = Decision(value, default, reason, revision)
        if not rules:
            return cls(key, variants, metadata, revision, otherwise, None)
        rule = _Rule(rules, evaluators or {}, metadata.get(BUCKETING, NEWEST))
        return cls(key, variants, metadata, revision, otherwise, rule, _choice(rules, metadata))

    def when_stale(self) -> _Flag:
        # A kill is no rule that may have changed back: it holds until somebody is heard to end it. So does what a
        # workspace has switched off for itself.
        if self.metadata.get(WHEN_STALE) != TO_DEFAULT or self.otherwise.reason == DISABLED:
            return self
        return replace(self, otherwise=replace(self.otherwise, reason=STALE), rule=self.choice)

    def decide(self, context: Mapping[str, Any]) -> Decision:
        if self.rule is None:
            return self.otherwise
        try:
            # The flag's own facts stand above whatever a caller sends under that name.
            found = self.rule.run({**context, "$flagd": {"flagKey": self.key, "timestamp": int(time.time())}})
            if found is None:
                return self.otherwise
            variant = _variant_name(found)
            if isinstance(variant, str) and variant in self.variants:
                reason = DISABLED if self.otherwise.reason == DISABLED else TARGETING_MATCH
                return Decision(self.variants[variant], variant, reason, self.revision)
        except RuleBroken:
            return Decision(None, None, ERROR, self.revision, PARSE_ERROR)
        except Exception:
            # Rules of other tools over values of any kind: an operator may stumble, its caller must not.
            return Decision(None, None, ERROR, self.revision, GENERAL)
        return Decision(None, None, ERROR, self.revision, GENERAL)


def _choice(rules: Mapping[str, Any], metadata: Mapping[str, Any]) -> _Rule | None:
    steps = rules.get("if") if metadata.get(CHOICE) is True else None
    return _Rule({"if": steps[:2]}, {}, NEWEST) if isinstance(steps, list) and len(steps) >= 2 else None


def _variant_name(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _check(definition: Mapping[str, Any]) -> None:
    """Raises _Unreadable where a definition is none that every flagd client takes."""
    if definition.get("state") not in STATES:
        raise _Unreadable("its state is neither ENABLED nor DISABLED")
    if not definition.keys() <= MEMBERS:
        raise _Unreadable("has fields that flagd does not know")
    variants = definition.get("variants")
    if not isinstance(variants, dict) or not variants:
        raise _Unreadable("has no variants")
    default = _variant_name(definition.get("defaultVariant"))
    if default and (not isinstance(default, str) or default not in variants):
        raise _Unreadable("its default is none of its variants")
    targeting = definition.get("targeting")
    if targeting is not None and not isinstance(targeting, dict):
        raise _Unreadable("its targeting is not an object")
    kinds = {float if type(value) is int else type(value) for value in variants.values()}
    if len(kinds) != 1:
        raise _Unreadable("its variants are not of one type")
    if kinds == {type(None)}:
        raise _Unreadable("its variants have no value")
    metadata = definition.get("metadata")
    if metadata and (
        not isinstance(metadata, dict) or not all(isinstance(each, (str, int, float)) for each in metadata.values())
    ):
        raise _Unreadable("its metadata are not plain values by name")
