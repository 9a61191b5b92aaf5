"""Sets of forms as people ask for them: whether those of a version are there, and how far they are."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cordboard.core.errors import NotFound
from cordboard.uqi.forms import ACTIVE

if TYPE_CHECKING:
    from datetime import datetime

    from cordboard.uqi.drafts import Failure
    from cordboard.uqi.progress import Progress, ProgressNews
    from cordboard.uqi.store import FormStore, SetRecord


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

    def __init__(self, store: FormStore, news: ProgressNews) -> None:
        """Takes where forms are kept, and what knows of those that are being made."""
        self._store = store
        self._news = news

    async def form_set(self, integration: str, version: str) -> FormSet:
        """Returns the set of a version (`active` for the active one); raises NotFound."""
        active = await self._store.active_version(integration) or ""
        wanted = active if version == ACTIVE else version
        # Before what is stored: a set that is stored between the two looks is seen.
        news = await self._news.all(integration)
        stored = await self._store.form_set(integration, wanted) if wanted else None
        progress = _of(wanted, news, stored)
        if stored is None and progress is None:
            raise NotFound(f"integrations/{integration}/formSets/{version}")
        return _set(integration, wanted, active, stored, progress)

    async def page(self, integration: str, *, after: str, limit: int) -> list[FormSet]:
        """Returns up to `limit` sets with a version above `after` as text, in the order of their versions."""
        active = await self._store.active_version(integration) or ""
        news = await self._news.all(integration)
        stored = await self._store.form_sets(integration, after=after, limit=limit)
        versions = sorted({*stored, *(each.version for each in news if each.version > after)})[:limit]
        return [
            _set(
                integration,
                version,
                active,
                stored.get(version),
                _of(version, news, stored.get(version)),
            )
            for version in versions
        ]


def _of(version: str, news: list[Progress], stored: SetRecord | None) -> Progress | None:
    """Returns the making of a version that is farthest, else the last failure that nobody has mended since."""
    found = [each for each in news if each.version == version]
    running = [each for each in found if each.end_time is None]
    if running:
        return max(running, key=lambda each: (each.made, each.total))
    failed = [
        (each.end_time, each.problem, each)
        for each in found
        if each.end_time is not None and (stored is None or stored.update_time < each.end_time)
    ]
    return max(failed)[2] if failed else None


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
