"""Evaluation beside flagd's own evaluator, a set of 10,000 flags, and how evenly splits fall."""

from __future__ import annotations

import json
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from cordboard.core.flagging import ALGORITHMS, FlagSet
from cordboard.flags.compilation import compiled, configuration
from cordboard.flags.content import Content, Rule, Share, Slice

SEED: Final = 20260105
ROUNDS: Final = 5
EVALUATIONS: Final = 5_000
FLAGS: Final = 10_000
KEYS: Final = 1_000_000
ON_OFF: Final[dict[str, Any]] = {"on": True, "off": False}
# The chi-square distribution's 99.9 % quantile, by degrees of freedom.
CRITICAL: Final = {1: 10.83, 3: 16.27, 9: 27.88}
WORKSPACES: Final = tuple(f"w-{number}" for number in range(200))
RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "no rule": (),
    "one condition": (Rule(tiers=("business",), variant="on"),),
    "a share of the workspaces": (Rule(variant="on", slices=(Slice("group", 0, 2_500),)),),
    "a rollout": (
        Rule(workspaces=WORKSPACES, variant="on"),
        Rule(variant="off", slices=(Slice("holdout", 0, 500),)),
        Rule(
            tiers=("business", "enterprise"),
            environments=("production",),
            regions=("eu", "us"),
            split=(Share("on", 25), Share("off", 75)),
        ),
    ),
}


def main() -> None:
    """Prints the figures."""
    for name, rules in RULES.items():
        ours, theirs = speeds(rules)
        print(f"{name}: {ours:,.0f}/s, flagd-core {theirs:,.0f}/s, {ours / theirs:.2f} times as fast", flush=True)
    for line in large_set():
        print(line, flush=True)
    for algorithm in ALGORITHMS:
        for shares in ((1, 1), (10, 20, 30, 40), (1,) * 10):
            found, critical = evenness(algorithm, shares)
            verdict = "even" if found < critical else "NOT EVEN"
            weights = "/".join(map(str, shares))
            print(f"bucketing {algorithm}, {weights}, {KEYS:,} keys: chi-square {found:.1f} of {critical}, {verdict}")


def speeds(rules: tuple[Rule, ...]) -> tuple[float, float]:
    """Returns evaluations in a second, the mesh's and flagd-core's: the best of several rounds by turns."""
    content = Content(ON_OFF, "off", rules)
    text = configuration([("f", json.dumps(compiled("f", content, killed=False, revision=1)))])
    flags, core = FlagSet.parse(text), FlagdCore()
    core.set_flags(text)
    contexts = [
        {
            "targetingKey": f"w-{number + 150}",
            "workspace": f"w-{number + 150}",
            "tier": "business",
            "environment": "production",
            "region": "eu",
            "customer": "c-1",
        }
        for number in range(100)
    ]
    known = [EvaluationContext(each["targetingKey"], dict(each)) for each in contexts]
    assert all(
        flags.evaluate("f", mine).value == core.resolve_boolean_value("f", False, theirs).value
        for mine, theirs in zip(contexts, known, strict=True)
    )
    best = [0.0, 0.0]
    for _ in range(ROUNDS):
        best[0] = max(best[0], _rate(lambda number: flags.evaluate("f", contexts[number % 100])))
        best[1] = max(best[1], _rate(lambda number: core.resolve_boolean_value("f", False, known[number % 100])))
    return best[0], best[1]


def large_set() -> list[str]:
    """Returns what a set of 10,000 flags takes: to be read, to be written out, and to take one change."""
    draw = random.Random(SEED)
    kinds = list(RULES.values())
    definitions = {
        f"flag-{number}": compiled(
            f"flag-{number}", Content(ON_OFF, "off", draw.choice(kinds)), killed=False, revision=1
        )
        for number in range(FLAGS)
    }
    texts = {key: json.dumps(each) for key, each in definitions.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parse, flags = _timed(lambda: FlagSet(definitions))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    write, text = _timed(lambda: configuration(texts.items()))
    read, _ = _timed(lambda: FlagSet.parse(text))
    change, _ = _timed(lambda: flags.updated({"flag-1": definitions["flag-2"]}))
    return [
        f"{FLAGS:,} flags: read in {parse:.2f} s of CPU and about {memory:.0f} MiB, written as "
        f"{len(text) / 2**20:.1f} MiB in {write * 1000:.0f} ms, read again in {read:.2f} s",
        f"{FLAGS:,} flags: one change in {change * 1000:.1f} ms",
    ]


def evenness(algorithm: str, weights: tuple[int, ...]) -> tuple[float, float]:
    """Returns the chi-square statistic of where a million subjects fall, and what it stays below in 999 of 1000."""
    shares = [(index, weight) for index, weight in enumerate(weights)]
    bucket = ALGORITHMS[algorithm]
    counts = Counter(bucket(f"integration.desk-{number}", shares) for number in range(KEYS))
    expected = [KEYS * weight / sum(weights) for weight in weights]
    found = sum((counts[index] - wanted) ** 2 / wanted for index, wanted in enumerate(expected))
    return found, CRITICAL[len(weights) - 1]


def _rate(evaluate: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(EVALUATIONS):
        evaluate(number)
    return EVALUATIONS / (time.perf_counter() - began)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the least CPU time of three runs, which is the same on a machine that does other things too."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        found = work()
        best = min(best, time.process_time() - began)
    return best, found


if __name__ == "__main__":
    main()
