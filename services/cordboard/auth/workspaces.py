"""The workspaces: who the tenants are, and what decides about them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.fields import a_label, a_title, an_id, visible_ascii
from cordboard.auth.store import workspaces as rows
from cordboard.core.audit import Entry
from cordboard.core.errors import AlreadyExists, EtagMismatch, InvalidFields, NotFound, Violation

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database


@dataclass(frozen=True)
class Workspace:
    """A tenant."""

    id: str
    display_name: str
    customer: str
    tier: str
    region: str
    etag: str
    create_time: datetime
    update_time: datetime


def _required_label(value: str, field: str) -> list[Violation]:
    return a_label(value, field) if value else [Violation(field, "is required", "REQUIRED")]


def _optional(check: Callable[[str, str], list[Violation]]) -> Callable[[str, str], list[Violation]]:
    return lambda value, field: check(value, field) if value else []


# What a caller may set, with the check of each.
_CHECKS: Final[Mapping[str, Callable[[str, str], list[Violation]]]] = {
    "display_name": a_title,
    "customer": _optional(visible_ascii),
    "tier": _required_label,
    "region": _optional(a_label),
}


class Workspaces:
    """Keeps the workspaces."""

    def __init__(self, database: Database, journal: Journal) -> None:
        """Takes where they are kept."""
        self._database = database
        self._journal = journal

    async def create(self, workspace_id: str, values: Mapping[str, str]) -> Workspace:
        """Creates a workspace; raises InvalidFields and AlreadyExists."""
        wrong = an_id(workspace_id, "workspace_id") + _wrong(values)
        if wrong:
            raise InvalidFields(wrong)
        async with self._database.workspace(workspace_id) as connection:
            row = await rows.add_workspace(connection, workspace_id, values)
            if row is None:
                raise AlreadyExists(_name(workspace_id))
            await self._journal.append(connection, _entry("create", workspace_id, values))
        return _shown(row)

    async def workspace(self, workspace_id: str) -> Workspace:
        """Returns a workspace; raises NotFound."""
        async with self._database.workspace(workspace_id) as connection:
            row = await rows.workspace(connection, workspace_id)
        if row is None:
            raise NotFound(_name(workspace_id))
        return _shown(row)

    async def workspaces(self, *, after: str, limit: int) -> list[Workspace]:
        """Returns up to `limit` workspaces with an id above `after`, in order of id."""
        async with self._database.everywhere() as connection:
            return [_shown(row) for row in await rows.workspaces(connection, after=after, limit=limit)]

    async def update(
        self, workspace_id: str, values: Mapping[str, str], paths: Collection[str], etag: str
    ) -> Workspace:
        """Changes the fields in `paths`; without any, those that are not empty (AIP-134).

        Raises InvalidFields, NotFound, and EtagMismatch where an etag is given and is not the current one.
        """
        unknown = [path for path in paths if path not in _CHECKS and path != "*"]
        if unknown:
            raise InvalidFields([Violation("update_mask", f"cannot change {path!r}") for path in unknown])
        if "*" in paths:
            paths = _CHECKS
        changes = {field: values[field] for field in _CHECKS if (field in paths if paths else values[field])}
        wrong = _wrong(changes)
        if wrong:
            raise InvalidFields(wrong)
        async with self._database.workspace(workspace_id) as connection:
            row = await rows.workspace(connection, workspace_id, lock=True)
            if row is None:
                raise NotFound(_name(workspace_id))
            if etag and etag != _etag(row):
                raise EtagMismatch(_name(workspace_id))
            if changes:
                row = await rows.change_workspace(connection, workspace_id, changes)
                await self._journal.append(connection, _entry("update", workspace_id, changes))
        return _shown(row)


def _wrong(values: Mapping[str, str]) -> list[Violation]:
    return [
        violation
        for field, check in _CHECKS.items()
        if field in values
        for violation in check(values[field], f"workspace.{field}")
    ]


def _entry(verb: str, workspace_id: str, values: Mapping[str, str]) -> Entry:
    return Entry(
        action=f"auth.workspace.{verb}", resource=_name(workspace_id), workspace=workspace_id, details=dict(values)
    )


def _name(workspace_id: str) -> str:
    return f"workspaces/{workspace_id}"


def _etag(row: rows.WorkspaceRow) -> str:
    return f"r{row.revision}"


def _shown(row: rows.WorkspaceRow) -> Workspace:
    return Workspace(
        row.id,
        row.display_name,
        row.customer,
        row.tier,
        row.region,
        _etag(row),
        row.create_time,
        row.update_time,
    )
