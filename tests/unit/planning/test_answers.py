"""What a vendor's headers say, in every dialect, and when they say nothing usable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer, read_answer
from cordboard.planning.dialect import Dialect, Quota

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
LIMITS = Dialect([pb.RateLimitHeaders(limit="X-Limit", remaining="X-Left", reset="X-Reset")])


def an_answer(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return read_answer(status, named, body, LIMITS, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("Sat, 31 Jan 2026 12:00:09 GMT", 9),
        ("Saturday, 31-Jan-26 12:00:09 GMT", 9),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("9" * 40, None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    assert an_answer(503, retry_after=text).retry_after == seconds


def test_where_a_limit_is_reached_the_quotas_end_is_a_time_too() -> None:
    assert an_answer(429, x_reset="30").wait(limited=True) == 30
    assert an_answer(503, x_reset="30").wait(limited=False) is None
    assert an_answer(429, x_reset="30", retry_after="2").wait(limited=True) == 2


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Quota()),
        ({"X_LIMIT": "100", "x_left": "7"}, Quota(100, 7, None)),
        ({"x_limit": "100, 100;w=60", "x_left": "0"}, Quota(100, 0, None)),
        ({"x_left": "99.0"}, Quota(None, 99, None)),
        ({"x_left": "many"}, Quota()),
        ({"x_left": "9" * 30}, Quota(None, 2**63 - 1, None)),
        ({"x_reset": "60"}, Quota(None, None, NOW + timedelta(seconds=60))),
        ({"x_reset": str(int(NOW.timestamp()) + 60)}, Quota(None, None, NOW + timedelta(seconds=60))),
        ({"x_reset": str((int(NOW.timestamp()) + 60) * 1000)}, Quota(None, None, NOW + timedelta(seconds=60))),
        ({"x_reset": "9" * 30}, Quota()),
    ],
)
def test_quotas_are_read_where_the_definition_says(headers: dict[str, str], expected: Quota) -> None:
    assert an_answer(200, b"", **headers).quota == expected


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a":1}', {"a": 1}),
        ("application/json; charset=utf-8", b"[1]", [1]),
        ("application/vnd.api+json", b"null", None),
        ("text/json", b"1", 1),
        ("", b'{"a":1}', {"a": 1}),
        ("application/json", b"", None),
        ("text/html", b"", None),
    ],
)
def test_json_is_read_by_its_media_type(content_type: str, body: bytes, expected: Any) -> None:
    assert an_answer(body=body, content_type=content_type).json() == expected


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"{}"),
        ("application/json", b"<html>"),
        ("application/json", b"NaN"),
        ("", b"\xff"),
        ("image/png", b"1"),
    ],
)
def test_what_is_not_json_says_so(content_type: str, body: bytes) -> None:
    with pytest.raises((ValueError, orjson.JSONDecodeError)):
        an_answer(body=body, content_type=content_type).json()


def test_links_of_several_headers_are_all_read() -> None:
    headers = CIMultiDict([("Link", '<a>; rel="prev"'), ("link", '<b>; rel="next"')])
    assert read_answer(200, headers, b"", LIMITS, NOW).link == '<a>; rel="prev", <b>; rel="next"'


def test_an_answer_does_not_show_its_body() -> None:
    assert "canary" not in repr(an_answer(body=b"canary", link="canary", location="canary"))
