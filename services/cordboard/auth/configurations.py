"""Variables that go with credentials: what a workspace has set for all its connections to an integration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.store import configurations as rows
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.ownership import ensure_usable
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.auth.definitions import Definitions
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

_FIELD: Final = "values"
_PREFIX: Final = "config."


@dataclass(frozen=True)
class Configuration:
    """What a workspace has set: the values that may be shown, and the names of those that may not."""

    workspace: str
    integration: str
    values: Mapping[str, str]
    secret_names: tuple[str, ...]
    update_time: datetime


@dataclass(frozen=True)
class Settings:
    """The values of a workspace for one integration, all of them."""

    values: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret[str]] = field(default_factory=dict)


def secret_field(name: str) -> str:
    """Returns the field under which a connection keeps a secret variable of its own."""
    return f"{_PREFIX}{name}"


def secret_variable(field_name: str) -> str | None:
    """Returns the variable that a field of a connection holds, or None when it holds something else."""
    return field_name.removeprefix(_PREFIX) if field_name.startswith(_PREFIX) else None


class Configurations:
    """Keeps what workspaces have set."""

    def __init__(self, database: Database, vault: Vault, definitions: Definitions, journal: Journal) -> None:
        """Takes the definitions, which say what can be set."""
        self._database = database
        self._vault = vault
        self._definitions = definitions
        self._journal = journal

    async def put(
        self, workspace: str, integration: str, values: Mapping[str, str], secrets: Mapping[str, str]
    ) -> Configuration:
        """Sets all values of a workspace for an integration; a secret that is given empty stays as it was.

        Raises NotFound, and InvalidFields with every value that is wrong.
        """
        ensure_usable(integration, workspace)
        definition = await self._definitions.definition(integration)
        wrong = definition.wrong_values(values, secrets)
        if wrong:
            raise InvalidFields(wrong)
        drawer = await self._vault.drawer(workspace)
        name = _name(workspace, integration)
        async with self._database.workspace(workspace) as connection:
            if await workspace_rows.workspace(connection, workspace) is None:
                raise NotFound(f"workspaces/{workspace}")
            before = await rows.configuration(connection, workspace, integration, lock=True)
            known: dict[str, str] = {}
            if before is not None and before.sealed is not None:
                opened = drawer.open(_resource(integration), _FIELD, before.revision, before.sealed)
                known = json.loads(opened.reveal())
            kept = {each: value or known.get(each, "") for each, value in secrets.items()}
            kept = {each: value for each, value in kept.items() if value}
            revision = before.revision + 1 if before is not None else 1
            sealed = None
            if kept:
                sealed = drawer.seal(_resource(integration), _FIELD, revision, Secret(json.dumps(kept)))
            row = await rows.put_configuration(connection, workspace, integration, values, revision, sealed)
            details = {"names": sorted({*values, *kept}), "revision": revision}
            entry = Entry(action="auth.configuration.put", resource=name, workspace=workspace, details=details)
            await self._journal.append(connection, entry)
            await self._tell(connection, workspace, integration)
        return Configuration(workspace, integration, row.configuration, tuple(sorted(kept)), row.update_time)

    async def shown(self, workspace: str, integration: str) -> Configuration:
        """Returns what a workspace has set for an integration, without secrets; raises NotFound."""
        async with self._database.workspace(workspace) as connection:
            row = await rows.configuration(connection, workspace, integration)
        if row is None:
            raise NotFound(_name(workspace, integration))
        names = (await self.opened(row)).secrets
        return Configuration(workspace, integration, row.configuration, tuple(sorted(names)), row.update_time)

    async def settings(self, workspace: str, integration: str) -> Settings:
        """Returns every value that a workspace has set for an integration."""
        async with self._database.workspace(workspace) as connection:
            row = await rows.configuration(connection, workspace, integration)
        return Settings() if row is None else await self.opened(row)

    async def values(
        self,
        workspace: str,
        integration: str,
        configuration: Mapping[str, str],
        own: Mapping[str, Secret[str]],
    ) -> dict[str, Secret[str]]:
        """Returns what `{name}` stands for: what was typed in, the variables of the connection and of the workspace,
        and the definition's defaults.
        """
        shared = await self.settings(workspace, integration)
        defaults = (await self._definitions.definition(integration)).defaults
        plain = {name: Secret(value) for name, value in {**defaults, **shared.values, **configuration}.items()}
        secret = {found: value for name, value in own.items() if (found := secret_variable(name)) is not None}
        return {**plain, **shared.secrets, **secret, **own}

    async def opened(self, row: rows.ConfigurationRow) -> Settings:
        """Returns every value of a row; raises Unreadable."""
        if row.sealed is None:
            return Settings(row.configuration)
        drawer = await self._vault.drawer(row.workspace)
        opened = drawer.open(_resource(row.integration), _FIELD, row.revision, row.sealed)
        secrets = {name: Secret(value) for name, value in json.loads(opened.reveal()).items()}
        return Settings(row.configuration, secrets)

    @staticmethod
    async def _tell(connection: AsyncConnection, workspace: str, integration: str) -> None:
        # Whoever holds a lease of one of them has to lease again: the values travel with the credential.
        for connection_id, generation in await connection_rows.ids_of(connection, workspace, integration):
            await connection_rows.record_change(connection, workspace, connection_id, generation)


def _name(workspace: str, integration: str) -> str:
    return f"workspaces/{workspace}/integrations/{integration}/configuration"


def _resource(integration: str) -> str:
    return f"configurations/{integration}"
