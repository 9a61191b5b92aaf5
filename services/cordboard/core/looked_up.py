"""Gauges whose numbers somebody has to look up, in a database: done now and then, for a scrape should wait for none."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from cordboard.core.measures import Measures, Reading

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 10.0


class LookedUpGauge(ABC):
    """Looks its readings up again and again; while that fails it has none."""

    def __init__(self, measures: Measures, name: str, unit: str, labels: tuple[str, ...]) -> None:
        """Takes the measures of the process and what the gauge is called there; `run` has to run."""
        self._name = name
        self._readings: list[Reading] = []
        measures.gauge(name, unit, labels, lambda: self._readings)

    @abstractmethod
    async def readings(self) -> list[Reading]:
        """Returns what is so now; raises what the database says."""

    async def run(self) -> None:
        """Looks every ten seconds, for ever."""
        while True:
            try:
                await self.look()
            except CordboardError as error:
                self._readings = []
                logger.warning("a gauge cannot be read", extra={"gauge": self._name, "problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Looks once."""
        self._readings = await self.readings()
