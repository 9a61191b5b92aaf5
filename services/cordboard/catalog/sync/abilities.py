"""What a release can do as an edge: run definitions, and take what travels beside them."""

from __future__ import annotations

from typing import Final

from cordboard.catalog.capabilities import RUNTIME

PINS: Final = "sync.pins"
"""It takes the pins of its workspaces."""
ABLE: Final = RUNTIME | {PINS}
"""What this release can do. An edge of which that changed is told everything from the beginning."""
