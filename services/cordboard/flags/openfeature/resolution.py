"""What a flag gives to an OpenFeature client, as flagd's evaluator would say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import FlagBroken, FlagFailed, InvalidFields, NotFound
from cordboard.core.flagging import DISABLED, ERROR, KILLED, PARSE_ERROR, STATIC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cordboard.core.flagging import Decision, FlagSet


@dataclass(frozen=True)
class Resolution:
    """A decision in the words of flagd: no value means the code's own default."""

    value: Any
    variant: str | None
    reason: str
    metadata: Mapping[str, Any]


class Kind:
    """A type of values that a client can ask for."""

    def __init__(self, name: str, fits: Callable[[Any], bool], convert: Callable[[Any], Any]) -> None:
        """Takes what the type is called, whether a value is of it, and how the value is given out."""
        self.name = name
        self.fits = fits
        self.convert = convert


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: float) -> int:
    # flagd cuts off what comes after the point; what 64 bits cannot hold is none of this type.
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise InvalidFields.one("flag_key", "names a flag whose value is no number of 64 bits", "TYPE_MISMATCH")
    return number


BOOLEAN: Final = Kind("boolean", lambda value: isinstance(value, bool), bool)
STRING: Final = Kind("string", lambda value: isinstance(value, str), str)
INT: Final = Kind("int", _is_number, _whole)
FLOAT: Final = Kind("float", _is_number, float)
OBJECT: Final = Kind("object", lambda value: isinstance(value, dict), dict)


def resolution(flags: FlagSet, key: str, context: Mapping[str, Any], kind: Kind | None = None) -> Resolution:
    """Returns what the flag gives in a context; of any type where `kind` is None.

    Raises NotFound, FlagBroken, FlagFailed, and InvalidFields where the value is of another type.
    """
    decision = flags.evaluate(key, context)
    if decision.reason == ERROR:
        raise _problem(key, decision)
    metadata = flags.metadata(key)
    # A killed flag gives its off variant to everybody, whoever evaluates it: that is a value like any other. Clients
    # take the reason DISABLED for the code's own default.
    reason = STATIC if decision.reason == DISABLED and metadata.get(KILLED) is True else decision.reason
    if decision.variant is None:
        return Resolution(None, None, reason, metadata)
    value = decision.value
    if kind is not None:
        if not kind.fits(value):
            raise InvalidFields.one("flag_key", f"names a flag that is not of type {kind.name}", "TYPE_MISMATCH")
        value = kind.convert(value)
    return Resolution(value, decision.variant, reason, metadata)


def _problem(key: str, decision: Decision) -> Exception:
    if not decision.found:
        return NotFound(f"flags/{key}")
    return FlagBroken(key) if decision.error == PARSE_ERROR else FlagFailed(key)
