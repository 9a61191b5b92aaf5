"""Walks through what comes in pieces: the pages of a list, the result of a vendor's job, the items of a stream."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cordboard.core.egress import check_url
from cordboard.planning.answers import Answer
from cordboard.planning.decoders import Undecodable
from cordboard.planning.events import reader_of
from cordboard.planning.paging import Pages, Step
from cordboard.planning.plan import Outbound
from cordboard.proxy.asking import Asking, read_beside, vendor_key
from cordboard.proxy.backends.hub import Errand
from cordboard.proxy.calls import Call, Order
from cordboard.proxy.definitions import Action
from cordboard.proxy.feed import Feed
from cordboard.proxy.refusals import PagesMoved, mismatch
from cordboard.proxy.stages import PLAN
from cordboard.proxy.target import Target
from cordboard.proxy.vendor_jobs import picked

MAX_PAGES: Final = 10_000
# How often a walk through a list begins again because the vendor wants it to.
MAX_RESETS: Final = 3


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: list[Any]
    number: int
    answer: Answer
    last: bool


class Walking:
    """Gets pages."""

    def __init__(self, asking: Asking) -> None:
        """Takes what asks the vendor."""
        self._asking = asking

    async def pages(self, call: Call, target: Target) -> AsyncGenerator[Page]:
        """Yields each page of a call as it comes."""
        job, given = target.action.job, call.given
        if target.elsewhere:
            async with contextlib.aclosing(self._relayed(call, target)) as relayed:
                async for page in relayed:
                    yield page
            return
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
        answer, target = await self._asking.asked(call, target, given)
        done = await self._asking.finished(call, target, answer, job)
        if done.given is not None and done.target.action.paging is not None:
            async with contextlib.aclosing(self._walk(call, done.target, done.given)) as walk:
                async for page in walk:
                    yield page
            return
        answer, target = done.answer, done.target
        if done.given is not None:
            answer, target = await self._asking.asked(call, target, done.given)
        found = _value(target, picked(target, answer, job))
        yield Page(found if isinstance(found, list) else [found], 1, answer, last=True)

    async def _relayed(self, call: Call, target: Target) -> AsyncGenerator[Page]:
        """Yields the pages that another mesh gives."""
        self._asking.planned(call, target, call.given)
        number = 0
        errand = Errand.of(call.given)
        async with contextlib.aclosing(self._asking.hub.pages(call, target, errand)) as sheets:
            async for sheet in sheets:
                number += 1
                yield Page(sheet.items, number, sheet.answer, sheet.last)

    async def _fed(self, call: Call, target: Target) -> AsyncGenerator[Page]:
        """Yields what comes of one answer as it comes; the last page may be empty."""
        reading, most = target.action.interpretation, _most_pages(call.order, target.action)
        reader = reader_of(reading.streaming)
        number = 0
        async with Feed(call.left()) as feed:
            request = self._asking.planned(call, target, call.given)
            answer, target = await self._asking.answered(call, target, request, feed)
            async with contextlib.aclosing(self._asking.exchange.pieces(call, target, feed)) as pieces:
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
                request = self._asking.planned(call, target, step.given or {})
            else:
                call.stages.enter(PLAN)
                request = request.to(str(check_url(step.url, target.place.hosts)))
                # Another page is another request: with the key of the last one it could be answered with the last one.
                request = target.action.plan.keyed(request, vendor_key(call, target.action))
            try:
                answer, target = await self._asking.answered(call, target, request)
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
        document = await read_beside(call, target, answer, reading.document)
        items = pages.items(document, single=reading.lists_single_items)
        if items is None:
            raise mismatch(target, answer, "has no list where the definition says")
        step = pages.following(document, items, answer, url=url)
        return await read_beside(call, target, answer, lambda one: reading.items(items, one)), step


def _most_pages(order: Order, action: Action) -> int:
    declared = action.paging.max_pages if action.paging is not None else 0
    return min(one for one in (order.max_pages, declared, MAX_PAGES) if one)


def _value(target: Target, answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise mismatch(target, answer, "is not JSON") from None
