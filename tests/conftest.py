"""What every test may ask for (each fixture lives in a module of `tests/fixtures/`), and what a skip means."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing else.
settings.register_profile("cordboard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cordboard")

pytest_plugins = [
    "tests.fixtures.certificates",
    "tests.fixtures.postgres",
    "tests.fixtures.serving",
    "tests.fixtures.auth",
    "tests.fixtures.auth_processes",
    "tests.fixtures.aws",
    "tests.fixtures.transit",
    "tests.fixtures.vault",
    "tests.fixtures.mariadb",
    "tests.fixtures.nats",
    "tests.fixtures.mesh",
    "tests.fixtures.desk",
    "tests.fixtures.hubs",
    "tests.fixtures.chromium",
]

# In CI everything that a check needs is there: a skipped test is a check that did not happen.
NO_SKIPS = "CORDBOARD_NO_SKIPS"
# What the reasons of skips begin with that are expected all the same, with semicolons between.
EXPECTED_SKIPS = "CORDBOARD_EXPECTED_SKIPS"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turns a skip into a failure where skips are not expected."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.skipped and os.environ.get(NO_SKIPS) and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        expected = tuple(each for each in os.environ.get(EXPECTED_SKIPS, "").split(";") if each)
        if not reason.removeprefix("Skipped: ").startswith(expected):
            report.outcome = "failed"
            report.longrepr = f"skipped although {NO_SKIPS} is set: {reason}"
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says loudly what was left out."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(
            f"######## {len(skipped)} checks were SKIPPED: see the reasons above ########", red=True
        )
