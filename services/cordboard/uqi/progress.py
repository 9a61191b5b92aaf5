"""How far the making of forms is, in this process: what is being made now, and what went wrong last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from cordboard.core.times import Clock

# Of versions that could not be made; the oldest are forgotten first.
MOST_ENDED: Final = 1_000
_PROBLEM: Final = 300


@dataclass(frozen=True, slots=True)
class Progress:
    """The making of the forms of one version. `total` is 0 until the definition is read."""

    integration: str
    version: str
    start_time: datetime
    made: int = 0
    total: int = 0
    problem: str = ""
    """Why it ended without forms; empty while it goes on."""
    end_time: datetime | None = None


class ProgressBoard:
    """Keeps what is being made, and what could not be."""

    def __init__(self, clock: Clock) -> None:
        """Takes the clock."""
        self._clock = clock
        self._running: dict[tuple[str, str], Progress] = {}
        self._ended: OrderedDict[tuple[str, str], Progress] = OrderedDict()

    def begun(self, integration: str, version: str) -> None:
        """Notes that the forms of a version are being made."""
        self._running[integration, version] = Progress(integration, version, self._clock.now())

    def reached(self, integration: str, version: str, made: int, total: int) -> None:
        """Notes how many forms of a version there are now."""
        key = (integration, version)
        self._running[key] = replace(self._running[key], made=made, total=total)

    def done(self, integration: str, version: str) -> None:
        """Forgets a version whose forms are stored."""
        self._running.pop((integration, version), None)
        self._ended.pop((integration, version), None)

    def failed(self, integration: str, version: str, problem: str) -> None:
        """Notes that a version has no forms, and why."""
        found = self._running.pop((integration, version), None)
        if found is None:
            return
        self._ended[integration, version] = replace(found, problem=problem[:_PROBLEM], end_time=self._clock.now())
        self._ended.move_to_end((integration, version))
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def of(self, integration: str, version: str) -> Progress | None:
        """Returns the making of a version that goes on, or that failed last; None for neither."""
        key = (integration, version)
        return self._running.get(key) or self._ended.get(key)

    def versions(self, integration: str) -> Iterable[str]:
        """Returns the versions of an integration that it knows of."""
        return {version for slug, version in (*self._running, *self._ended) if slug == integration}
