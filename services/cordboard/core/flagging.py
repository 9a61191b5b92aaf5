"""Sets of flags in flagd's JSON, and their evaluation in process, for every service that asks one.

The engine is `openfeature-flagd-core`. It refuses a whole set for one bad flag and raises on strange input; here each
flag has an engine of its own, so that a bad one is left out alone, and an evaluation always answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from cordboard.core.errors import DocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from openfeature.flag_evaluation import FlagResolutionDetails

STATIC: Final = "STATIC"
TARGETING_MATCH: Final = "TARGETING_MATCH"
DEFAULT: Final = "DEFAULT"
DISABLED: Final = "DISABLED"
ERROR: Final = "ERROR"

FLAG_NOT_FOUND: Final = "FLAG_NOT_FOUND"
PARSE_ERROR: Final = "PARSE_ERROR"
GENERAL: Final = "GENERAL"

REVISION: Final = "revision"
KILLED: Final = "killed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a flag gives in one context. The value is shared with other decisions: it is not to be changed."""

    value: Any
    """The value of the variant; None where no variant was decided on."""
    variant: str | None
    reason: str
    """STATIC, TARGETING_MATCH, DEFAULT, DISABLED or ERROR, as OpenFeature has them; a killed flag says DISABLED."""
    revision: int | None = None
    """The revision of the flag that decided, where the set tells it."""
    error: str = ""
    """With ERROR: FLAG_NOT_FOUND, PARSE_ERROR (the flag or its rules are broken) or GENERAL."""

    @property
    def found(self) -> bool:
        """Tells whether the set has the flag at all."""
        return self.error != FLAG_NOT_FOUND

    def value_or(self, default: Any) -> Any:
        """Returns the value, or `default` where no variant was decided on."""
        return default if self.variant is None else self.value


class FlagSet:
    """An immutable set of flags that can be evaluated."""

    def __init__(self, definitions: Mapping[str, Any], evaluators: Mapping[str, Any] | None = None) -> None:
        """Takes flagd flag definitions by key, and the `$evaluators` that they refer to."""
        self._flags: dict[str, _Flag] = {}
        self._left_out: dict[str, str] = {}
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


@dataclass(frozen=True, slots=True)
class _Flag:
    variants: Mapping[str, Any]
    revision: int | None
    killed: bool
    resolve: Callable[[EvaluationContext], FlagResolutionDetails[Any]]
    # A flag without rules gives the same in every context, so that is worked out once.
    always: Decision | None

    @classmethod
    def read(cls, key: str, definition: Any, evaluators: Mapping[str, Any] | None) -> _Flag:
        if not isinstance(definition, dict):
            raise _Unreadable("is not an object")
        kind = _kind_of(definition)
        # The engine changes what it is given, so it gets a copy.
        document: dict[str, Any] = {"flags": {key: dict(definition)}}
        if evaluators is not None:
            document["$evaluators"] = dict(evaluators)
        engine = FlagdCore()
        try:
            engine.set_flags(document)
        except OpenFeatureError as problem:
            raise _Unreadable(problem.error_message or "has fields that flagd does not know") from None
        except Exception as problem:
            raise _Unreadable(f"cannot be read: {type(problem).__name__}") from None
        metadata = definition.get("metadata") or {}
        revision = metadata.get(REVISION)
        flag = cls(
            variants=definition["variants"],
            revision=revision if isinstance(revision, int) and not isinstance(revision, bool) else None,
            killed=metadata.get(KILLED) is True,
            resolve=_resolver(engine, key, kind),
            always=None,
        )
        if definition.get("targeting"):
            return flag
        return cls(flag.variants, flag.revision, flag.killed, flag.resolve, flag.decide({}))

    def decide(self, context: Mapping[str, Any]) -> Decision:
        if self.always is not None:
            return self.always
        try:
            attributes = dict(context)
            subject = attributes.get("targetingKey")
            found = self.resolve(EvaluationContext(subject if isinstance(subject, str) else None, attributes))
        except OpenFeatureError as problem:
            error = PARSE_ERROR if problem.error_code == PARSE_ERROR else GENERAL
            return Decision(None, None, ERROR, self.revision, error)
        except Exception:
            # Rules of other tools over values of any kind: the engine may stumble, its caller must not.
            return Decision(None, None, ERROR, self.revision, GENERAL)
        reason = DISABLED if self.killed else str(found.reason)
        value = None if found.variant is None else self.variants.get(found.variant)
        return Decision(value, found.variant, reason, self.revision)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _kind_of(definition: Mapping[str, Any]) -> type:
    """Returns the one type of the variants' values; the engine answers only to whoever asks with the right one."""
    variants = definition.get("variants")
    if not isinstance(variants, dict) or not variants:
        raise _Unreadable("has no variants")
    default = definition.get("defaultVariant")
    name = str(default).lower() if isinstance(default, bool) else default
    if name and (not isinstance(name, str) or name not in variants):
        raise _Unreadable("its default is none of its variants")
    targeting = definition.get("targeting")
    if targeting is not None and not isinstance(targeting, dict):
        raise _Unreadable("its targeting is not an object")
    kinds = {float if type(value) is int else type(value) for value in variants.values()}
    if len(kinds) != 1:
        raise _Unreadable("its variants are not of one type")
    (kind,) = kinds
    if kind is type(None):
        raise _Unreadable("its variants have no value")
    return kind


def _resolver(engine: FlagdCore, key: str, kind: type) -> Callable[[EvaluationContext], FlagResolutionDetails[Any]]:
    if kind is bool:
        return lambda context: engine.resolve_boolean_value(key, False, context)
    if kind is str:
        return lambda context: engine.resolve_string_value(key, "", context)
    if kind is float:
        return lambda context: engine.resolve_float_value(key, 0.0, context)
    return lambda context: engine.resolve_object_value(key, {}, context)
