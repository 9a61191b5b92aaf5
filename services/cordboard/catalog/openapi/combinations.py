"""Ways to authenticate that need several schemes at once: each becomes an auth scheme of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.catalog.v1.definition_pb2 import AllOf, AuthScheme, Placement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

MAX_TITLE: Final = 200


class Combinations:
    """The combinations of one document, in the order in which they were first needed."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        """Takes what makes an id of a wanted one that no scheme has."""
        self._new_id = new_id
        self._known: dict[tuple[str, ...], AuthScheme] = {}

    @property
    def schemes(self) -> list[AuthScheme]:
        """Returns a scheme for each combination."""
        return list(self._known.values())

    def of(self, parts: Sequence[AuthScheme]) -> str:
        """Returns the id of the scheme that needs all of these."""
        ids = tuple(part.id for part in parts)
        known = self._known.get(ids)
        if known is None:
            title = " and ".join(part.title or part.id for part in parts)
            all_of = AllOf(auth_schemes=ids)
            known = AuthScheme(id=self._new_id("_and_".join(ids)), title=title[:MAX_TITLE], all_of=all_of)
            self._known[ids] = known
        return known.id

    def beyond(self, ids: Collection[str]) -> list[str]:
        """Returns the combinations, not among these, that have all that one of these schemes has, and more."""
        parts = {scheme.id: frozenset(names) for names, scheme in self._known.items()}
        wanted = [parts.get(one, frozenset({one})) for one in ids]
        return [one for one, having in parts.items() if one not in ids and any(needed < having for needed in wanted)]

    def tell_parts(self, schemes: Iterable[AuthScheme], alone: frozenset[str], limit: int) -> None:
        """Says in the description of each scheme that no action takes alone what it is for."""
        for scheme in schemes:
            whole = [each.id for ids, each in self._known.items() if scheme.id in ids]
            if whole and scheme.id not in alone:
                told = f"It is a part of {' and '.join(map(repr, whole))}: no action takes it alone."
                scheme.description = f"{told}\n{scheme.description}".strip()[:limit]


def place_of(scheme: AuthScheme) -> tuple[int, str] | None:
    """Returns where a request has the credential of a scheme; None where that is no place of the request."""
    kind = scheme.WhichOneof("kind")
    if kind in ("none", "mtls"):
        return None
    if kind != "api_key":
        return Placement.PLACEMENT_HEADER, "authorization"
    key = scheme.api_key
    return key.placement, key.name.lower() if key.placement == Placement.PLACEMENT_HEADER else key.name
