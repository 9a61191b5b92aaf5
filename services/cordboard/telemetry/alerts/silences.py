"""What operators keep quiet, for a time and for a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, NotFound, Violation
from cordboard.core.names import new_id
from cordboard.telemetry.alerts.rules import BY_NAME
from cordboard.telemetry.alerts.store import Silence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock
    from cordboard.telemetry.alerts.store import AlertStore

LONGEST: Final = timedelta(days=30)
KEPT: Final = timedelta(days=7)
MAX_TEXT: Final = 200
MAX_LABELS: Final = 8


class Silences:
    """Silences, and who wanted them."""

    def __init__(self, store: AlertStore, journal: Journal, clock: Clock) -> None:
        """Takes the journal that every change is written into."""
        self._store = store
        self._journal = journal
        self._clock = clock

    async def silence(self, rule: str, labels: Mapping[str, str], seconds: float, reason: str) -> Silence:
        """Keeps alerts quiet from now on; raises InvalidFields."""
        _check(rule, labels, seconds, reason)
        now = self._clock.now()
        made = Silence(new_id(), rule, labels, reason, current_caller().actor, now, now + timedelta(seconds=seconds))
        details = {"rule": rule, "labels": dict(labels), "until": made.end_time.isoformat(), "reason": reason}
        async with self._store.database.shared() as connection:
            await self._store.put_silence(connection, made)
            await self._journal.append(
                connection, Entry("telemetry.silence.create", f"silences/{made.id}", details=details)
            )
        return made

    async def end(self, silence_id: str) -> None:
        """Ends a silence now; raises NotFound."""
        name = f"silences/{silence_id}"
        async with self._store.database.shared() as connection:
            if not await self._store.end_silence(connection, silence_id, self._clock.now()):
                raise NotFound(name)
            await self._journal.append(connection, Entry("telemetry.silence.delete", name))

    async def listed(self, *, before: str, limit: int) -> list[Silence]:
        """Returns the silences that did not end more than a week ago, newest first, with ids below `before`."""
        return await self._store.silences(at=self._clock.now() - KEPT, before=before, limit=limit)

    async def holding(self) -> tuple[list[Silence], datetime]:
        """Returns the silences that hold, and the time at which they do."""
        now = self._clock.now()
        return await self._store.silences(at=now), now


def _check(rule: str, labels: Mapping[str, str], seconds: float, reason: str) -> None:
    wrong = []
    if rule and rule not in BY_NAME:
        wrong.append(Violation("rule", f"must be one of {', '.join(sorted(BY_NAME))}"))
    if not rule and not labels:
        wrong.append(Violation("labels", "must not be empty when rule is: that would silence everything"))
    texts = [*labels, *labels.values(), reason]
    if len(labels) > MAX_LABELS or any(len(each) > MAX_TEXT or "\0" in each for each in texts):
        wrong.append(
            Violation("labels", f"must be at most {MAX_LABELS}, with at most {MAX_TEXT} characters and without NUL")
        )
    if not 0 < seconds <= LONGEST.total_seconds():
        wrong.append(Violation("duration", f"must be more than nothing and at most {LONGEST.days} days"))
    if not reason.strip():
        wrong.append(Violation("reason", "must say why"))
    if wrong:
        raise InvalidFields(wrong)
