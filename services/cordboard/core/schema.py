"""JSON Schema 2020-12 as data from outside: compiled once, no remote references, no backtracking regexes."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import jsonschema_rs

from cordboard.core.errors import Violation

MAX_VIOLATIONS: Final = 50


class SchemaInvalid(ValueError):
    """The schema itself cannot be used; the text says why."""


def _no_fetch(uri: str) -> NoReturn:
    raise SchemaInvalid(f"the reference {uri!r} leads outside the document")


class JsonSchema:
    """A compiled schema."""

    def __init__(self, validator: Any) -> None:
        """Takes what `compile` made."""
        self._validator = validator

    @classmethod
    def compile(cls, schema: dict[str, Any] | bool) -> JsonSchema:
        """Compiles a schema; raises SchemaInvalid."""
        try:
            validator = jsonschema_rs.validator_for(
                schema,
                retriever=_no_fetch,
                # Linear time whatever the pattern: look-around and back-references are refused here.
                pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20),
                validate_formats=False,
                # Stands where the value would: the value may be a secret.
                mask="the value",
            )
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise SchemaInvalid(str(error).splitlines()[0][:300]) from None
        return cls(validator)

    def accepts(self, value: Any) -> bool:
        """Tells whether the value fits; faster than asking for violations."""
        return bool(self._validator.is_valid(value))

    def violations(self, value: Any, field: str = "input") -> list[Violation]:
        """Returns what does not fit, each with its path below `field`; at most MAX_VIOLATIONS.

        The texts never quote the value: it may be a secret.
        """
        if self._validator.is_valid(value):
            return []
        found = []
        for error in self._validator.iter_errors(value):
            found.append(Violation(_path(field, error), _text(error), "SCHEMA"))
            if len(found) == MAX_VIOLATIONS:
                break
        return found


def _path(field: str, error: Any) -> str:
    path = field
    for step in error.instance_path:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        path += f".{error.kind.property}"
    return path


def _text(error: Any) -> str:
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        return "is required"
    return str(error.message)[:300]
