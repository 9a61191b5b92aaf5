"""What a vendor answered, and what its headers say about trying again and about what may still be called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson
from multidict import MultiMapping

from cordboard.catalog.v1 import definition_pb2 as pb

# Larger numbers of seconds are a time of day since 1970, and still larger ones the same in milliseconds.
_UNIX_SECONDS: Final = 1_000_000_000
_UNIX_MILLISECONDS: Final = 100_000_000_000
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Quota:
    """What the vendor says may still be called; None where it does not say."""

    limit: int | None = None
    remaining: int | None = None
    reset: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, read whole."""

    status: int
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    quota: Quota = Quota()
    retry_after: float | None = None
    """Seconds."""
    link: str = field(default="", repr=False)
    """The Link header."""
    location: str = field(default="", repr=False)
    """The Location header."""

    @property
    def ok(self) -> bool:
        """Tells whether the vendor did what was asked."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Returns the body as JSON, None for an empty one; raises ValueError where it is not JSON."""
        if not self.body:
            return None
        media_type = self.content_type.partition(";")[0].strip().lower()
        if media_type and not (media_type == "application/json" or media_type.endswith(("+json", "/json"))):
            raise ValueError("not a JSON media type")
        return orjson.loads(self.body)


def read_answer(
    status: int, headers: MultiMapping[str], body: bytes, limits: pb.RateLimitHeaders, now: datetime
) -> Answer:
    """Returns the answer that these parts make; `headers` finds names in any case."""
    quota = read_quota(headers, limits, now)
    return Answer(
        status=status,
        content_type=headers.get("Content-Type", ""),
        body=body,
        quota=quota,
        retry_after=read_retry_after(headers, quota, status, now) if status >= 400 else None,
        link=", ".join(headers.getall("Link", ())),
        location=headers.get("Location", ""),
    )


def read_quota(headers: Mapping[str, str], limits: pb.RateLimitHeaders, now: datetime) -> Quota:
    """Returns what the headers that the definition names say; a value that is no number says nothing."""
    reset = _number(headers.get(limits.reset)) if limits.reset else None
    moment: datetime | None = None
    if reset is not None:
        if reset >= _UNIX_MILLISECONDS:
            reset /= 1000
        seconds = reset if reset >= _UNIX_SECONDS else now.timestamp() + reset
        try:
            moment = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            moment = None
    return Quota(
        limit=_count(headers.get(limits.limit)) if limits.limit else None,
        remaining=_count(headers.get(limits.remaining)) if limits.remaining else None,
        reset=moment,
    )


def read_retry_after(headers: Mapping[str, str], quota: Quota, status: int, now: datetime) -> float | None:
    """Returns the seconds to wait: Retry-After in both forms (RFC 9110 section 10.2.3), else until the quota's end."""
    text = headers.get("Retry-After", "").strip()
    seconds = _number(text)
    if seconds is not None:
        return seconds
    if text:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            moment = None
        if moment is not None:
            return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
    if status == 429 and quota.reset is not None:
        return max(0.0, (quota.reset - now).total_seconds())
    return None


def _number(text: str | None) -> float | None:
    if not text or len(text) > 32:
        return None
    try:
        # `10;w=60` and `10, 20` say more than one thing; the first counts.
        value = float(text.partition(",")[0].partition(";")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _count(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None else min(int(value), _LARGEST)
