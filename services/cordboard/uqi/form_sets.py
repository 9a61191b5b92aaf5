"""Sets of forms as people ask for them: whether those of a version are there, and how far they are."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from cordboard.uqi.drafts import Failure
    from cordboard.uqi.progress import Progress, ProgressBoard
    from cordboard.uqi.store import FormStore, SetRecord

ACTIVE: Final = "active"


class SetState(enum.Enum):
    """Where the forms of a version are."""

    MAKING = "making"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FormSet:
    """The forms of a version. Of a version that is made again, `update_time` is that of the forms that are served."""

    integration: str
    version: str
    active: bool
    state: SetState
    made: int
    total: int
    start_time: datetime | None
    update_time: datetime | None
    problem: str = ""
    failures: tuple[Failure, ...] = ()


class FormSets:
    """Answers with sets."""

    def __init__(self, store: FormStore, board: ProgressBoard) -> None:
        """Takes where forms are kept, and what knows of those that are being made."""
        self._store = store
        self._board = board

    async def form_set(self, integration: str, version: str) -> FormSet:
        """Returns the set of a version (`active` for the active one); raises NotFound."""
        active = await self._store.active_version(integration) or ""
        wanted = active if version == ACTIVE else version
        stored = await self._store.form_set(integration, wanted) if wanted else None
        progress = self._board.of(integration, wanted)
        if stored is None and progress is None:
            raise NotFound(f"integrations/{integration}/formSets/{version}")
        return _set(integration, wanted, active, stored, progress)

    async def page(self, integration: str, *, after: str, limit: int) -> list[FormSet]:
        """Returns up to `limit` sets with a version above `after` as text, in the order of their versions."""
        active = await self._store.active_version(integration) or ""
        stored = await self._store.form_sets(integration, after=after, limit=limit)
        others = {version for version in self._board.versions(integration) if version > after}
        versions = sorted({*stored, *others})[:limit]
        return [
            _set(integration, version, active, stored.get(version), self._board.of(integration, version))
            for version in versions
        ]


def _set(integration: str, version: str, active: str, stored: SetRecord | None, progress: Progress | None) -> FormSet:
    state = SetState.READY
    if progress is not None:
        state = SetState.FAILED if progress.end_time is not None else SetState.MAKING
    count = stored.form_count if stored is not None else 0
    return FormSet(
        integration,
        version,
        version == active,
        state,
        made=count if progress is None else progress.made,
        total=count + len(stored.failures if stored is not None else ()) if progress is None else progress.total,
        start_time=progress.start_time if progress is not None else None,
        update_time=stored.update_time if stored is not None else None,
        problem=progress.problem if progress is not None else "",
        failures=stored.failures if stored is not None else (),
    )
