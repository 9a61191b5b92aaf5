"""The routes as this process obeys them, and how they change: a copy in memory, so that no call asks for one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cordboard.core.audit import Entry
from cordboard.core.errors import DependencyUnavailable, EtagMismatch, NotFound, StateConflict
from cordboard.proxy.backends.route import DIRECT, Backend, RemoteConnection, Route

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.audit import Journal
    from cordboard.core.database import Changes, Database
    from cordboard.proxy.backends.store import RouteStore

LOAD_SECONDS: Final = 5.0


class Routes:
    """The routes of all workspaces."""

    def __init__(self, store: RouteStore, database: Database, journal: Journal, changes: Changes) -> None:
        """Takes where routes and the journal are kept, and the news of other replicas; `run` has to run."""
        self._store = store
        self._database = database
        self._journal = journal
        self._changes = changes
        self._routes: dict[tuple[str, str], Route] = {}
        self._remote: dict[str, tuple[Route, RemoteConnection]] = {}
        self._complete = False

    async def run(self) -> None:
        """Follows other replicas, for ever."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._changes.run())
            jobs.create_task(self._follow())

    async def check(self) -> None:
        """Raises DependencyUnavailable until the routes were read once: a call could take the wrong way."""
        if not self._complete:
            raise DependencyUnavailable("database")

    def route(self, workspace: str, integration: str) -> Route | None:
        """Returns the route of a workspace's calls to an integration; None: they go directly."""
        return self._routes.get((workspace, integration))

    def primary(self, workspace: str, integration: str) -> Backend:
        """Returns the backend that answers; raises DependencyUnavailable before routes were read once."""
        found = self._routes.get((workspace, integration))
        if found is None and not self._complete:
            raise DependencyUnavailable("database")
        return found.primary if found is not None else DIRECT

    def elsewhere(self, connection: str) -> tuple[Route, RemoteConnection] | None:
        """Returns a connection that only the backend which answers has, by its resource name here; None: it has not."""
        return self._remote.get(connection)

    async def put(self, route: Route, etag: str) -> Route:
        """Keeps a route; where there is one already, its primary stays: raises StateConflict for another one.

        Raises EtagMismatch.
        """
        async with self._database.workspace(route.workspace) as connection:
            known = await self._store.held(connection, route.workspace, route.integration)
            _match(route.name, known, etag)
            if known is not None and known.primary != route.primary:
                text = "the primary of a route changes by a cut over: put the other one as its candidate first"
                raise StateConflict(route.name, "primary", text)
            begins = known is None or known.candidate != route.candidate or not known.shadow_rate
            era = (known.era if known is not None else 0) + begins
            made = await self._store.put(connection, replace(route, era=era), cut_over=False)
            details = {
                "primary": route.primary.kind.value,
                "candidate": route.candidate.kind.value if route.candidate is not None else "",
                "shadow_rate": f"{route.shadow_rate:g}",
            }
            await self._note(connection, "proxy.backend.put", made, details)
        self._adopt(made)
        return made

    async def cut_over(self, workspace: str, integration: str, etag: str) -> Route:
        """Has the candidate answer, and makes what answered the candidate; raises NotFound, StateConflict."""
        async with self._database.workspace(workspace) as connection:
            known = await self._known(connection, workspace, integration, etag)
            if known.candidate is None:
                raise StateConflict(known.name, "candidate", "the route has no candidate to cut over to")
            turned = replace(known, primary=known.candidate, candidate=known.primary, shadow_rate=0.0)
            made = await self._store.put(connection, turned, cut_over=True)
            details = {"from": known.primary.kind.value, "to": made.primary.kind.value}
            await self._note(connection, "proxy.backend.cut_over", made, details)
        self._adopt(made)
        return made

    async def delete(self, workspace: str, integration: str, etag: str) -> None:
        """Deletes a route; raises NotFound, EtagMismatch."""
        async with self._database.workspace(workspace) as connection:
            known = await self._known(connection, workspace, integration, etag)
            await self._store.delete(connection, workspace, integration)
            await self._note(connection, "proxy.backend.delete", known, {"primary": known.primary.kind.value})
        self._routes.pop((workspace, integration), None)
        self._index()

    async def _known(self, connection: AsyncConnection, workspace: str, integration: str, etag: str) -> Route:
        known = await self._store.held(connection, workspace, integration)
        if known is None:
            raise NotFound(Route(workspace, integration).name)
        _match(known.name, known, etag)
        return known

    async def _note(self, connection: AsyncConnection, action: str, route: Route, details: dict[str, str]) -> None:
        entry = Entry(action, route.name, workspace=route.workspace, details=details)
        await self._journal.append(connection, entry)

    async def _follow(self) -> None:
        async with self._changes.subscription() as subscription:
            while True:
                try:
                    async with asyncio.timeout(LOAD_SECONDS):
                        found = await self._store.all()
                except (DependencyUnavailable, TimeoutError):
                    # What was known last goes on holding.
                    pass
                else:
                    self._take(found)
                await subscription.wait()

    def _take(self, found: list[Route]) -> None:
        # What this process changed meanwhile is newer than what was read.
        routes = {(one.workspace, one.integration): one for one in found}
        for key, known in self._routes.items():
            read = routes.get(key)
            if read is not None and read.revision < known.revision:
                routes[key] = known
        self._routes, self._complete = routes, True
        self._index()

    def _adopt(self, route: Route) -> None:
        key = (route.workspace, route.integration)
        known = self._routes.get(key)
        if known is None or known.revision < route.revision:
            self._routes[key] = route
            self._index()

    def _index(self) -> None:
        self._remote = {
            f"workspaces/{route.workspace}/connections/{one.connection}": (route, one)
            for route in self._routes.values()
            for one in route.primary.connections
            if one.environment
        }


def _match(name: str, known: Route | None, etag: str) -> None:
    if etag and (known is None or known.etag != etag):
        raise EtagMismatch(name)
