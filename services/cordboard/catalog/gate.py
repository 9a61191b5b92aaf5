"""The compatibility gate: what a new version may change, by the mode that its definition declares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.catalog.compatibility.definitions import Breakage, breakages
from cordboard.catalog.compatibility.mode import Mode
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_DRAFT, VERSION_STATE_RETIRED
from cordboard.core.errors import InvalidFields, NotFound, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor

    from cordboard.catalog.snapshot import Snapshot
    from cordboard.catalog.store import VersionRecord
    from cordboard.catalog.v1.definition_pb2 import Definition

MAX_SHOWN: Final = 100
_UNUSED: Final = (VERSION_STATE_DRAFT, VERSION_STATE_RETIRED)

Bases = tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a definition."""

    mode: Mode
    bases: Bases
    """The versions that it looked at, or could have: those in use, the active one first, then the newest."""
    breakages: tuple[Breakage, ...] = ()


class Gate:
    """Holds a definition against the versions that are in use."""

    def __init__(self, snapshot: Snapshot, worker: Executor) -> None:
        """Takes what is in memory of the catalog, and who compares large definitions."""
        self._snapshot = snapshot
        self._worker = worker

    async def check(self, definition: Definition) -> Bases:
        """Returns the versions in use with which a definition keeps its promise; raises InvalidFields with each field
        that breaks it, and the rule as the reason.
        """
        verdict = await self.verdict(definition)
        if verdict.breakages:
            raise InvalidFields([_violation(one) for one in verdict.breakages[:MAX_SHOWN]])
        return verdict.bases

    async def verdict(self, definition: Definition) -> Verdict:
        """Returns whether a definition keeps the promise that it declares; where it declares none, the one that the
        active version declares.
        """
        bases = self._bases(definition.slug, definition.version)
        first = [await self._definition(definition.slug, version) for version in bases[:1]]
        mode = Mode.declared([definition, *first])
        found: list[Breakage] = []
        if mode is not Mode.NONE:
            for version in bases if mode.transitive else bases[:1]:
                base = await self._definition(definition.slug, version)
                found += await self.compared(base, definition, backward=mode.backward, forward=mode.forward)
        return Verdict(mode, bases, tuple(found))

    async def compared(self, old: Definition, new: Definition, *, backward: bool, forward: bool) -> list[Breakage]:
        """Returns what in `new` breaks what `old` promised, in the directions that are asked for."""
        work = asyncio.get_running_loop().run_in_executor
        return await work(self._worker, lambda: breakages(old, new, backward=backward, forward=forward))

    def _bases(self, slug: str, version: str) -> Bases:
        try:
            active = self._snapshot.integration(slug).active_version
            return in_use(self._snapshot.records(slug), active, version)
        except NotFound:
            return ()

    async def _definition(self, slug: str, version: str) -> Definition:
        return (await self._snapshot.version(slug, version)).message.definition


def in_use(records: Iterable[VersionRecord], active: str, version: str) -> Bases:
    """Returns the versions beside one that are in use: the active one first, then the newest."""
    used = [one for one in records if one.state not in _UNUSED and one.version != version]
    used.sort(key=lambda one: (one.version != active, -one.published))
    return tuple(one.version for one in used)


def _violation(one: Breakage) -> Violation:
    text = f"{one.description} (rule {one.rule}, {one.direction}, against version {one.version})"
    return Violation(one.field, text, one.rule)
