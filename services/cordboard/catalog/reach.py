"""Which vendors this mesh can reach at all: a mesh that is cut off is so by degrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ALL_BELOW: Final = "*."


class Reach:
    """Tells by their hosts which integrations can work here."""

    def __init__(self, reachable: Sequence[str], hosts_of: Callable[[str], Iterable[str]]) -> None:
        """Takes the hosts that can be reached, `*.example.com` standing for all below one, none for every host; and
        what says where an integration's requests go.
        """
        self._exact = frozenset(host for host in reachable if not host.startswith(ALL_BELOW))
        self._below = tuple(host.removeprefix("*") for host in reachable if host.startswith(ALL_BELOW))
        self._hosts_of = hosts_of

    def holds(self, slug: str) -> bool:
        """Tells whether every host of an integration can be reached; one that each connection chooses counts so."""
        if not self._exact and not self._below:
            return True
        return all(map(self._reaches, self._hosts_of(slug)))

    def _reaches(self, host: str) -> bool:
        # `{site}.example.com` is below example.com whatever the site is; of `{host}` only its connections know.
        chosen, brace, rest = host.rpartition("}")
        if brace and not rest.strip(".:0123456789"):
            return True
        return host in self._exact or (chosen + brace + rest).endswith(self._below)
