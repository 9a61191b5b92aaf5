"""The config variables of a definition, and their values for one connection: what was set, then the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import StateConflict
from cordboard.core.schema import JsonSchema
from cordboard.core.secrets import Secret
from cordboard.core.variables import meant, schema_of
from cordboard.planning import styles


@dataclass(frozen=True, slots=True)
class Values:
    """What the config variables are for one connection."""

    meant: Secret[Mapping[str, Any]] = field(default_factory=lambda: Secret({}))
    """Each value by its variable, as the schema means it; a variable without a value is not there."""

    def of(self, name: str) -> Any:
        """Returns the value of a variable, or None where it has none."""
        return self.meant.reveal().get(name)


NO_VALUES: Final = Values()


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    secret: bool
    required: bool
    schema: JsonSchema | None
    default: Any


class Variables:
    """The config variables of one definition."""

    def __init__(self, definition: pb.Definition) -> None:
        """Takes the definition; what is wrong with a variable is told when a value is asked for."""
        self._where = f"integrations/{definition.slug}/versions/{definition.version}"
        self._variables = tuple(_variable(told) for told in definition.config_variables)
        self.defaults: Mapping[str, str] = {
            one.name: styles.text(one.default) for one in self._variables if one.default is not None
        }
        """The values of those that nobody has set, as text."""

    def values(self, configuration: Mapping[str, str], secrets: Secret[Mapping[str, str]]) -> Values:
        """Returns the values for a connection; secret variables have theirs among the secrets.

        Raises StateConflict that names a required variable without a value, or one whose value does not fit.
        """
        if not self._variables:
            return NO_VALUES
        found: dict[str, Any] = {}
        hidden = secrets.reveal()
        for one in self._variables:
            text = hidden.get(one.name) if one.secret else configuration.get(one.name)
            if text:
                try:
                    found[one.name] = meant(text, one.schema)
                except ValueError:
                    raise refusal(self._where, one.name, "has a value that does not fit its schema") from None
            elif one.default is not None:
                found[one.name] = one.default
            elif one.required:
                raise refusal(self._where, one.name, "has no value")
        return Values(Secret(found))


def refusal(version: str, variable: str, problem: str) -> StateConflict:
    """Returns the error about a config variable of a definition's version, with what to do."""
    text = f"the config variable {variable!r} {problem}: set it for the workspace or for the connection"
    return StateConflict(version, "configuration", text, variable=variable)


def _variable(told: pb.ConfigVariable) -> _Variable:
    default = orjson.loads(told.default_value_json) if told.default_value_json else None
    return _Variable(told.name, told.secret, told.required, schema_of(told.schema_json), default)
