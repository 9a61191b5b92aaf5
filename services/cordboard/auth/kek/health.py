"""How the key provider is: asked now and then, and told before it matters."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.auth.kek.provider import DEPENDENCY, KeyProvider
from cordboard.core.errors import DependencyUnavailable

if TYPE_CHECKING:
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

# A provider may take money for each question.
EVERY_SECONDS: Final = 20.0
# So long the keys in memory serve without it; after that this process is of no use.
BEARABLE_SECONDS: Final = 300.0


class ProviderHealth:
    """Tests the provider; an outage is in the log at once, and makes the service unready when memory runs out."""

    def __init__(self, provider: KeyProvider, clock: Clock) -> None:
        """Takes a provider that has just answered."""
        self._provider = provider
        self._clock = clock
        self._well = clock.monotonic()

    async def check(self) -> None:
        """Raises DependencyUnavailable once the provider has not answered for too long."""
        if self._clock.monotonic() - self._well > BEARABLE_SECONDS:
            raise DependencyUnavailable(DEPENDENCY)

    async def run(self) -> None:
        """Tests it for ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> bool:
        """Tests it once; tells whether it answered."""
        try:
            await self._provider.health()
        except DependencyUnavailable:
            seconds = round(self._clock.monotonic() - self._well)
            logger.error("the key provider does not answer", extra={"seconds": seconds})
            return False
        self._well = self._clock.monotonic()
        return True
