"""How a call goes: admit, resolve, gate, authorise, plan, guard, send, interpret, record. One readable line of stages.

The first four are in `admission`, planning and reading in `asking`, sending and what is done again in `exchange`, pages
and streams in `walking`; this module leads a call through them and back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cordboard.core.errors import CordboardError, DeadlineExceeded, VendorError
from cordboard.planning.answers import Answer
from cordboard.planning.plan import Outbound
from cordboard.proxy.admission import Admission
from cordboard.proxy.asking import Asking
from cordboard.proxy.backends.shadow import Shadow
from cordboard.proxy.calls import Call, CallRecord, Order
from cordboard.proxy.connections import Lease
from cordboard.proxy.definitions import Action, Definition
from cordboard.proxy.ledger import Ledger
from cordboard.proxy.meter import Meter
from cordboard.proxy.outcomes import Outcomes
from cordboard.proxy.recorder import Recorder
from cordboard.proxy.stages import GUARD, RECORD
from cordboard.proxy.target import Target
from cordboard.proxy.vendor_jobs import picked
from cordboard.proxy.walking import Page, Walking

CLOSE_SECONDS: Final = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Pipeline:
    """Runs calls."""

    admission: Admission
    asking: Asking
    walking: Walking
    ledger: Ledger
    recorder: Recorder
    meter: Meter
    outcomes: Outcomes
    shadow: Shadow
    # Calls that go on when their callers have left: the strong references that the event loop does not keep.
    owned: set[asyncio.Task[Any]]

    async def execute(self, order: Order) -> tuple[Answer, Call]:
        """Runs one call; returns the vendor's answer and how the call went."""
        call = Call(order)
        if not order.idempotency_key:
            return await self._executed(call), call
        # Whoever comes again with the key wants to find the answer of this call, even when its caller has gone.
        return await self._apart(self._executed(call)), call

    async def rehearse(self, order: Order) -> None:
        """Raises what a call would raise before anything of it is sent."""
        call = Call(order)
        target = await self.admission.target(call)
        self.asking.planned(call, target, call.given)

    @contextlib.asynccontextmanager
    async def passage(self, order: Order, switch: str, *, safe: bool) -> AsyncGenerator[tuple[Call, Definition, Lease]]:
        """Leads a call that is no action's up to where it is sent, and records it when the block ends.

        `switch` stands where flags name the action; `safe` tells that it changes nothing at the vendor.
        """
        call = Call(order)
        try:
            with self.admission.admitted(call):
                definition, lease = await self.admission.resolved(call, switch)
                with self.admission.room(call, definition.slug):
                    if not safe:
                        with call.stages.working(GUARD):
                            await self.recorder.intend(call.record(None, ended=False))
                    yield call, definition, lease
        except BaseException as error:
            await self._failed(call, error)
            raise
        status = call.vendor_status
        await self._recorded(call, VendorError(call.integration, switch, status) if status >= 400 else None)

    async def pages(self, order: Order) -> AsyncGenerator[tuple[Page, Call]]:
        """Runs a paged call; yields each page as it comes, and the record is written before the last."""
        call = Call(order)
        try:
            with self.admission.admitted(call):
                target = await self.admission.target(call)
                with self.admission.room(call, target.definition.slug):
                    await self._intended(call, target.action)
                    async with contextlib.aclosing(self.walking.pages(call, target)) as walk:
                        async for page in walk:
                            if page.last:
                                await self._recorded(call, None)
                            yield page, call
        except BaseException as error:
            if not call.settled:
                await self._failed(call, error)
            raise

    async def close(self) -> None:
        """Returns when the calls whose callers have left have ended too."""
        await self.shadow.close()
        if self.owned:
            await asyncio.wait(self.owned, timeout=CLOSE_SECONDS)

    # The stages, in order.

    async def _begun(self, call: Call, target: Target) -> Answer | None:
        """Takes the idempotency key; returns the answer that is kept under it, if there is one."""
        try:
            with call.stages.working(GUARD):
                async with call.in_time():
                    return await self.ledger.begin(call, repeatable=target.replays)
        except DeadlineExceeded:
            if call.has_key:
                # In the very last moment: without this it would be in doubt, and nothing was sent.
                await self._released(call, target)
            raise

    async def _intended(self, call: Call, action: Action) -> None:
        """Notes a call that may change something before it is sent: without that note it is not begun."""
        if not action.safe:
            with call.stages.working(GUARD):
                await self.recorder.intend(call.record(None, ended=False))

    async def _recorded(self, call: Call, error: BaseException | None) -> None:
        call.settled = True
        call.stages.enter(RECORD)
        call.stages.tell(call.labels)
        row = call.record(error)
        self._counted(call, row)
        await self.recorder.record(row)

    def _counted(self, call: Call, row: CallRecord) -> None:
        self.meter.ended(row, call.received, call.led)
        # An answer that was kept says nothing of the version that would give it now.
        if call.led is not None and not call.replayed:
            self.outcomes.ended(call.led, row)

    # How they are put together.

    async def _executed(self, call: Call) -> Answer:
        try:
            with self.admission.admitted(call):
                answer = await self._run(call)
        except BaseException as error:
            await self._failed(call, error)
            raise
        await self._recorded(call, None)
        return answer

    async def _run(self, call: Call) -> Answer:
        if call.order.idempotency_key:
            return await self._run_once(call)
        target = await self.admission.target(call)
        request = self.asking.planned(call, target, call.given)
        with self.admission.room(call, target.definition.slug):
            return await self._done(call, target, request)

    async def _done(self, call: Call, target: Target, request: Outbound) -> Answer:
        await self._intended(call, target.action)
        answer, target = await self.asking.output(call, target, request)
        job = target.action.job
        if job is None or target.elsewhere:
            self.shadow.consider(call, target, answer)
            return answer
        done = await self.asking.finished(call, target, answer, job)
        answer, target = done.answer, done.target
        if done.given is not None:
            answer, target = await self.asking.asked(call, target, done.given)
        return picked(target, answer, job)

    async def _run_once(self, call: Call) -> Answer:
        async with call.in_time():
            target = await self.admission.target(call)
        request = self.asking.planned(call, target, call.given)
        with self.admission.room(call, target.definition.slug):
            kept = await self._begun(call, target)
            if kept is not None:
                call.replayed = True
                call.vendor_status = kept.status
                return kept
            try:
                async with call.in_time():
                    answer = await self._done(call, target, request)
            except BaseException:
                await self._released(call, target)
                raise
            # It is done, and its caller is told so even where the answer cannot be kept: the key is then indeterminate.
            with contextlib.suppress(CordboardError):
                await self.ledger.keep(call, answer)
            return answer

    async def _released(self, call: Call, target: Target) -> None:
        # The lease of the key ends by itself where this cannot be written.
        with contextlib.suppress(CordboardError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.ledger.release(call, repeatable=target.replays)

    async def _failed(self, call: Call, error: BaseException) -> None:
        call.stages.failed()
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            # Nobody waits any more, and this task is to end: the recorder has the row, and writes it by itself.
            call.settled = True
            row = call.record(error)
            self._counted(call, row)
            self.recorder.submit(row)
            call.stages.tell(call.labels)
            return
        await self._recorded(call, error)

    async def _apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs work in a task of the service's own, which goes on when the one that waits for it is cancelled."""
        task = asyncio.create_task(work)
        self.owned.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.owned.discard(task)
        # Looked at here, for it may be that nobody waits for it any more.
        if not task.cancelled():
            task.exception()
