"""What reading flags of other tools needs, whichever tool it is."""

from __future__ import annotations

import re
from typing import Final

KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
VARIANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
# What rules read of a context, by the field of a rule.
CONDITIONS: Final = {
    "tier": "tiers",
    "workspace": "workspaces",
    "customer": "customers",
    "environment": "environments",
    "region": "regions",
}


class Unsayable(Exception):
    """A flag says something that ours cannot; the text says what."""
