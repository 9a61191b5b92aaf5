"""What was measured: samples of rounds, ratios of medians, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Sample:
    """One thing that was measured in every round."""

    name: str
    unit: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Returns the median of the rounds."""
        return median(self.rounds)

    def to_json(self) -> dict[str, Any]:
        """Returns the sample with its smallest, middle and largest round."""
        spread = {"min": min(self.rounds), "median": self.median, "max": max(self.rounds)}
        return {"name": self.name, "unit": self.unit, **spread, "rounds": list(self.rounds)}


@dataclass(frozen=True)
class Figure:
    """A result: a sample alone, or its median over that of what it is compared with; and what it is to reach."""

    name: str
    sample: Sample
    against: Sample | None = None
    aim: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def value(self) -> float:
        """Returns the ratio, or the median where there is nothing to compare with."""
        return self.sample.median / self.against.median if self.against else self.sample.median

    @property
    def reached(self) -> bool | None:
        """Tells whether the aim is reached; None when there is none."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.better == "higher" else self.value <= self.aim

    def to_json(self) -> dict[str, Any]:
        """Returns the figure with its samples."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": "ratio" if self.against else self.sample.unit,
            "aim": self.aim,
            "better": self.better,
            "reached": self.reached,
            "sample": self.sample.to_json(),
            "against": self.against.to_json() if self.against else None,
        }


def table(title: str, figures: Sequence[Figure]) -> Table:
    """Returns figures as a table."""
    shown = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    shown.add_column("", no_wrap=True)
    for column in ("result", "aim", "measured (min / median / max)", "against (min / median / max)"):
        shown.add_column(column, justify="right", no_wrap=True)
    for figure in figures:
        unit = "" if figure.against else f" {figure.sample.unit}"
        bound = "at least" if figure.better == "higher" else "at most"
        colour = {True: "green", False: "red", None: "default"}[figure.reached]
        shown.add_row(
            figure.name,
            Text(f"{figure.value:.2f}{unit}", style=f"bold {colour}"),
            "" if figure.aim is None else f"{bound} {figure.aim:g}",
            _spread(figure.sample),
            _spread(figure.against) if figure.against else "",
        )
    return shown


def _spread(sample: Sample) -> str:
    digits = 0 if sample.median >= 100 else 2
    if len(sample.rounds) == 1:
        return f"{sample.median:,.{digits}f} {sample.unit}"
    parts = (min(sample.rounds), sample.median, max(sample.rounds))
    return f"{' / '.join(f'{part:,.{digits}f}' for part in parts)} {sample.unit}"
