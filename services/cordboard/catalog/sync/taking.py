"""What a delta makes of the catalog that an edge has, worked out in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from cordboard.catalog.facts import describe, described
from cordboard.catalog.lifecycle import ACTIVE, DEPRECATED, LIVE, fallback
from cordboard.catalog.store import VersionRecord
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.definition_pb2 import Definition

if TYPE_CHECKING:
    from cordboard.catalog.store import Described, IntegrationRecord

UPDATER: Final = "hub"
Key = tuple[str, str]


class Taking:
    """The integrations that a delta is about, as they were and as they become."""

    def __init__(self, integrations: dict[str, IntegrationRecord], versions: list[VersionRecord]) -> None:
        """Takes what is known of them."""
        self._integrations = integrations
        self._records: dict[str, dict[str, VersionRecord]] = {}
        for one in versions:
            self._records.setdefault(one.slug, {})[one.version] = one
        self._changed: dict[Key, None] = {}
        self._active: dict[str, str] = {}
        self._definitions: dict[Key, Definition] = {}
        self.added: list[tuple[VersionRecord, bytes, Described]] = []
        """The versions that are new, with what they say."""

    def take(self, slug: str, version: str, change: pb.VersionChange, sequence: int) -> None:
        """Takes a change in, as change `sequence` of this catalog; raises Rejected."""
        told = change.version
        known = self._records.get(slug, {}).get(version)
        record = VersionRecord(
            slug=slug,
            version=version,
            content_hash=told.content_hash,
            published=sequence if known is None else known.published,
            create_time=told.create_time.ToDatetime(tzinfo=UTC),
            creator=told.creator,
            state=told.state,
            sequence=sequence,
            revision=change.revision,
            activation=change.activation,
            sunset_time=told.sunset_time.ToDatetime(tzinfo=UTC) if told.HasField("sunset_time") else None,
            successor=told.successor,
            reason=told.reason,
            update_time=told.update_time.ToDatetime(tzinfo=UTC),
            updater=UPDATER,
            workspace_id=told.workspace,
        )
        if known is None:
            self._add(record, change.content)
        elif known.content_hash != told.content_hash:
            raise Rejected(pb.REJECTION_REASON_CONFLICT, f"{told.name} is here with other content")
        self._records.setdefault(slug, {})[version] = record
        self._changed[slug, version] = None
        if told.active:
            self._active[slug] = version

    def announces(self, slug: str) -> bool:
        """Tells whether the default changes to a version that the delta says nothing of, which watchers must hear."""
        active, known = self._default(slug), self._integrations.get(slug)
        return (
            bool(active)
            and known is not None
            and active != known.active_version
            and (slug, active) not in self._changed
        )

    def announce(self, slug: str, sequence: int) -> None:
        """Has watchers hear of the new default, as change `sequence`."""
        active = self._default(slug)
        self._records[slug][active] = replace(self._records[slug][active], sequence=sequence)
        self._changed[slug, active] = None

    def described(self, slug: str) -> VersionRecord | None:
        """Returns the version that describes the integration: its default, or the newest."""
        records = self._records[slug]
        active = self._default(slug)
        return records[active] if active else max(records.values(), key=lambda one: (one.state in LIVE, one.published))

    def definition(self, record: VersionRecord) -> Definition | None:
        """Returns what a version says, if that is known here."""
        return self._definitions.get((record.slug, record.version))

    def know(self, record: VersionRecord, definition: Definition) -> None:
        """Takes what a version says."""
        self._definitions[record.slug, record.version] = definition

    def integration(self, slug: str) -> IntegrationRecord | None:
        """Returns the integration as it becomes."""
        chosen = self.described(slug)
        definition = self.definition(chosen) if chosen is not None else None
        if chosen is None or definition is None:
            return None
        sequence = max(one.sequence for one in self._records[slug].values())
        return replace(describe(definition, chosen), active_version=self._default(slug), sequence=sequence)

    def changed(self) -> list[VersionRecord]:
        """Returns the versions whose state is to be written."""
        return [self._records[slug][version] for slug, version in self._changed]

    def _default(self, slug: str) -> str:
        """Returns the hub's default where it is here and of use, else the one before, else the best there is."""
        records = self._records[slug]
        usable = {one.version for one in records.values() if one.state in (ACTIVE, DEPRECATED)}
        known = self._integrations.get(slug)
        for candidate in (self._active.get(slug, ""), known.active_version if known is not None else ""):
            if candidate in usable:
                return candidate
        return fallback(records.values(), "")

    def _add(self, record: VersionRecord, content: bytes) -> None:
        if not content:
            text = f"{record.name} is not here, and came without its content"
            raise Rejected(pb.REJECTION_REASON_OUT_OF_ORDER, text)
        try:
            definition = Definition.FromString(content)
        except DecodeError:
            raise Rejected(pb.REJECTION_REASON_UNREADABLE, f"{record.name} cannot be read") from None
        if definition.slug != record.slug:
            raise Rejected(pb.REJECTION_REASON_UNREADABLE, f"{record.name} defines another integration")
        self.know(record, definition)
        self.added.append((record, content, described(definition)))
