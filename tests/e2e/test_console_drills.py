"""Two drills whose causes are found at the console: the others, and pictures, are in tests/soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.causes import found
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.drills import Newcomer, a_drill

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]


@pytest.mark.parametrize("name", ["database-down", "key-leak"])
async def test_the_cause_is_found_at_the_console(name: str, tmp_path: Path, console_browser: Browser) -> None:
    async with a_drill(name, tmp_path) as drill:
        await found(name, Newcomer(console_browser, None), drill)
