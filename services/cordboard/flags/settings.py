"""What Flags is told by its environment."""

from __future__ import annotations

from cordboard.core.settings import Settings


class FlagsSettings(Settings):
    """The settings of Flags: what every service has, and nothing more."""
