"""Drift: vendors that do not answer as their definitions say. What is known of it, and who is told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.catalog.drift_store import Sign, Wanted
from cordboard.catalog.lifecycle import RETIRED
from cordboard.catalog.usage import RECENT
from cordboard.catalog.v1 import drift_service_pb2 as pb
from cordboard.catalog.visibility import View, may_write
from cordboard.core.caller import current_caller
from cordboard.core.errors import NotFound
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.catalog.drift_store import DriftStore, Look, Place
    from cordboard.catalog.snapshot import Snapshot
    from cordboard.core.times import Clock

KEPT: Final = timedelta(days=90)
"""How long a sign is kept that nobody sees any more."""
MAX_TEXT: Final = 255


class Drift:
    """Answers what has moved, to those who answer for it."""

    def __init__(self, store: DriftStore, snapshot: Snapshot, clock: Clock) -> None:
        """Takes the tables, what is in memory of the catalog, and the time."""
        self._store = store
        self._snapshot = snapshot
        self._clock = clock

    async def add(self, looks: Sequence[Look], signs: Sequence[Sign]) -> None:
        """Adds what the Proxy has found."""
        await self._store.add(looks, signs, forget_before=self._clock.now() - KEPT)

    async def drifts(
        self, slug: str, *, owner: str, kind: int, after: Place, limit: int
    ) -> list[tuple[Place, pb.Drift]]:
        """Returns up to `limit` signs behind a place, in order, each with its place; an empty slug stands for every
        integration. Raises NotFound where the caller does not answer for the one that is asked for.
        """
        slugs = [one for one in (self._snapshot.slugs("") if not slug else [slug]) if self._answers(one)]
        if slug and not slugs:
            raise NotFound(f"integrations/{slug}")
        owners = {one: self._snapshot.integration(one).owner for one in slugs}
        chosen = [one for one in slugs if owner in ("", owners[one])]
        wanted = Wanted(chosen, kind, self._clock.now() - RECENT, RETIRED)
        found = await self._store.signs(wanted, after=after, limit=limit) if chosen else []
        return [(sign.key, drift_message(sign, owners[sign.slug])) for sign in found]

    def _answers(self, slug: str) -> bool:
        caller = current_caller()
        try:
            state = self._snapshot.integration(slug).state
        except NotFound:
            return False
        return View.of(caller).sees(slug, state) and may_write(caller, slug)


def drift_message(sign: Sign, owner: str = "") -> pb.Drift:
    """Returns a sign as it is answered."""
    return pb.Drift(
        definition_version=f"integrations/{sign.slug}/versions/{sign.version}",
        owner=owner,
        action=sign.action,
        kind=sign.kind,  # type: ignore[arg-type]
        place=sign.place,
        rule=sign.rule,
        answers=sign.answers,
        # A sign that was told twice, for an answer that got lost, is in no more answers than there were.
        answers_looked_at=max(sign.looked, sign.answers),
        first_time=to_timestamp(sign.first_time),
        last_time=to_timestamp(sign.last_time),
        trace_id=sign.trace_id,
        edge=f"edges/{sign.edge_id}" if sign.edge_id else "",
    )


def is_text(text: str) -> bool:
    """Tells whether a text can be kept."""
    return 0 < len(text) <= MAX_TEXT and text.isprintable()


def is_sign(sign: pb.DriftSign | pb.Drift) -> bool:
    """Tells whether a sign can be one: of a kind, in some answers, in texts that can be kept."""
    texts = [text for text in (sign.place, sign.rule, sign.trace_id) if text]
    return sign.kind in pb.DriftKind.values()[1:] and sign.answers > 0 and all(map(is_text, texts))
