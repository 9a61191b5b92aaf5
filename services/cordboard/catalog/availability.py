"""Which integrations a workspace may use: decided here by the flags that decide it in the Proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.errors import InvalidFields
from cordboard.core.flag_copy import FlagCopy
from cordboard.core.flagging import integration_key, is_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.catalog.reach import Reach
    from cordboard.core.caller import Caller
    from cordboard.core.channel import Channels


class Availability:
    """The whole set of flags, and what it says of integrations that can work here."""

    def __init__(self, channels: Channels, max_staleness: float, reach: Reach) -> None:
        """Takes the way to Flags, after how many seconds without it the set is too old, and which vendors can be
        reached from here; `run` has to run.
        """
        self._flags = FlagCopy(channels, "catalog", max_staleness=max_staleness)
        self._reach = reach

    async def run(self) -> None:
        """Keeps the copy current, for ever."""
        await self._flags.run()

    def of(self, caller: Caller) -> Callable[[str], bool]:
        """Returns what tells, by slug, whether the caller's workspace may use an integration in its environment.

        Raises InvalidFields for a caller without a workspace, and DependencyUnavailable before a set of flags has come.
        """
        if not caller.workspace:
            raise InvalidFields.one("available_only", "needs the token of a workspace")
        flags = self._flags.flags
        context = {
            "targetingKey": caller.workspace,
            "workspace": caller.workspace,
            "customer": caller.customer,
            "tier": caller.tier,
            "region": caller.region,
            "environment": caller.environment,
        }
        reach = self._reach
        return lambda slug: reach.holds(slug) and is_on(flags.evaluate(integration_key(slug), context))
