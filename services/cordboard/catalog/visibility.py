"""Who sees which integration: the shared catalog is everybody's, a private integration is one workspace's alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_DRAFT
from cordboard.core.caller import Caller
from cordboard.core.ownership import SEPARATOR, owner_of

PUBLISHER: Final = "publisher"
WORKSPACE_ADMIN: Final = "workspace-admin"


def private_slug(workspace: str, name: str) -> str:
    """Returns the slug of a workspace's private integration; a name that has the workspace already keeps it."""
    prefix = workspace + SEPARATOR
    return name if name.startswith(prefix) else prefix + name


@dataclass(frozen=True)
class View:
    """What a caller sees."""

    everywhere: bool
    workspace: str
    drafts: bool
    """Whether it sees drafts of the shared catalog."""
    private_drafts: bool
    """Whether it sees drafts of its workspace."""

    @classmethod
    def of(cls, caller: Caller) -> View:
        """Returns the view of a caller; a service that came with its certificate alone sees all but drafts."""
        if not caller.token_id:
            return cls(everywhere=True, workspace="", drafts=False, private_drafts=False)
        if caller.is_operator:
            return cls(everywhere=True, workspace="", drafts=True, private_drafts=True)
        publisher = PUBLISHER in caller.roles
        return cls(
            everywhere=False,
            workspace=caller.workspace,
            drafts=publisher,
            private_drafts=publisher or WORKSPACE_ADMIN in caller.roles,
        )

    def sees(self, slug: str, state: int) -> bool:
        """Tells whether a version in this state, or an integration of such versions, is there for the caller."""
        if not state:
            return False
        if state != VERSION_STATE_DRAFT and SEPARATOR not in slug:
            return True
        owner = owner_of(slug)
        if owner and not self.everywhere and owner != self.workspace:
            return False
        if state != VERSION_STATE_DRAFT:
            return True
        return self.private_drafts if owner else self.drafts


def may_write(caller: Caller, slug: str) -> bool:
    """Tells whether a caller who sees an integration may also change it."""
    if caller.is_operator or PUBLISHER in caller.roles:
        return True
    return bool(owner_of(slug)) and WORKSPACE_ADMIN in caller.roles
