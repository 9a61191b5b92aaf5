"""Reads Gherkin as far as flagd's suites use it: backgrounds, scenarios, outlines with examples, tags and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

_STEP: Final = re.compile(r"(?:Given|When|Then|And|But) (.*)")
_HEAD: Final = re.compile(r"(Feature|Background|Scenario|Scenario Outline|Examples|Scenarios|Rule):(.*)")


@dataclass(frozen=True)
class Step:
    """One step, without its keyword, and the rows of its table."""

    text: str
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Scenario:
    """One case: a scenario, or an outline with the values of one example."""

    name: str
    steps: tuple[Step, ...]
    tags: frozenset[str] = frozenset()


@dataclass
class _Block:
    kind: str
    name: str
    tags: frozenset[str]
    steps: list[Step] = field(default_factory=list)
    examples: list[tuple[frozenset[str], list[tuple[str, ...]]]] = field(default_factory=list)


def scenarios(text: str) -> list[Scenario]:
    """Returns the cases of a feature, in order."""
    blocks = list(_blocks(text))
    background = [step for block in blocks if block.kind == "Background" for step in block.steps]
    feature = next((block.tags for block in blocks if block.kind == "Feature"), frozenset[str]())
    found: list[Scenario] = []
    for block in blocks:
        if not block.kind.startswith("Scenario"):
            continue
        plain = Scenario(block.name, (*background, *block.steps), feature | block.tags)
        if not block.examples:
            found.append(plain)
        for tags, (names, *rows) in block.examples:
            found += [_filled(plain, tags, names, row) for row in rows]
    return found


def _blocks(text: str) -> Iterator[_Block]:
    current: _Block | None = None
    tags: frozenset[str] = frozenset()
    for raw in text.splitlines():
        line = raw.strip()
        head, step = _HEAD.match(line), _STEP.match(line)
        if line.startswith("@"):
            tags |= {each.removeprefix("@") for each in line.split()}
        elif head is not None and head[1] in ("Examples", "Scenarios") and current is not None:
            current.examples.append((tags, []))
            tags = frozenset()
        elif head is not None:
            if current is not None:
                yield current
            current, tags = _Block(head[1], head[2].strip(), tags), frozenset()
        elif current is not None and line.startswith("|"):
            cells = _cells(line)
            if current.examples:
                current.examples[-1][1].append(cells)
            elif current.steps:
                last = current.steps[-1]
                current.steps[-1] = replace(last, rows=(*last.rows, cells))
        elif current is not None and step is not None:
            current.steps.append(Step(step[1]))
    if current is not None:
        yield current


def _cells(line: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in re.split(r"(?<!\\)\|", line.strip().strip("|")))


def _filled(plain: Scenario, tags: frozenset[str], names: Sequence[str], row: Sequence[str]) -> Scenario:
    values = dict(zip(names, row, strict=True))

    def fill(text: str) -> str:
        return re.sub(r"<([^<>]+)>", lambda found: values.get(found[1], found[0]), text)

    steps = tuple(Step(fill(step.text), tuple(tuple(map(fill, cells)) for cells in step.rows)) for step in plain.steps)
    return Scenario(f"{plain.name} ({', '.join(row)})", steps, plain.tags | tags)
