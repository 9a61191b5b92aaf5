"""Whose integration one is: a private one says so in its slug, `{workspace}--{name}`; no shared slug has `--`.

So a private name can neither clash with another nor stand in for it, and every service knows the owner from the slug.
"""

from __future__ import annotations

from typing import Final

from cordboard.core.errors import NotFound

SEPARATOR: Final = "--"


def owner_of(slug: str) -> str:
    """Returns the id of the workspace that alone sees an integration; empty: it is shared."""
    return slug.rpartition(SEPARATOR)[0]


def ensure_usable(slug: str, workspace: str) -> None:
    """Returns when a workspace can use an integration; raises NotFound, as for one that is not there."""
    if owner_of(slug) not in ("", workspace):
        raise NotFound(f"integrations/{slug}")
