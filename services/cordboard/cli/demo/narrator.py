"""Tells the demo: numbered steps with their times, what each showed, and a summary at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text


class StepFailed(Exception):
    """A step did not show what it promised."""


@dataclass
class Step:
    """One step, while it is told."""

    title: str
    seconds: float = 0.0
    results: list[str] = field(default_factory=list)

    def result(self, text: str) -> None:
        """Notes what was shown, for the summary."""
        self.results.append(text)


class Narrator:
    """Prints steps as they happen and remembers them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self.steps: list[Step] = []

    @contextlib.contextmanager
    def step(self, title: str, why: str = "") -> Iterator[Step]:
        """Tells one step: its title, why it matters, and how long it took."""
        step = Step(title)
        self.steps.append(step)
        self._console.print(f"\n{len(self.steps)}. {title}", style="bold cyan")
        if why:
            self._console.print(f"   {why}", style="dim")
        began = time.monotonic()
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - began
        for text in step.results:
            self._console.print(Text.assemble("   ", ("✓", "green"), f" {text}"))
        self._console.print(f"   {step.seconds:.2f} s", style="dim")

    def say(self, text: str) -> None:
        """Prints a line below the running step."""
        self._console.print(f"   {text}", highlight=False)

    def show(self, what: RenderableType) -> None:
        """Prints something that is drawn."""
        self._console.print(what)

    def summary(self) -> None:
        """Prints what was shown, and how long all of it took."""
        table = Table(box=None, header_style="bold", pad_edge=False, title="\nWhat you saw", title_justify="left")
        table.add_column("step")
        table.add_column("result", overflow="fold")
        table.add_column("time", justify="right")
        for number, step in enumerate(self.steps, 1):
            table.add_row(f"{number}. {step.title}", "; ".join(step.results), f"{step.seconds:.2f} s")
        self._console.print(table)
        took = f", in {time.monotonic() - self._began:.0f} s."
        self._console.print(Text.assemble(("Everything worked", "bold green"), took))
