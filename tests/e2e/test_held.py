"""A load of which callers give up a third leaves nothing behind: connections, tasks, descriptors, threads, sessions.

In short; `tests/soak/test_long_load.py` does it for longer, watches memory, and has the control.
"""

from __future__ import annotations

from tests.fixtures.desk import Desk
from tests.fixtures.held import Callers, at_rest, held_open, leaks, told
from tests.fixtures.mesh import RunningMesh, until

WARM_SECONDS = 5.0
SECONDS = 15.0
# What caches still take in so short a time says nothing.
ANY_GROWTH = 10.0


async def test_callers_who_leave_midway_leave_nothing_behind(running_mesh: RunningMesh, desk: Desk) -> None:
    callers = Callers(desk, await desk.tenant())
    async with running_mesh.operator() as operator:
        with desk.broken(latency_ms=30):
            await callers.go_on(WARM_SECONDS)
            before = await at_rest(running_mesh, operator)
            await callers.go_on(SECONDS)
        after = await at_rest(running_mesh, operator)
    print(f"\n{callers.told()}\n{told([before, after])}")
    assert leaks([before, after], ANY_GROWTH) == []
    kinds = {each.partition(":")[0] for each in callers.ended if each.endswith(": OK")} | {"watch"}
    assert kinds == set(callers.kinds), "each kind of call went well"
    assert callers.left.total() > 0.15 * (callers.left.total() + callers.ended.total())


async def test_a_session_that_holds_a_transaction_open_is_seen(running_mesh: RunningMesh) -> None:
    async with running_mesh.database() as one, running_mesh.database() as other:
        async with one.transaction():
            await one.execute("SELECT 'left open'")

            async def seen() -> bool:
                return any("left open" in each for each in await held_open(other))

            await until(seen, "the session to be seen", every=0.5)
        assert not any("left open" in each for each in await held_open(other))
