"""The words in which vendors tell their limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.times import to_duration
from cordboard.planning.dialect import NO_QUOTA, Dialect, Quota
from cordboard.planning.waits import seconds_until

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
UNIX = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("form", "text", "seconds"),
    [
        (pb.HEADER_FORMAT_UNSPECIFIED, "7", 7),
        (pb.HEADER_FORMAT_UNSPECIFIED, str(UNIX + 7), 7),
        (pb.HEADER_FORMAT_UNSPECIFIED, str((UNIX + 7) * 1000), 7),
        (pb.HEADER_FORMAT_UNSPECIFIED, "Sat, 31 Jan 2026 12:00:09 GMT", 9),
        (pb.HEADER_FORMAT_SECONDS, "7.5", 7.5),
        (pb.HEADER_FORMAT_SECONDS, "2000000000", 2_000_000_000),
        (pb.HEADER_FORMAT_SECONDS, "Sat, 31 Jan 2026 12:00:09 GMT", None),
        (pb.HEADER_FORMAT_MILLISECONDS, "7500", 7.5),
        (pb.HEADER_FORMAT_UNIX_SECONDS, str(UNIX + 7), 7),
        (pb.HEADER_FORMAT_UNIX_SECONDS, str(UNIX - 7), 0),
        (pb.HEADER_FORMAT_UNIX_MILLISECONDS, str((UNIX + 7) * 1000), 7),
        (pb.HEADER_FORMAT_HTTP_DATE, "Sat, 31 Jan 2026 12:00:09 GMT", 9),
        (pb.HEADER_FORMAT_HTTP_DATE, "Sat, 31 Jan 99999999999 12:00:09 GMT", None),
        (pb.HEADER_FORMAT_HTTP_DATE, "7", None),
        (pb.HEADER_FORMAT_TIMESTAMP, "2026-01-31T12:00:09Z", 9),
        (pb.HEADER_FORMAT_TIMESTAMP, "2026-01-31T13:00:09.5+01:00", 9.5),
        (pb.HEADER_FORMAT_TIMESTAMP, "tomorrow", None),
        (pb.HEADER_FORMAT_DURATION, "1m30s", 90),
        (pb.HEADER_FORMAT_DURATION, "250ms", 0.25),
        (pb.HEADER_FORMAT_DURATION, "1d2h3m4.5s", 93784.5),
        (pb.HEADER_FORMAT_DURATION, "6m 0s", 360),
        (pb.HEADER_FORMAT_DURATION, "1m30", None),
        (pb.HEADER_FORMAT_DURATION, "30", None),
        (pb.HEADER_FORMAT_SECONDS, "9" * 30, None),
        (pb.HEADER_FORMAT_SECONDS, "", None),
    ],
)
def test_a_time_is_read_as_its_header_writes_it(form: int, text: str, seconds: float | None) -> None:
    assert seconds_until(text, form, NOW) == seconds


@given(st.text(max_size=80), st.sampled_from(pb.HeaderFormat.values()))
def test_no_text_breaks_the_reader(text: str, form: pb.HeaderFormat.ValueType) -> None:
    wait = seconds_until(text, form, NOW)
    assert wait is None or wait >= 0
    dialect = Dialect([pb.RateLimitHeaders(limit="a", remaining="a", reset="a", reset_format=form)])
    assert (dialect.quota({"a": text}, NOW).remaining or 0) >= 0


def quota(limits: list[pb.RateLimitHeaders], **headers: str) -> Quota:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Dialect(limits).quota(named, NOW)


def test_the_window_with_the_fewest_calls_left_is_told() -> None:
    sets = [
        pb.RateLimitHeaders(limit="m-limit", remaining="m-left", reset="m-reset"),
        pb.RateLimitHeaders(
            limit="d-limit", remaining="d-left", reset="d-reset", reset_format=pb.HEADER_FORMAT_DURATION
        ),
    ]
    minute = {"m_limit": "60", "m_left": "50", "m_reset": "30"}
    day = {"d_limit": "1000", "d_left": "7", "d_reset": "1h"}
    assert quota(sets, **minute, **day) == Quota(1000, 7, NOW + timedelta(hours=1))
    assert quota(sets, **minute) == Quota(60, 50, NOW + timedelta(seconds=30))
    assert quota(sets) == NO_QUOTA


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # Three forms of the IETF's drafts, and a count of used calls.
        ({"limit": "100", "left": "9", "reset": "5"}, (100, 9, 5)),
        (dict.fromkeys(("limit", "left", "reset"), "limit=100, remaining=9, reset=5"), (100, 9, 5)),
        ({"limit": '"hour";q=100;w=3600', "left": '"hour";r=9;t=5', "reset": '"hour";r=9;t=5'}, (100, 9, 5)),
        ({"limit": "32/40", "left": "32/40"}, (40, 8, None)),
        ({"limit": "api-usage=18/5000; bursts=1/750", "left": "api-usage=18/5000"}, (5000, 4982, None)),
        ({"limit": "a=b/c", "left": "a=/"}, (None, None, None)),
        ({"limit": "42/40", "left": "42/40"}, (40, 0, None)),
        ({"limit": "a/b", "left": "q=", "reset": ";;=;"}, (None, None, None)),
        ({"limit": "q=1;" * 200, "left": "1/" * 400}, (None, None, None)),
    ],
)  # fmt: skip
def test_a_quota_is_the_same_in_every_dialect(
    headers: dict[str, str], expected: tuple[int | None, int | None, int | None]
) -> None:
    limit, remaining, seconds = expected
    reset = NOW + timedelta(seconds=seconds) if seconds is not None else None
    limits = [pb.RateLimitHeaders(limit="limit", remaining="left", reset="reset")]
    assert quota(limits, **headers) == Quota(limit, remaining, reset)


def retry_after(waits: list[pb.WaitHeader], **headers: str) -> float | None:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Dialect(waits=waits).retry_after(named, NOW)


def test_the_longest_wait_that_a_vendor_names_counts() -> None:
    declared = [pb.WaitHeader(name="X-Reset", format=pb.HEADER_FORMAT_UNIX_SECONDS), pb.WaitHeader(name="X-Wait")]
    assert retry_after(declared, x_reset=str(UNIX + 8), x_wait="3") == 8
    assert retry_after(declared, x_reset=str(UNIX + 8), retry_after="9") == 9
    assert retry_after(declared, x_wait="soon") is None


def test_a_wait_keeps_its_bounds() -> None:
    declared = [pb.WaitHeader(name="X-Wait", minimum=to_duration(2), maximum=to_duration(10))]
    assert [retry_after(declared, x_wait=text) for text in ("0", "5", "60")] == [2, 5, 10]


def test_a_definition_can_say_how_its_vendor_writes_retry_after() -> None:
    declared = [pb.WaitHeader(name="retry-after", format=pb.HEADER_FORMAT_MILLISECONDS)]
    assert retry_after(declared, retry_after="1500") == 1.5
    assert retry_after([], retry_after="1500") == 1500
