"""A price table gives the most specific price that held on a day; mistakes are told with their place."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from cordboard.telemetry.prices import MAX_BYTES, PriceFileInvalid, read_price_file, read_prices
from cordboard.telemetry.rates import Rate
from cordboard.telemetry.settings import TelemetrySettings

TABLE = """
prices:
- {integration: "*", call: 0.1}
- {integration: desk, call: 1}
- {integration: desk, action: list, call: 2, megabyte: 0.5}
- {integration: desk, action: list, call: 3, since: 2026-07-01}
"""


def minute(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 1440 + 60


@pytest.mark.parametrize(
    ("integration", "action", "day", "cost"),
    [
        ("other", "list", date(2026, 1, 1), 1.0),
        ("desk", "get", date(2026, 1, 1), 10.0),
        ("desk", "list", date(2026, 6, 30), 21.0),
        ("desk", "list", date(2026, 7, 1), 30.0),
        ("desk", "list", date(2027, 1, 1), 30.0),
        ("", "", date(2026, 1, 1), 1.0),
    ],
)
def test_the_most_specific_price_of_the_day_counts(integration: str, action: str, day: date, cost: float) -> None:
    rate = Rate(calls=10, received=2_000_000)
    assert read_prices(TABLE).cost(minute(day), integration, action, rate) == pytest.approx(cost)


def test_a_price_that_does_not_hold_yet_leaves_it_to_the_less_specific() -> None:
    prices = read_prices("prices: [{integration: desk, call: 5, since: 2030-01-01}, {integration: '*', call: 1}]")
    assert prices.cost(minute(date(2026, 1, 1)), "desk", "list", Rate(calls=2)) == 2.0
    assert read_prices("prices: []").cost(0, "desk", "list", Rate(calls=2)) == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file"),
        ("prices: [", "line"),
        ("prices: 7", "prices"),
        ("cost: []", "prices"),
        ("prices: [{call: 1}]", "prices.0.integration"),
        ("prices: [{integration: a, call: -1}]", "prices.0.call"),
        ("prices: [{integration: a, call: .nan}]", "prices.0.call"),
        ("prices: [{integration: a, calls: 1}]", "prices.0.calls"),
        ("prices: [{integration: a, since: soon}]", "prices.0.since"),
        ("prices: [{integration: '*', action: x, call: 1}]", "needs the integration"),
        ("prices: [{integration: a, call: 1}, {integration: a, call: 2}]", "two prices"),
        ("!!python/object/apply:os.system [echo]", "no YAML"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PriceFileInvalid, match=said):
        read_prices(text)


def test_a_file_that_cannot_be_used_is_seen_at_the_start(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text(" " * (MAX_BYTES + 1))
    for file in (tmp_path / "none.yaml", large, tmp_path):
        with pytest.raises(PriceFileInvalid):
            read_price_file(file)
        with pytest.raises(ValidationError, match="price_file"):
            TelemetrySettings.model_validate({"price_file": file})
