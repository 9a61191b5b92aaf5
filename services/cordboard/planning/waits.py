"""Moments and spans as headers write them. Pure: a text that says nothing usable says nothing, and nothing raises."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb

# Larger numbers of seconds are a time of day since 1970, and still larger ones the same in milliseconds.
_UNIX_SECONDS: Final = 1_000_000_000
_UNIX_MILLISECONDS: Final = 100_000_000_000
# Nobody waits for a century: such a number is no time.
_LONGEST: Final = 100 * 366 * 86_400.0
_MOST_CHARACTERS: Final = 64
_SPAN: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s?(ms|us|ns|d|h|m|s)\s?", re.ASCII)
_UNITS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def seconds_until(text: str, form: int, now: datetime) -> float | None:
    """Returns the seconds from `now` that a header's value means, 0 for a moment that has passed, or None.

    `form` is a HeaderFormat.
    """
    text = text.strip()
    if not text or len(text) > _MOST_CHARACTERS:
        return None
    wait = _read(text, form, now)
    return None if wait is None or wait > _LONGEST else max(0.0, wait)


def number(text: str) -> float | None:
    """Returns a number that is not negative, the first of `10;w=60` and `10, 20`, or None."""
    if not text or len(text) > 32:
        return None
    try:
        value = float(text.partition(",")[0].partition(";")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _read(text: str, form: int, now: datetime) -> float | None:
    if form == pb.HEADER_FORMAT_DURATION:
        return _span(text)
    if form == pb.HEADER_FORMAT_HTTP_DATE:
        return _http_date(text, now)
    if form == pb.HEADER_FORMAT_TIMESTAMP:
        return _timestamp(text, now)
    value = number(text)
    if value is None:
        return _http_date(text, now) if form == pb.HEADER_FORMAT_UNSPECIFIED else None
    if form == pb.HEADER_FORMAT_SECONDS:
        return value
    if form == pb.HEADER_FORMAT_MILLISECONDS:
        return value / 1000
    if form == pb.HEADER_FORMAT_UNIX_MILLISECONDS or (not form and value >= _UNIX_MILLISECONDS):
        return value / 1000 - now.timestamp()
    if form == pb.HEADER_FORMAT_UNIX_SECONDS or value >= _UNIX_SECONDS:
        return value - now.timestamp()
    return value


def _span(text: str) -> float | None:
    total, position = 0.0, 0
    while match := _SPAN.match(text, position):
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    return total if position == len(text) else None


def _http_date(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return _until(moment, now)


def _timestamp(text: str, now: datetime) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _until(moment, now)


def _until(moment: datetime, now: datetime) -> float:
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
