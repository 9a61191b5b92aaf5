"""What a definition promises about its next versions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cordboard.catalog.v1.definition_pb2 import CompatibilityMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cordboard.catalog.v1.definition_pb2 import Definition


class Mode(Enum):
    """A compatibility mode, named as a schema registry names it."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    """Whoever uses the version before can use the new one unchanged."""
    FORWARD = "FORWARD"
    """Whoever uses the new version can use the one before unchanged: a way back."""
    FULL = "FULL"
    """Both."""
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def backward(self) -> bool:
        """Tells whether users of older versions are held to be safe."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def forward(self) -> bool:
        """Tells whether users of the newer version are held to be safe."""
        return self.value.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        """Tells whether every version in use counts, and not the active one alone."""
        return self.value.endswith("TRANSITIVE")

    @classmethod
    def declared(cls, definitions: Iterable[Definition]) -> Mode:
        """Returns the mode that the first of the definitions declares which declares any; NONE where none does."""
        for definition in definitions:
            mode = cls.of(definition)
            if mode is not None:
                return mode
        return cls.NONE

    @classmethod
    def of(cls, definition: Definition) -> Mode | None:
        """Returns the mode that a definition declares, or None."""
        if not definition.compatibility:
            return None
        return cls(CompatibilityMode.Name(definition.compatibility).removeprefix("COMPATIBILITY_MODE_"))
