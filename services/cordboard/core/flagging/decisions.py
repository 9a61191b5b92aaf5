"""What a flag gives in one context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

STATIC: Final = "STATIC"
TARGETING_MATCH: Final = "TARGETING_MATCH"
DEFAULT: Final = "DEFAULT"
STALE: Final = "STALE"
DISABLED: Final = "DISABLED"
ERROR: Final = "ERROR"

FLAG_NOT_FOUND: Final = "FLAG_NOT_FOUND"
PARSE_ERROR: Final = "PARSE_ERROR"
GENERAL: Final = "GENERAL"

# Members of a flag's metadata that mean something here.
REVISION: Final = "revision"
KILLED: Final = "killed"
# The first step of its rules is what workspaces themselves have switched off.
CHOICE: Final = "choice"
# What a copy gives that is too old; without it, what was known last.
WHEN_STALE: Final = "whenStale"
TO_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a flag gives in one context. The value is shared with other decisions: it is not to be changed."""

    value: Any
    """The value of the variant; None where no variant was decided on."""
    variant: str | None
    reason: str
    """STATIC, TARGETING_MATCH, DEFAULT, DISABLED, STALE or ERROR, as OpenFeature has them; a kill says DISABLED."""
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
