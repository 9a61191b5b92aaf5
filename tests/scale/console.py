"""How soon the console is there, how smoothly a long list scrolls, and how soon a vendor's failure is on its screen.

A mesh with the sandbox vendor, and Chromium. FLAGS in the environment is the length of the list.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from typing import Any, Final

from google.protobuf.struct_pb2 import Value

from cordboard.auth.v1 import login_service_pb2 as login
from cordboard.client import Client, CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, a_desk
from tests.fixtures.mesh import Backstage, a_mesh
from tests.scale._aims import Aims

FLAGS: Final = int(os.environ.get("FLAGS", "1000"))
OPENINGS: Final = 3
PAINT_AIM: Final = 1000.0
# Sixty in a second.
FRAME_AIM: Final = 17.0
SEEN_AIM: Final = 5.0
AT_ONCE: Final = 20
PAUSE: Final = 0.1


async def opened(desk: Desk, browser: Browser, *acts: list[str]) -> dict[str, Any]:
    """Opens the console in a new browser and does things there; returns what was seen."""
    async with desk.mesh.operator() as operator:
        made = await operator.login.InviteBrowser(login.InviteBrowserRequest())
    return await done(browser, {"url": f"{desk.mesh.mesh.public_url}/console#code={made.code}"}, *acts)


async def done(browser: Browser, request: dict[str, Any], *acts: list[str]) -> dict[str, Any]:
    """Does things at the console; returns what was seen."""
    [found] = await asyncio.to_thread(browser, request | {"acts": acts})
    assert found["wrong"] == [], found
    return found


async def put_flags(operator: Client) -> None:
    """Makes a long list."""
    numbers = iter(range(FLAGS))

    async def put() -> None:
        for number in numbers:
            flag = flags.Flag(
                name=f"flags/a-{number:05}", variants={"on": Value(bool_value=True)}, default_variant="on"
            )
            await operator.flags.PutFlag(flags.PutFlagRequest(flag=flag))

    await asyncio.gather(*(put() for _ in range(AT_ONCE)))


async def calling(desk: Desk, connection: str, token: str) -> None:
    """Calls for ever, whatever becomes of it."""
    async with desk.mesh.client(token) as member:
        while True:
            with contextlib.suppress(CordboardError):
                await member.execute(connection, "list_tickets")
            await asyncio.sleep(PAUSE)


async def measured(desk: Desk, browser: Browser, aims: Aims) -> None:
    """Measures all of it."""
    painted = [(await opened(desk, browser, ["see", "Newest failures"]))["painted"] for _ in range(OPENINGS)]
    aims.at_most("first paint in a new browser", statistics.median(painted), PAINT_AIM, "ms")

    async with desk.mesh.operator() as operator:
        await put_flags(operator)
    found = await opened(
        desk, browser, ["see", "Attention"], ["go", "#/flags"], ["see", "a-00000"], ["scroll", "Flags"]
    )
    frames = sorted(found["frames"])
    late = sum(each > 2 * FRAME_AIM for each in frames)
    print(f"{len(frames)} frames over {FLAGS} rows: longest {frames[-1]:.0f} ms, {late} took twice their time or more")
    aims.at_most("a frame, median", statistics.median(frames), FRAME_AIM, "ms")

    tenant = await desk.tenant()
    running = asyncio.create_task(calling(desk, tenant.connection, tenant.token))
    await opened(desk, browser, ["see", "Newest failures"])
    began = time.monotonic()
    with desk.broken(status=503):
        await done(browser, {}, ["see", "calls fail"])
        aims.at_most("a vendor's failure on the screen", time.monotonic() - began, SEEN_AIM, "s")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def main() -> None:
    """Prints the figures; ends with 1 where one is not as it is promised."""
    if not INSTALLED:
        print(MISSING)
        return
    aims, backstage = Aims(), Backstage()
    browser = Browser("console.mjs")
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    try:
        with a_mesh(backstage) as mesh, a_desk(mesh, backstage) as desk:
            asyncio.run(measured(desk, browser, aims))
    finally:
        browser.close()
        backstage.close()
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    aims.settle()


if __name__ == "__main__":
    main()
