"""When tokens are refreshed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cordboard.auth.credentials import EARLY, JITTER, Material
from cordboard.auth.oauth import Granted
from cordboard.auth.schemes import Part, Scheme
from cordboard.core.secrets import Secret

TOKENS = 10_000
LIFE = 3600
SCHEME = Scheme("it", "session", (Part("", "session"),))
# So many seconds are looked at together: one alone has too few refreshes to tell a peak from chance.
TOGETHER = 5


def peak_over_mean() -> float:
    """Returns how much busier than the mean the busiest moment is, for tokens that were issued together."""
    moments = []
    for _ in range(TOKENS):
        after = Material.of(SCHEME, Granted(Secret("token"), None, LIFE, None), {}).lifetime.refresh_after
        assert after is not None
        assert LIFE * EARLY * (1 - JITTER) <= after <= LIFE * EARLY * (1 + JITTER) < LIFE
        moments.append(after)
    busiest = max(Counter(int(moment // TOGETHER) for moment in moments).values())
    return busiest / (TOKENS / (LIFE * EARLY * 2 * JITTER / TOGETHER))


def test_tokens_that_were_issued_together_are_not_refreshed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(20)
    assert peak_over_mean() < 2
    # The control: without jitter all of them are refreshed at once.
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)
    assert peak_over_mean() > 50
