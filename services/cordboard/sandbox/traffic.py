"""Remembers which requests came and how they were answered, and never a credential of theirs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

KEPT = 1000

# Any other header is kept by its name only: its value may be a secret.
_TOLD = ("traceparent", "tracestate", "idempotency-key")


@dataclass(slots=True)
class Seen:
    """One request; `status` is None until it is answered."""

    at: float
    method: str
    path: str
    query: str
    header_names: tuple[str, ...]
    headers: dict[str, str]
    status: int | None = None
    cut: bool = False

    def as_json(self) -> dict[str, Any]:
        """Returns the request as `/_sandbox/stats` tells it."""
        return {
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "header_names": sorted(name.lower() for name in self.header_names),
            "headers": self.headers,
            "status": self.status,
            "cut": self.cut,
        }


class Traffic:
    """Counts requests and keeps the last of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._recent: deque[Seen] = deque(maxlen=KEPT)
        self._in_flight = 0
        self._peak = 0

    def arrived(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Seen:
        """Notes a request that has come, and returns it for `answered`."""
        told = {name: headers[name] for name in _TOLD if name in headers}
        # The OAuth endpoints carry `state` and codes in the query.
        seen = Seen(self._clock(), method, path, "" if path.startswith("/oauth/") else query, tuple(headers), told)
        self._recent.append(seen)
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        return seen

    def left(self, seen: Seen, route: str, *, status: int | None, cut: bool) -> None:
        """Notes how the request ended; `status` is None when it has no answer."""
        self._in_flight -= 1
        seen.status, seen.cut = status, cut
        if status is not None:
            self._counts[seen.method, route, status] += 1

    def as_json(self, *, last: int) -> dict[str, Any]:
        """Returns the counts and the `last` requests, oldest first."""
        recent = list(self._recent)
        return {
            "requests": self._counts.total(),
            "peak_in_flight": self._peak,
            "by_route": [
                {"method": method, "route": route, "status": status, "count": count}
                for (method, route, status), count in sorted(self._counts.items())
            ],
            "recent": [seen.as_json() for seen in recent[max(0, len(recent) - last) :]],
        }
