"""Holds figures against what is promised: each is said, and a run that missed one ends with status 1.

CORDBOARD_SCALE_AIMS multiplies every bound: above 1 for a machine that is known to be slow or busy; 0 is the control,
with which a run has to fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


class Aims:
    """The aims of one measurement."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Takes where the factor stands."""
        self._factor = float(environment.get("CORDBOARD_SCALE_AIMS", "1"))
        self.missed: list[str] = []

    def at_most(self, what: str, found: float, bound: float, unit: str) -> None:
        """Says a figure beside its bound, and notes it where it is above."""
        bound *= self._factor
        self._say(what, found <= bound, f"{found:.4g} {unit}, at most {bound:.4g}")

    def exactly(self, what: str, found: int, wanted: int) -> None:
        """Says a count beside what it has to be; no factor moves it."""
        self._say(what, found == wanted, f"{found}, not {wanted}" if found != wanted else str(found))

    def settle(self) -> None:
        """Ends the program with status 1 where an aim was missed."""
        if self.missed:
            load = f"load of this machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            sys.stderr.write(f"missed: {'; '.join(self.missed)} ({load})\n")
            raise SystemExit(1)

    def _say(self, what: str, holds: bool, text: str) -> None:
        print(f"{'held' if holds else 'MISSED':6} {what}: {text}", flush=True)
        if not holds:
            self.missed.append(f"{what}, {text}")
