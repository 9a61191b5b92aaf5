"""The input of one action while it is put together: its properties, and where each of them goes in the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.v1.definition_pb2 import Parameter, Placement

if TYPE_CHECKING:
    from cordboard.catalog.schemas import Schema

MAX_NAME: Final = 256

_SUFFIXES: Final = {
    Placement.PLACEMENT_PATH: "path",
    Placement.PLACEMENT_QUERY: "query",
    Placement.PLACEMENT_HEADER: "header",
    Placement.PLACEMENT_COOKIE: "cookie",
}


class Inputs:
    """Properties by name, in the order in which they were declared."""

    def __init__(self) -> None:
        """Begins without any."""
        self.properties: dict[str, Schema] = {}
        self.required: list[str] = []
        self.parameters: list[Parameter] = []

    def add(self, name: str, schema: Schema, *, required: bool, suffix: str) -> str:
        """Adds a property and returns what it is called: its name, with a suffix where that is taken."""
        chosen, number = name, 1
        while chosen in self.properties:
            chosen = f"{name}_{suffix}" if number == 1 else f"{name}_{suffix}{number}"
            number += 1
        self.properties[chosen] = schema
        if required:
            self.required.append(chosen)
        return chosen

    def bind(self, parameter: Parameter, schema: Schema, *, required: bool) -> str:
        """Adds a parameter with a property of its own, and returns the property's name."""
        parameter.property = self.add(parameter.name, schema, required=required, suffix=_SUFFIXES[parameter.placement])
        self.parameters.append(parameter)
        return parameter.property

    def property_of(self, name: str, placement: int) -> str:
        """Returns the property that is bound to a place, or an empty text."""
        for parameter in self.parameters:
            if parameter.placement == placement and parameter.name == name:
                return parameter.property
        return ""

    def schema(self) -> dict[str, Any]:
        """Returns the input's schema. What is not a property is refused, for it would go nowhere."""
        schema: dict[str, Any] = {"type": "object", "properties": self.properties}
        if self.required:
            schema["required"] = self.required
        schema["additionalProperties"] = False
        return schema
