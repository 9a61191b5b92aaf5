"""What can be found by words: integrations and the actions of their active versions, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cordboard.catalog.v1 import catalog_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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
    together: str = field(repr=False)
    """All of it, to find out quickly that a word is nowhere in it."""

    def summaries(self) -> list[pb.ActionSummary]:
        """Returns the actions, in order of id."""
        return list(pb.ListActionsResponse.FromString(self.listing).actions)


class Index:
    """Finds integrations and actions; each word must be there, whatever its case."""

    def __init__(self) -> None:
        """Begins empty."""
        self._entries: dict[str, Entry] = {}

    def put(self, integration: pb.Integration, listing: bytes, facts: dict[str, Any]) -> None:
        """Takes in what an integration is now."""
        slug = integration.name.partition("/")[2]
        own = "\n".join((slug, integration.title, integration.description, integration.owner, *integration.tags))
        head = f"{slug}\n{integration.title}"
        actions = tuple(
            "\n".join((head, one.id, one.title, one.path, *one.tags)).casefold()
            for one in pb.ListActionsResponse.FromString(listing).actions
        )
        self._entries[slug] = Entry(integration, own.casefold(), listing, facts, actions, "\n".join(actions))

    def entry(self, slug: str) -> Entry:
        """Returns an integration that was taken in."""
        return self._entries[slug]

    def matches(self, slug: str, words: list[str]) -> bool:
        """Tells whether an integration has all the words."""
        text = self._entries[slug].text
        return all(word in text for word in words)

    def holds(self, slug: str, words: list[str]) -> bool:
        """Tells whether each word is in some action of an integration."""
        text = self._entries[slug].together
        return all(word in text for word in words)

    def found(self, slug: str, words: list[str], *, after: str = "") -> Iterator[pb.ActionSummary]:
        """Yields the actions of an integration that have all the words and an id above `after`, in order of id."""
        entry = self._entries[slug]
        places: Sequence[int] = range(len(entry.actions))
        # Word by word: most actions fall out with the first, and this runs for tens of thousands of them.
        for word in words:
            places = [at for at in places if word in entry.actions[at]]
        if places:
            summaries = entry.summaries()
            yield from (summaries[at] for at in places if summaries[at].id > after)


def words_of(query: str) -> list[str]:
    """Returns the words that a text asks for."""
    return query.casefold().split()
