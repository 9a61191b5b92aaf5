"""The central view of all integrations: what they reach, who answers for them, who uses them, when they are due for a
review; and what a workspace has to be told of the versions that it uses.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cordboard.catalog.lifecycle import DEPRECATED, RETIRED
from cordboard.catalog.store import ReviewRecord
from cordboard.catalog.usage import RECENT
from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.catalog.visibility import View
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, NotFound
from cordboard.core.ownership import owner_of
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.catalog.drift_store import DriftStore
    from cordboard.catalog.index import Entry as Indexed
    from cordboard.catalog.snapshot import Snapshot
    from cordboard.catalog.store import CatalogStore, VersionRecord
    from cordboard.catalog.usage import Callers, Usage
    from cordboard.catalog.v1.catalog_service_pb2 import Integration
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock

MAX_NOTE: Final = 4000
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Version = tuple[str, str]


@dataclass(frozen=True)
class Wanted:
    """Which entries are asked for; what is empty is no condition."""

    owner: str = ""
    min_criticality: int = 0
    data_class: str = ""
    host: str = ""
    state: int = 0

    def fits(self, one: Indexed) -> bool:
        """Tells whether an integration has all that is asked for."""
        integration = one.integration
        return (
            self.owner in ("", integration.owner)
            and integration.criticality >= self.min_criticality
            and (not self.data_class or self.data_class in one.facts.get("data_classes", ()))
            and (not self.host or self.host in one.facts.get("hosts", ()))
            and self.state in (0, integration.state)
        )


@dataclass(frozen=True)
class Uses:
    """What is known of versions in use."""

    callers: dict[Version, Callers]
    pinned: dict[Version, int]
    looked: dict[Version, tuple[int, int]]
    """Of how many actions answers were looked at, and how many of these show drift."""


class Inventory:
    """Answers what there is, and who has to know what."""

    def __init__(
        self,
        store: CatalogStore,
        snapshot: Snapshot,
        usage: Usage,
        drift: DriftStore,
        journal: Journal,
        clock: Clock,
    ) -> None:
        """Takes the store, what is in memory of the catalog, who calls what, what drifts, the journal, and the time."""
        self._store = store
        self._snapshot = snapshot
        self._usage = usage
        self._drift = drift
        self._journal = journal
        self._clock = clock

    async def entries(self, wanted: Wanted, *, after: str, limit: int) -> list[pb.InventoryEntry]:
        """Returns up to `limit` entries with a slug above `after`, in order of slug."""
        view = View.of(current_caller())
        chosen: list[Integration] = []
        for slug in self._snapshot.slugs(after):
            one = self._snapshot.integration(slug)
            if view.sees(slug, one.state) and wanted.fits(self._snapshot.index.entry(slug)):
                chosen.append(one)
                if len(chosen) == limit:
                    break
        slugs = [one.name.partition("/")[2] for one in chosen]
        since = self._clock.now() - RECENT
        callers = await self._usage.callers(slugs, since=since) if slugs else {}
        looked = await self._drift.actions(slugs, since=since) if slugs else {}
        uses = Uses(callers, self._pinned(set(slugs)), looked)
        return [self._entry(one, slug, uses, view) for slug, one in zip(slugs, chosen, strict=True)]

    def _pinned(self, slugs: set[str]) -> dict[Version, int]:
        found: dict[Version, set[str]] = defaultdict(set)
        for pin in self._snapshot.pins():
            if pin.version and pin.slug in slugs:
                found[pin.slug, pin.version].add(pin.workspace_id)
        return {version: len(workspaces) for version, workspaces in found.items()}

    def _entry(self, one: Integration, slug: str, uses: Uses, view: View) -> pb.InventoryEntry:
        facts = self._snapshot.index.entry(slug).facts
        due = self._due(slug)
        entry = pb.InventoryEntry(
            integration=one,
            hosts=facts.get("hosts", ()),
            data_classes=facts.get("data_classes", ()),
            required_capabilities=facts.get("required_capabilities", ()),
            traits=facts.get("traits", ()),
            review_due_time=None if due is None else to_timestamp(due),
        )
        for record in self._snapshot.records(slug):
            if record.state != RETIRED and view.sees(slug, record.state):
                used = uses.callers.get((slug, record.version))
                looked, drifted = uses.looked.get((slug, record.version), (0, 0))
                entry.versions.add(
                    version=record.version,
                    state=record.state,
                    pinned_workspaces=uses.pinned.get((slug, record.version), 0),
                    calling_workspaces=0 if used is None else used.workspaces,
                    last_call_time=None if used is None else to_timestamp(used.last_call_time),
                    checked_actions=looked,
                    drifted_actions=drifted,
                )
        return entry

    def _due(self, slug: str) -> datetime | None:
        """Returns when an integration is due for review: by its last review; where it had none, by the interval of its
        definition, counted from when it came.
        """
        known = self._snapshot.reviews().get(slug)
        if known is not None:
            return known.due_time
        interval = self._interval(slug)
        came = self._snapshot.integration(slug).create_time.ToDatetime(UTC)
        return came + interval if interval else None

    def _interval(self, slug: str) -> timedelta | None:
        days = self._snapshot.index.entry(slug).facts.get("review_interval_days", 0)
        return timedelta(days=days) if days else None

    def reviews(self, *, overdue: bool, owner: str, after: str, limit: int) -> list[tuple[str, pb.Review]]:
        """Returns up to `limit` reviews behind a place, the most overdue first, each with its place."""
        now, view = self._clock.now(), View.of(current_caller())
        found: list[tuple[str, pb.Review]] = []
        for slug in self._snapshot.slugs(""):
            one = self._snapshot.integration(slug)
            if not view.sees(slug, one.state) or owner not in ("", one.owner):
                continue
            due = self._due(slug)
            late = due is not None and due <= now
            if late or not overdue:
                place = f"{(due or _NEVER).isoformat()} {slug}"
                found.append((place, self._review(one, slug, due, late=late)))
        found.sort(key=lambda each: each[0])
        return [each for each in found if each[0] > after][:limit]

    def _review(self, one: Integration, slug: str, due: datetime | None, *, late: bool) -> pb.Review:
        known = self._snapshot.reviews().get(slug)
        return pb.Review(
            integration=one.name,
            owner=one.owner,
            review_time=None if known is None else to_timestamp(known.review_time),
            due_time=None if due is None else to_timestamp(due),
            overdue=late,
            reviewer="" if known is None else known.reviewer,
            note="" if known is None else known.note,
        )

    async def review(self, slug: str, *, due: datetime | None, note: str) -> pb.Review:
        """Notes a review; it is due again at a time, or after the definition's interval. Raises NotFound and
        InvalidFields.
        """
        one = self._snapshot.integration(slug)
        if not View.of(current_caller()).sees(slug, one.state):
            raise NotFound(one.name)
        now, interval = self._clock.now(), self._interval(slug)
        if due is None:
            if interval is None:
                raise InvalidFields.one("due_time", "is required: the definition names no interval", "REQUIRED")
            due = now + interval
        if due <= now:
            raise InvalidFields.one("due_time", "must be in the future")
        if len(note) > MAX_NOTE:
            raise InvalidFields.one("note", f"must be at most {MAX_NOTE} characters")
        workspace = owner_of(slug)
        async with self._store.writing(workspace) as (connection, sequence):
            record = ReviewRecord(workspace, slug, now, due, current_caller().actor, note, sequence)
            await self._store.put_review(connection, record)
            details = {"due": due.isoformat(timespec="seconds")}
            entry = Entry("catalog.integration.review", one.name, workspace, details=details)
            await self._journal.append(connection, entry)
        await self._snapshot.refresh()
        return self._review(one, slug, due, late=False)

    async def notices(self, workspace: str, *, after: str, limit: int) -> list[pb.Notice]:
        """Returns up to `limit` of what a workspace has to know of versions that end, with a version's name above
        `after`, in order of name.
        """
        pinned: dict[Version, set[str]] = defaultdict(set)
        called: dict[Version, set[str]] = defaultdict(set)
        for pin in self._snapshot.pins():
            if pin.workspace_id == workspace and pin.version:
                pinned[pin.slug, pin.version].add(pin.environment)
        for use in await self._usage.of_workspace(workspace, since=self._clock.now() - RECENT):
            called[use.slug, use.version].add(use.environment)
        found = []
        for slug, version in pinned.keys() | called.keys():
            record = self._ending(slug, version)
            if record is not None and record.name > after:
                found.append(_notice(record, pinned[slug, version], called[slug, version]))
        return sorted(found, key=lambda one: one.definition_version)[:limit]

    def _ending(self, slug: str, version: str) -> VersionRecord | None:
        try:
            record = self._snapshot.record(slug, version)
        except NotFound:
            return None
        return record if record.state in (DEPRECATED, RETIRED) else None


def _notice(record: VersionRecord, pinned: set[str], called: set[str]) -> pb.Notice:
    return pb.Notice(
        definition_version=record.name,
        state=record.state,  # type: ignore[arg-type]
        sunset_time=None if record.sunset_time is None else to_timestamp(record.sunset_time),
        successor=record.successor,
        reason=record.reason,
        pinned_environments=sorted(pinned),
        calling_environments=sorted(called),
        create_time=to_timestamp(record.update_time),
    )
