"""How a call goes: admit, resolve, gate, authorise, plan, guard, send, interpret, record. One readable line of stages.

Sending and interpreting, with what is done again, are in `exchange`; this module leads a call up to there and back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url
from cordboard.core.errors import CordboardError, DeadlineExceeded, NotFound, VendorError
from cordboard.planning.answers import Answer
from cordboard.planning.decoders import Undecodable
from cordboard.planning.events import reader_of
from cordboard.planning.paging import Pages, Step
from cordboard.planning.plan import Outbound
from cordboard.proxy.calls import Call, Order
from cordboard.proxy.connections import Connections, Lease
from cordboard.proxy.definitions import Action, Definition
from cordboard.proxy.exchange import Exchange
from cordboard.proxy.feed import Feed
from cordboard.proxy.ledger import Ledger, check_key
from cordboard.proxy.limits import Bulkhead
from cordboard.proxy.meter import Meter
from cordboard.proxy.recorder import Recorder
from cordboard.proxy.refusals import PagesMoved, mismatch
from cordboard.proxy.snapshot import Definitions, Flags
from cordboard.proxy.stages import ADMIT, AUTHORISE, GATE, GUARD, PLAN, RECORD, RESOLVE
from cordboard.proxy.target import Target, aim
from cordboard.proxy.usage import Usage
from cordboard.proxy.vendor_jobs import Finished, finish, picked

MAX_PAGES: Final = 10_000
# How often a walk through a list begins again because the vendor wants it to.
MAX_RESETS: Final = 3
CLOSE_SECONDS: Final = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: list[Any]
    number: int
    answer: Answer
    last: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls may run at once."""

    workspace: Bulkhead
    integration: Bulkhead


@dataclass(frozen=True)
class Pipeline:
    """Runs calls."""

    definitions: Definitions
    usage: Usage
    flags: Flags
    connections: Connections
    exchange: Exchange
    ledger: Ledger
    recorder: Recorder
    meter: Meter
    limits: Limits
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
        self._planned(call, await self._target(call), order.given)

    @contextlib.asynccontextmanager
    async def passage(self, order: Order, switch: str, *, safe: bool) -> AsyncGenerator[tuple[Call, Definition, Lease]]:
        """Leads a call that is no action's up to where it is sent, and records it when the block ends.

        `switch` stands where flags name the action; `safe` tells that it changes nothing at the vendor.
        """
        call = Call(order)
        try:
            with self._admitted(call):
                definition, lease = await self._resolved(call, switch)
                scope = f"workspaces/{order.workspace} at integrations/{definition.slug}"
                with self.limits.integration.place((order.workspace, definition.slug), scope):
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
            with self._admitted(call):
                target = await self._target(call)
                with self._room(call, target):
                    await self._intended(call, target.action)
                    async with contextlib.aclosing(self._streamed(call, target)) as walk:
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
        if self.owned:
            await asyncio.wait(self.owned, timeout=CLOSE_SECONDS)

    # The stages, in order.

    @contextlib.contextmanager
    def _admitted(self, call: Call) -> Iterator[None]:
        call.stages.enter(ADMIT)
        order = call.order
        if call.left() <= 0:
            raise DeadlineExceeded("anything")
        check_key(order.idempotency_key)
        with (
            self.limits.workspace.place(order.workspace, f"workspaces/{order.workspace}"),
            self.recorder.expecting(),
        ):
            yield

    async def _target(self, call: Call) -> Target:
        definition, lease = await self._resolved(call, call.order.action)
        action = definition.action(call.order.action)
        return aim(definition, action, lease)

    async def _resolved(self, call: Call, switch: str) -> tuple[Definition, Lease]:
        call.stages.enter(RESOLVE)
        order, caller = call.order, call.order.caller
        lease = await self._lease(call)
        call.integration = lease.integration
        context = _context(call, lease)
        definition = self.definitions.resolve(
            lease.integration,
            self.flags.version(lease.integration, context),
            workspace=order.workspace,
            environment=lease.environment,
        )
        call.version = definition.version
        self.usage.count(order.workspace, lease.environment, lease.integration, definition.version)
        call.stages.enter(GATE)
        self.flags.gate(lease.integration, switch, context)
        call.stages.enter(AUTHORISE)
        if lease.environment != caller.environment and caller.token_id and not caller.is_operator:
            # Another environment's connection is not there, as another workspace's is not.
            raise NotFound(order.connection)
        call.generation = lease.generation
        return definition, lease

    async def _lease(self, call: Call) -> Lease:
        known = self.connections.known(call.order.connection)
        if known is not None:
            return known
        with call.stages.working(AUTHORISE):
            lease = await self.connections.lease(call.order.connection, call.left())
        call.stages.enter(RESOLVE)
        return lease

    def _planned(self, call: Call, target: Target, given: Mapping[str, Any]) -> Outbound:
        call.stages.enter(PLAN)
        action = target.action
        action.check(dict(given))
        place = target.place
        return action.plan.outbound(given, place.base, place.template, target.values, _vendor_key(call, action))

    @contextlib.contextmanager
    def _room(self, call: Call, target: Target) -> Iterator[None]:
        call.stages.enter(GUARD)
        workspace, slug = call.order.workspace, target.definition.slug
        with self.limits.integration.place((workspace, slug), f"workspaces/{workspace} at integrations/{slug}"):
            yield

    async def _begun(self, call: Call, action: Action) -> Answer | None:
        """Takes the idempotency key; returns the answer that is kept under it, if there is one."""
        if not call.order.idempotency_key:
            return None
        with call.stages.working(GUARD):
            return await self.ledger.begin(call, repeatable=action.repeatable or action.takes_key)

    async def _intended(self, call: Call, action: Action) -> None:
        """Notes a call that may change something before it is sent: without that note it is not begun."""
        if not action.safe:
            with call.stages.working(GUARD):
                await self.recorder.intend(call.record(None, ended=False))

    async def _answered(
        self, call: Call, target: Target, request: Outbound, feed: Feed | None = None
    ) -> tuple[Answer, Target]:
        answer, used = await self.exchange.answer(call, target, request, keyed=target.action.takes_key, feed=feed)
        call.received += len(answer.body)
        return answer, used

    async def _recorded(self, call: Call, error: BaseException | None) -> None:
        call.settled = True
        call.stages.enter(RECORD)
        call.stages.tell(call.labels)
        row = call.record(error)
        self.meter.ended(row, call.received)
        await self.recorder.record(row)

    # How they are put together.

    async def _executed(self, call: Call) -> Answer:
        try:
            with self._admitted(call):
                answer = await self._run(call)
        except BaseException as error:
            await self._failed(call, error)
            raise
        await self._recorded(call, None)
        return answer

    async def _run(self, call: Call) -> Answer:
        target = await self._target(call)
        request = self._planned(call, target, call.order.given)
        with self._room(call, target):
            kept = await self._begun(call, target.action)
            if kept is not None:
                call.replayed = True
                call.vendor_status = kept.status
                return kept
            if not call.order.idempotency_key:
                return await self._done(call, target, request)
            return await self._run_once(call, target, request)

    async def _done(self, call: Call, target: Target, request: Outbound) -> Answer:
        await self._intended(call, target.action)
        answer, target = await self._output(call, target, request)
        job = target.action.job
        if job is None:
            return answer
        done = await self._finished(call, target, answer, job)
        answer, target = done.answer, done.target
        if done.given is not None:
            answer, target = await self._asked(call, target, done.given)
        return picked(target, answer, job)

    async def _output(self, call: Call, target: Target, request: Outbound) -> tuple[Answer, Target]:
        answer, target = await self._answered(call, target, request)
        return await _read(call, target, answer, target.action.interpretation.output), target

    async def _asked(self, call: Call, target: Target, given: Mapping[str, Any]) -> tuple[Answer, Target]:
        return await self._output(call, target, self._planned(call, target, given))

    async def _finished(self, call: Call, target: Target, started: Answer, job: pb.AsyncJob) -> Finished:
        return await finish(call, target, started, job, lambda other, given: self._asked(call, other, given))

    async def _run_once(self, call: Call, target: Target, request: Outbound) -> Answer:
        try:
            answer = await self._done(call, target, request)
        except BaseException:
            repeatable = target.action.repeatable or target.action.takes_key
            # The lease of the key ends by itself where this cannot be written.
            with contextlib.suppress(CordboardError):
                await self.ledger.release(call, repeatable=repeatable)
            raise
        # It is done, and its caller is told so even where the answer cannot be kept: the key is then indeterminate.
        with contextlib.suppress(CordboardError):
            await self.ledger.keep(call, answer)
        return answer

    async def _streamed(self, call: Call, target: Target) -> AsyncGenerator[Page]:
        job, given = target.action.job, call.order.given
        if target.action.interpretation.streaming:
            async with contextlib.aclosing(self._fed(call, target)) as feed:
                async for page in feed:
                    yield page
            return
        if job is None:
            async with contextlib.aclosing(self._walk(call, target, given)) as walk:
                async for page in walk:
                    yield page
            return
        answer, target = await self._asked(call, target, given)
        done = await self._finished(call, target, answer, job)
        if done.given is not None and done.target.action.paging is not None:
            async with contextlib.aclosing(self._walk(call, done.target, done.given)) as walk:
                async for page in walk:
                    yield page
            return
        answer, target = done.answer, done.target
        if done.given is not None:
            answer, target = await self._asked(call, target, done.given)
        found = _value(target, picked(target, answer, job))
        yield Page(found if isinstance(found, list) else [found], 1, answer, last=True)

    async def _fed(self, call: Call, target: Target) -> AsyncGenerator[Page]:
        """Yields what comes of one answer as it comes; the last page may be empty."""
        reading, most = target.action.interpretation, _most_pages(call.order, target.action)
        reader = reader_of(reading.streaming)
        number = 0
        async with Feed(call.left()) as feed:
            request = self._planned(call, target, call.order.given)
            answer, target = await self._answered(call, target, request, feed)
            async with contextlib.aclosing(self.exchange.pieces(call, target, feed)) as pieces:
                async for piece in pieces:
                    items = self._shown(target, answer, reader.read, piece)
                    if items:
                        number += 1
                        yield Page(items, number, answer, number >= most)
                        if number >= most:
                            return
            items = self._shown(target, answer, lambda _: reader.end(), b"")
            yield Page(items, number + 1, answer, last=True)

    @staticmethod
    def _shown(target: Target, answer: Answer, read: Callable[[bytes], list[Any]], piece: bytes) -> list[Any]:
        try:
            return target.action.interpretation.streamed(read(piece), answer)
        except Undecodable as problem:
            raise mismatch(target, answer, str(problem)) from None

    async def _walk(self, call: Call, target: Target, given: Mapping[str, Any]) -> AsyncGenerator[Page]:
        most, number, resets = _most_pages(call.order, target.action), 0, 0
        pages = Pages(target.action.paging, given, call.order.connection)
        step: Step | None = Step(given=pages.first())
        request: Outbound | None = None
        while step is not None:
            if step.given is not None or request is None:
                request = self._planned(call, target, step.given or {})
            else:
                call.stages.enter(PLAN)
                request = request.to(str(check_url(step.url, target.place.hosts)))
                # Another page is another request: with the key of the last one it could be answered with the last one.
                request = target.action.plan.keyed(request, _vendor_key(call, target.action))
            try:
                answer, target = await self._answered(call, target, request)
            except PagesMoved:
                resets += 1
                if resets > MAX_RESETS:
                    raise
                pages = Pages(target.action.paging, given, call.order.connection)
                step, request = Step(given=pages.first()), None
                continue
            number += 1
            items, step = await self._turned(call, target, pages, answer, request.url)
            yield Page(items, number, answer, step is None or number >= most)
            if number >= most:
                return

    @staticmethod
    async def _turned(
        call: Call, target: Target, pages: Pages, answer: Answer, url: str
    ) -> tuple[list[Any], Step | None]:
        """Returns the items of a page, as outputs, and how to get the next one."""
        if answer.ignored:
            return [], None
        reading = target.action.interpretation
        document = await _read(call, target, answer, reading.document)
        items = pages.items(document, single=reading.lists_single_items)
        if items is None:
            raise mismatch(target, answer, "has no list where the definition says")
        step = pages.following(document, items, answer, url=url)
        return await _read(call, target, answer, lambda one: reading.items(items, one)), step

    async def _failed(self, call: Call, error: BaseException) -> None:
        call.stages.failed()
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            # Nobody waits any more, and this task is to end: the recorder has the row, and writes it by itself.
            call.settled = True
            row = call.record(error)
            self.meter.ended(row, call.received)
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


def _context(call: Call, lease: Lease) -> dict[str, str]:
    caller = call.order.caller
    workspace = call.order.workspace
    own = caller.workspace == workspace
    # What the token says holds for its own workspace; an operator who calls in another has only the names.
    return {
        "targetingKey": workspace,
        "workspace": workspace,
        "customer": caller.customer if own else "",
        "tier": caller.tier if own else "",
        "region": caller.region if own else "",
        "environment": caller.environment if own else lease.environment,
    }


def _vendor_key(call: Call, action: Action) -> str:
    """Returns the idempotency key for the vendor: one of our own lets it know a repeated attempt for what it is."""
    return (call.order.idempotency_key or secrets.token_hex(16)) if action.takes_key else ""


def _most_pages(order: Order, action: Action) -> int:
    declared = action.paging.max_pages if action.paging is not None else 0
    return min(one for one in (order.max_pages, declared, MAX_PAGES) if one)


async def _read(call: Call, target: Target, answer: Answer, read: Callable[[Answer], T]) -> T:
    """Returns what a reader makes of an answer; a large one is read beside the event loop."""
    try:
        if target.action.interpretation.is_quick(answer):
            return read(answer)
        return await asyncio.to_thread(read, answer)
    except Undecodable as problem:
        # The vendor did what was asked, and what it says of it cannot be given to anybody.
        call.doubtful = True
        raise mismatch(target, answer, str(problem)) from None


def _value(target: Target, answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise mismatch(target, answer, "is not JSON") from None
