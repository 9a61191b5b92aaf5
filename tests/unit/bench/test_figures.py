from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from bench.figures import Figure, Sample, table

FAST, SLOW = Sample("fast", "calls/s", (900, 1000, 5000)), Sample("slow", "calls/s", (500, 100, 400))


def printed(*figures: Figure) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(table("Benchmarks", figures))
    return out.getvalue()


def test_a_ratio_is_of_medians() -> None:
    assert Figure("slow / fast", SLOW, FAST).value == 0.4
    assert Figure("fast", FAST).value == 1000


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("a", SLOW, FAST, aim=0.4), True),
        (Figure("a", SLOW, FAST, aim=0.41), False),
        (Figure("a", SLOW, aim=400, better="lower"), True),
        (Figure("a", SLOW, aim=399, better="lower"), False),
        (Figure("a", SLOW), None),
    ],
)
def test_an_aim_is_reached_from_the_right_side(figure: Figure, reached: bool | None) -> None:
    assert figure.reached is reached


def test_every_figure_has_a_row_with_its_spread() -> None:
    text = printed(
        Figure("slow / fast", SLOW, FAST, aim=0.4), Figure("up", Sample("up", "s", (5.25,)), aim=6, better="lower")
    )
    _, _, ratio, alone = text.splitlines()[:4]
    assert (
        " ".join(ratio.split()) == "slow / fast 0.40 at least 0.4 100 / 400 / 500 calls/s 900 / 1,000 / 5,000 calls/s"
    )
    assert " ".join(alone.split()) == "up 5.25 s at most 6 5.25 s"


def test_figures_are_json_with_their_rounds() -> None:
    found = json.loads(json.dumps(Figure("slow / fast", SLOW, FAST, aim=0.4).to_json()))
    assert (found["value"], found["unit"], found["reached"]) == (0.4, "ratio", True)
    assert found["sample"] == {
        "name": "slow", "unit": "calls/s", "min": 100, "median": 400, "max": 500, "rounds": [500, 100, 400],
    }  # fmt: skip
    assert found["against"]["median"] == 1000
