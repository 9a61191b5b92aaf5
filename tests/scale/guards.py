"""How soon a guard finds a worse version, and how often it takes back one that is as good."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import Final

from cordboard.flags.rollouts.comparison import Arm, Comparison
from cordboard.flags.rollouts.guards import bars, verdict
from cordboard.flags.rollouts.plan import Guard

SEED: Final = 20260105
RUNS: Final = 1_000
# Where something is asked of the power, it has to be known well; elsewhere a figure is enough.
POWER_RUNS: Final = 400
ASKED_RUNS: Final = 4_000
ASKED: Final = ((0.01, 0.5), (0.01, 0.1))
CALLS: Final = 2_000
LONG: Final = 10_000
# Calls in a stratum, which is about a second.
STRATUM: Final = 20
# What calls take, in buckets; the last is what is slow now and then.
DURATIONS: Final = (0.5, 0.3, 0.15, 0.05)
MORE: Final = 0.05

Rates = Callable[[int], float]


def run(draw: random.Random, calls: int, share: float, rates: Rates, more: float) -> int:
    """Plays calls of a new and an old version; returns after how many the new one was taken back, 0 for never."""
    comparison, guard, done = Comparison(), Guard(), 0
    while done < calls:
        counts = {True: [0, 0], False: [0, 0]}
        times = {True: [0] * len(DURATIONS), False: [0] * len(DURATIONS)}
        for _ in range(STRATUM):
            new = draw.random() < share
            counts[new][0] += 1
            counts[new][1] += draw.random() < min(1.0, rates(done) + (more if new else 0.0))
            times[new][draw.choices(range(len(DURATIONS)), DURATIONS)[0]] += 1
        done += STRATUM
        arms = {new: Arm(count, {"VENDOR_ERROR": bad}, tuple(times[new])) for new, (count, bad) in counts.items()}
        comparison = comparison.taking(arms[True], arms[False], bars(guard))
        if verdict(comparison, guard):
            return done
    return 0


def detection(base: float, share: float, runs: int) -> tuple[float, float]:
    """Returns the share of versions with 5 points more failures that are found within 2000 calls, and the median."""
    draw = random.Random(SEED)
    found = [run(draw, CALLS, share, lambda _: base, MORE) for _ in range(runs)]
    hits = [calls for calls in found if calls]
    return len(hits) / len(found), statistics.median(hits) if hits else 0.0


def false_alarms(share: float, rates: Rates, *, runs: int = RUNS, calls: int = LONG) -> float:
    """Returns the share of runs of two versions that are alike in which one was taken back."""
    draw = random.Random(SEED)
    return sum(run(draw, calls, share, rates, 0.0) > 0 for _ in range(runs)) / runs


def outage(done: int) -> float:
    """Returns the failures of a vendor that is down for a while."""
    return 0.9 if LONG // 4 < done < LONG // 2 else 0.01


def main() -> int:
    """Prints the figures; returns 1 where one is not as it has to be."""
    well = True
    for base, share in ((0.005, 0.5), (0.01, 0.5), (0.01, 0.25), (0.03, 0.5), (0.01, 0.1)):
        asked = (base, share) in ASKED
        runs = ASKED_RUNS if asked else POWER_RUNS
        found, after = detection(base, share, runs)
        what = f"failures {base:.1%}, +5 points, {share:.0%} of calls"
        print(f"{what}: {found:.1%} of {runs} found within {CALLS}, median {after:.0f}", flush=True)
        if asked:
            well &= found >= 0.95
    alarms: dict[str, tuple[float, Rates]] = {
        "1 % failures": (0.5, lambda _: 0.01),
        "20 % failures, a tenth of the calls": (0.1, lambda _: 0.2),
        "an outage of both, a tenth of the calls": (0.1, outage),
    }
    for name, (share, rates) in alarms.items():
        part = false_alarms(share, rates)
        print(f"{RUNS} runs of {LONG} calls, versions alike, {name}: {part:.1%} taken back")
        well &= part <= 0.05
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
