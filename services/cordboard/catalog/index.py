"""What can be found by words: integrations and the actions of their active versions, in memory."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.core.errors import InvalidFields

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_WORDS: Final = 32

_FRAGMENT: Final = re.compile(r"\w+")
_TELLING: Final = 4


@dataclass(frozen=True)
class Entry:
    """One integration with its actions."""

    integration: pb.Integration
    text: str
    """What words are looked for in, of the integration itself."""
    listing: bytes = field(repr=False)
    """Its actions in order of id, a serialised ListActionsResponse: as messages they would be ten times as large."""
    facts: dict[str, Any]
    actions: tuple[str, ...] = field(repr=False)
    """What words are looked for in, of each action."""

    def summaries(self) -> list[pb.ActionSummary]:
        """Returns the actions, in order of id."""
        return list(pb.ListActionsResponse.FromString(self.listing).actions)


class Index:
    """Finds integrations and actions; each word must be there, whatever its case."""

    def __init__(self) -> None:
        """Begins empty."""
        self._entries: dict[str, Entry] = {}
        self._slugs: list[str] = []
        self._numbers: dict[str, int] = {}
        # Who has a fragment in some action: bit N stands for the integration with number N. There are far fewer
        # fragments than actions, so a search looks through these, and then only at actions that may fit. A bit stays
        # when its fragment goes: it costs one look, and never gives a wrong answer.
        self._holders: defaultdict[str, int] = defaultdict(int)

    def put(self, integration: pb.Integration, listing: bytes, facts: dict[str, Any]) -> None:
        """Takes in what an integration is now."""
        slug = integration.name.partition("/")[2]
        own = "\n".join((slug, integration.title, integration.description, integration.owner, *integration.tags))
        head = f"{slug}\n{integration.title}"
        actions = tuple(
            "\n".join((head, one.id, one.title, one.path, *one.tags)).casefold()
            for one in pb.ListActionsResponse.FromString(listing).actions
        )
        self._entries[slug] = Entry(integration, own.casefold(), listing, facts, actions)
        if slug not in self._numbers:
            self._numbers[slug] = len(self._slugs)
            self._slugs.append(slug)
        bit = 1 << self._numbers[slug]
        for fragment in set(_FRAGMENT.findall("\n".join(actions))):
            self._holders[fragment] |= bit

    def entry(self, slug: str) -> Entry:
        """Returns an integration that was taken in."""
        return self._entries[slug]

    def matches(self, slug: str, words: list[str]) -> bool:
        """Tells whether an integration has all the words."""
        text = self._entries[slug].text
        return all(word in text for word in words)

    def candidates(self, words: list[str]) -> set[str]:
        """Returns the integrations of which some action may have all the words; no other has one."""
        fragments = {fragment for word in words for fragment in _FRAGMENT.findall(word)}
        if not fragments:
            return set(self._slugs)
        # The longest are the rarest. The others would take as long again, and leave out little more.
        telling = sorted(fragments, key=lambda one: (-len(one), one))[:_TELLING]
        bits = f"{reduce(and_, map(self._having, telling)):b}"
        return {self._slugs[at] for at, bit in enumerate(reversed(bits)) if bit == "1"}

    def _having(self, part: str) -> int:
        return reduce(or_, (bits for fragment, bits in self._holders.items() if part in fragment), 0)

    def found(self, slug: str, words: list[str], *, after: str = "") -> Iterator[pb.ActionSummary]:
        """Yields the actions of an integration that have all the words and an id above `after`, in order of id."""
        entry = self._entries[slug]
        actions = entry.actions
        # Most actions fall out with the first word, and this runs for tens of thousands of them.
        first, *others = words or [""]
        places = [at for at, text in enumerate(actions) if first in text]
        for word in others:
            places = [at for at in places if word in actions[at]]
        if places:
            summaries = entry.summaries()
            yield from (summaries[at] for at in places if summaries[at].id > after)


def words_of(query: str) -> list[str]:
    """Returns the words that a text asks for; raises InvalidFields where they are too many."""
    words = query.casefold().split()
    if len(words) > MAX_WORDS:
        raise InvalidFields.one("query", f"must be at most {MAX_WORDS} words")
    return words
