"""Three workspaces use two processes of Auth for 10,000 steps at random, while keys rotate: each sees what it did.

`STEPS=1000` is a shorter walk, `SEED=7` one that was walked before.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Final

from cordboard import sandbox
from tests.contract.auth_walk import Walk
from tests.fixtures.auth import Auth

STEPS: Final = int(os.environ.get("STEPS", "10000"))


async def test_what_three_workspaces_see_is_what_each_did(auth: Auth, vendor: sandbox.Vendor, kek_dir: Path) -> None:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"\nSEED={seed}", flush=True)
    async with auth.replica() as other:
        walk = Walk(auth, vendor, (auth.served, other), kek_dir, seed)
        await walk.begin()
        begun = time.monotonic()
        await walk.steps(STEPS)
    print(f"{STEPS} steps in {time.monotonic() - begun:.0f} s, 0 differences from the model: {dict(walk.done)}")
    assert walk.done["rotations that were done"] >= 1
