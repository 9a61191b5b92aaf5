"""The experiments that run, in memory beside the flags: what an evaluation asks whether it is in one."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.flags.experiments.population import is_member, population_of
from cordboard.flags.prerequisites import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cordboard.core.database import Changes
    from cordboard.core.flagging import FlagSet
    from cordboard.flags.experiments.store import ExperimentRecord, ExperimentStore
    from cordboard.flags.store import FlagRecord, FlagStore

logger = logging.getLogger(__name__)

# Workspaces of each experiment that are known to be written already.
MAX_KNOWN: Final = 100_000


@dataclass
class Running:
    """An experiment that runs, and its flag as it is."""

    record: ExperimentRecord
    flag: FlagRecord
    needed: Mapping[str, FlagRecord] = field(default_factory=dict)
    """The flags that it needs, and those that they need."""
    known: set[tuple[str, str]] = field(default_factory=set)
    """Workspaces and variants that are written already."""

    @functools.cached_property
    def counts(self) -> bool:
        """Tells whether the flag still divides the workspaces as it did when the experiment began."""
        return divides(self.record, self.flag, self.needed)

    def has(self, context: Mapping[str, Any], variant: str, flags: FlagSet) -> bool:
        """Tells whether this context, which gets `variant` of these flags, is one that the experiment compares."""
        population = self.record.population
        if not any(arm.variant == variant for arm in population.arms):
            return False
        return is_member(self.flag.key, self.flag.content, population, context, flags)

    def remember(self, workspace: str, variant: str) -> None:
        """Notes that this is written."""
        if len(self.known) >= MAX_KNOWN:
            self.known.clear()
        self.known.add((workspace, variant))


def divides(record: ExperimentRecord, flag: FlagRecord, needed: Mapping[str, FlagRecord]) -> bool:
    """Tells whether a flag divides the workspaces as it did when an experiment began: no kill has it give one thing."""
    if flag.killed or any(each.killed for each in needed.values()):
        return False
    contents = [each.content for each in needed.values()]
    try:
        return population_of(flag.key, flag.content, record.population.rule + 1, contents) == record.population
    except CordboardError:
        return False


class RunningExperiments:
    """Keeps the experiments that run, by flag."""

    def __init__(self, experiments: ExperimentStore, flags: FlagStore) -> None:
        """Takes where experiments and flags are kept; knows nothing until `run` or `refresh`."""
        self._experiments = experiments
        self._flags = flags
        self._found: dict[str, Running] = {}

    def of(self, flag: str) -> Running | None:
        """Returns the experiment with a flag that counts now; None where there is none."""
        found = self._found.get(flag)
        return found if found is not None and found.counts else None

    def all(self) -> list[Running]:
        """Returns all that run."""
        return list(self._found.values())

    async def needed(self, flag: FlagRecord) -> dict[str, FlagRecord]:
        """Returns the flags that one needs, and those that they need; raises DependencyUnavailable."""
        return await needed(flag.key, flag.content, self._flags.flag)

    async def refresh(self) -> None:
        """Reads which experiments run; raises DependencyUnavailable."""
        found: dict[str, Running] = {}
        for record in await self._experiments.running():
            flag = await self._flags.flag(record.plan.flag)
            if flag is None:
                continue
            before = self._found.get(flag.key)
            known = before.known if before is not None and before.record.key == record.key else set()
            found[flag.key] = Running(record, flag, await self.needed(flag), known)
        self._found = found

    async def run(self, changes: Changes) -> None:
        """Follows the changes of flags and experiments for ever."""
        async with changes.subscription() as subscription:
            while True:
                try:
                    await self.refresh()
                except CordboardError as error:
                    logger.warning("the experiments could not be read", extra={"problem": type(error).__name__})
                await subscription.wait()
