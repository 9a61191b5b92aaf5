"""What every test may ask for; each fixture lives in a module of `tests/fixtures/`."""

from __future__ import annotations

pytest_plugins = [
    "tests.fixtures.certificates",
    "tests.fixtures.postgres",
    "tests.fixtures.serving",
    "tests.fixtures.auth",
]
