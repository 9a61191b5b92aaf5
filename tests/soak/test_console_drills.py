"""Who has never seen the system finds the cause of every drill at the console, by what the page shows.

`PICTURES=FOLDER` keeps pictures of what was seen: those of docs/pictures come from here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fixtures.causes import WAYS, found
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.drills import Newcomer, a_drill

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]
PICTURES = os.environ.get("PICTURES")


@pytest.mark.parametrize("name", WAYS)
async def test_the_cause_is_found_at_the_console(name: str, tmp_path: Path, console_browser: Browser) -> None:
    async with a_drill(name, tmp_path) as drill:
        await found(name, Newcomer(console_browser, Path(PICTURES) if PICTURES else None), drill)
