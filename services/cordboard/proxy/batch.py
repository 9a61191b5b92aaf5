"""Many calls in one: some at once, each with an outcome of its own, and behind those that somebody waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cordboard.core.errors import CordboardError, DeadlineExceeded, Fault, LimitExceeded
from cordboard.core.telemetry import span
from cordboard.planning.answers import Answer
from cordboard.proxy.calls import Call, Order
from cordboard.proxy.pipeline import Pipeline

SPAN: Final = "proxy.batch_call"
# The places of the mesh's own, for which a call of a batch waits instead of being refused.
OWN_LIMITS: Final = frozenset({"process_calls", "workspace_calls", "integration_calls"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call of a batch ended."""

    index: int
    done: tuple[Answer, Call] | None = None
    error: CordboardError | None = None


class Batches:
    """Runs batches."""

    def __init__(self, pipeline: Pipeline, *, workspace_calls: int) -> None:
        """Takes how many calls of all batches of one workspace may run at once in this process."""
        self._pipeline = pipeline
        self._most = workspace_calls
        self._places: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    async def run(self, orders: Sequence[Order], *, concurrency: int) -> AsyncGenerator[Outcome]:
        """Yields each order's outcome as it comes; what has not begun when the generator is closed is left out."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        waiting = iter(enumerate(orders))
        outcomes: asyncio.Queue[Outcome] = asyncio.Queue(maxsize=concurrency)

        async def work() -> None:
            for index, order in waiting:
                left = order.remaining - (loop.time() - begun)
                await outcomes.put(await self._outcome(index, replace(order, remaining=left, background=True)))

        workspace = orders[0].workspace
        with self._place(workspace):
            workers = [asyncio.create_task(work()) for _ in range(min(concurrency, len(orders)))]
            try:
                for _ in orders:
                    yield await outcomes.get()
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _outcome(self, index: int, order: Order) -> Outcome:
        try:
            with span(SPAN):
                async with self._places[order.workspace]:
                    return Outcome(index, done=await self._patiently(order))
        except CordboardError as error:
            return Outcome(index, error=error)
        except TimeoutError:
            return Outcome(index, error=DeadlineExceeded("the answer"))
        except Exception:
            return Outcome(index, error=Fault())

    async def _patiently(self, order: Order) -> tuple[Answer, Call]:
        loop = asyncio.get_running_loop()
        end = loop.time() + order.remaining
        while True:
            left = end - loop.time()
            try:
                return await self._pipeline.execute(replace(order, remaining=left))
            except LimitExceeded as error:
                wait = error.retry_after or 0.0
                if error.metadata["limit"] not in OWN_LIMITS or wait >= left:
                    raise
                await asyncio.sleep(wait)

    @contextlib.contextmanager
    def _place(self, workspace: str) -> Iterator[None]:
        self._users[workspace] += 1
        self._places.setdefault(workspace, asyncio.Semaphore(self._most))
        try:
            yield
        finally:
            self._users[workspace] -= 1
            if not self._users[workspace]:
                del self._users[workspace], self._places[workspace]
