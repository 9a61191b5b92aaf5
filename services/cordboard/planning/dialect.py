"""What a vendor's headers say about its limits and about waiting, whatever words it uses for that. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.times import to_seconds
from cordboard.planning.waits import number, seconds_until

_LARGEST: Final = 2**63 - 1
_MOST_CHARACTERS: Final = 512


@dataclass(frozen=True, slots=True)
class Quota:
    """What the vendor says may still be called; None where it does not say."""

    limit: int | None = None
    remaining: int | None = None
    reset: datetime | None = None
    declared: bool = False
    """The vendor says nothing, and it is what the mesh counts by the definition's limits."""


NO_QUOTA: Final = Quota()


class Dialect:
    """The headers that one vendor uses."""

    def __init__(self, limits: Sequence[pb.RateLimitHeaders] = (), waits: Sequence[pb.WaitHeader] = ()) -> None:
        """Takes sets of headers about limits, and headers that say how long to wait beside `Retry-After`."""
        self._limits = tuple(one for one in limits if one.limit or one.remaining or one.reset)
        self._waits = tuple(waits)
        self._own_retry_after = any(one.name.lower() == "retry-after" for one in waits)

    def quota(self, headers: Mapping[str, str], now: datetime) -> Quota:
        """Returns what may still be called; of several windows the one that has the fewest calls left.

        `headers` finds names in any case. A value that says nothing usable is as good as none.
        """
        said = [one for one in (_quota(limits, headers, now) for limits in self._limits) if one != NO_QUOTA]
        if not said:
            return NO_QUOTA
        return min(said, key=lambda one: _LARGEST if one.remaining is None else one.remaining)

    def retry_after(self, headers: Mapping[str, str], now: datetime) -> float | None:
        """Returns the seconds that the vendor wants to be left alone, the longest of those that it names, or None."""
        waits = [_wait(one, headers, now) for one in self._waits]
        if not self._own_retry_after:
            waits.append(_retry_after(headers.get("Retry-After", ""), now))
        return max((wait for wait in waits if wait is not None), default=None)


def _quota(limits: pb.RateLimitHeaders, headers: Mapping[str, str], now: datetime) -> Quota:
    reset = headers.get(limits.reset, "") if limits.reset else ""
    wait = seconds_until(_told(reset, "t", "reset") or reset, limits.reset_format, now)
    return Quota(
        limit=_count(headers.get(limits.limit, ""), "q", "limit") if limits.limit else None,
        remaining=_count(headers.get(limits.remaining, ""), "r", "remaining") if limits.remaining else None,
        reset=now + timedelta(seconds=wait) if wait is not None else None,
    )


def _count(text: str, letter: str, word: str) -> int | None:
    """Returns a count: of `100`, `100, 100;w=60`, `"default";q=100`, `limit=100`, or `32/40` and `calls=32/40`, used of
    all.
    """
    first = text.partition(",")[0].partition(";")[0]
    value = number(first)
    if value is None:
        value = number(_told(text, letter, word))
    if value is None and len(text) <= _MOST_CHARACTERS and "/" in first:
        used, of_all = (number(part) for part in first.rpartition("=")[2].partition("/")[::2])
        if used is not None and of_all is not None:
            value = of_all if letter == "q" else max(0.0, of_all - used)
    return None if value is None else min(int(value), _LARGEST)


def _told(text: str, letter: str, word: str) -> str:
    """Returns the value of a parameter, as the IETF's drafts of RateLimit fields write it in their several forms."""
    if len(text) > _MOST_CHARACTERS or "=" not in text:
        return ""
    for piece in text.replace(",", ";").split(";"):
        name, _, value = piece.partition("=")
        if name.strip().lower() in (letter, word):
            return value.strip()
    return ""


def _wait(header: pb.WaitHeader, headers: Mapping[str, str], now: datetime) -> float | None:
    wait = seconds_until(headers.get(header.name, ""), header.format, now)
    if wait is None:
        return None
    if header.HasField("maximum"):
        wait = min(wait, to_seconds(header.maximum))
    if header.HasField("minimum"):
        wait = max(wait, to_seconds(header.minimum))
    return wait


def _retry_after(text: str, now: datetime) -> float | None:
    # RFC 9110 section 10.2.3: seconds, however many they are, or a date.
    wait = seconds_until(text, pb.HEADER_FORMAT_SECONDS, now)
    return seconds_until(text, pb.HEADER_FORMAT_HTTP_DATE, now) if wait is None else wait
