"""Gets an answer to one request: guards and sends each attempt, reads what came, tries again where that is right."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url
from cordboard.core.errors import CordboardError, ReconnectRequired
from cordboard.planning.answers import Answer
from cordboard.planning.dialect import NO_QUOTA
from cordboard.planning.paging import joined
from cordboard.planning.plan import Outbound
from cordboard.planning.verdicts import Verdict
from cordboard.proxy.backends.carrier import Attempt, Carrier
from cordboard.proxy.backends.route import Kind
from cordboard.proxy.calls import Call
from cordboard.proxy.connections import Connections
from cordboard.proxy.drift import Drift
from cordboard.proxy.feed import Feed
from cordboard.proxy.guard import Guard, Passage, Way
from cordboard.proxy.quotas.bucket import Draw
from cordboard.proxy.refusals import Asked, refusal, unreachable
from cordboard.proxy.retry import Failure, Fate, RetryPolicy, policy_of
from cordboard.proxy.retry_budget import RetryBudget
from cordboard.proxy.sender import TIMEOUT, TOO_LARGE, Sender, Unanswered
from cordboard.proxy.stages import AUTHORISE, GUARD, INTERPRET, SEND
from cordboard.proxy.target import Target

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# A caller in a hurry says nothing about the vendor's health; one who waited this many seconds does.
_TELLING_WAIT: Final = 1.0


@dataclass(slots=True)
class _Progress:
    """How far the attempts of one request have come."""

    target: Target
    request: Outbound
    feed: Feed | None = None
    attempt: int = 0
    redirects: int = 0
    renewed: bool = False
    sent: Outbound | None = None
    """The request as it last went, with its credential."""
    host: str = ""
    """Where it last went."""
    passage: Passage | None = None
    """By which leave."""


class Exchange:
    """Gets answers."""

    def __init__(
        self,
        sender: Sender,
        carriers: Mapping[Kind, Carrier],
        connections: Connections,
        guard: Guard,
        policy: RetryPolicy,
        budget: RetryBudget,
        drift: Drift,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Takes the parts, `carriers` by the way that requests go, and what looks at answers for drift; `draw` gives
        random numbers in [0, 1).
        """
        self._sender = sender
        self._carriers = carriers
        self._connections = connections
        self._guard = guard
        self._policy = policy
        self._budget = budget
        self._drift = drift
        self._draw = draw

    async def answer(
        self, call: Call, target: Target, request: Outbound, *, keyed: bool, feed: Feed | None = None
    ) -> tuple[Answer, Target]:
        """Returns the vendor's answer that is a success, and the target as it is now: its credential may be newer.

        `keyed` tells that the vendor was given a key by which it knows the request again. With a `feed` the answer's
        body is in it, still coming. Raises VendorError,
        VendorUnreachable, LimitExceeded, ReconnectRequired, BreakerOpen, EgressDenied or DeadlineExceeded.
        """
        progress = _Progress(target, request, feed)
        repeatable = keyed or target.action.repeatable
        policy = policy_of(target.action.retry, self._policy)
        if call.order.queued:
            policy = replace(policy, attempts=1)
        while True:
            progress.attempt += 1
            try:
                answer = await self._attempt(call, progress)
            except Unanswered as lost:
                failure = Failure(lost.fate)
                error = unreachable(progress.target, lost, late=call.left() <= 0)
                if lost.problem == TOO_LARGE:
                    raise error from None
            else:
                call.stages.enter(INTERPRET)
                verdict = target.action.interpretation.verdict(answer)
                if progress.passage is not None:
                    _conclude(progress.passage, progress.target, answer, verdict, renewed=progress.renewed)
                if verdict.good:
                    self._connections.accepted(progress.target.lease)
                    if verdict.action == pb.ERROR_ACTION_IGNORE:
                        return answer.without_output(), progress.target
                    self._drift.answered(progress.target, answer, call.trace_id, streams=feed is not None)
                    return answer, progress.target
                if await self._gone_on(call, progress, answer, verdict):
                    continue
                failure = _failure(answer, verdict)
                if failure.limited and failure.retry_after is not None:
                    self._guard.quotas.learn(progress.target.draw, answer, failure.retry_after)
                self._drift.refused(progress.target, answer, call.trace_id)
                error = refusal(progress.target, answer, verdict, Asked(progress.request, progress.sent))
            left = call.left()
            wait = policy.wait(
                failure, attempt=progress.attempt, repeatable=repeatable, remaining=left, draw=self._draw()
            )
            if wait is None or not self._budget.take(progress.host):
                raise error
            await asyncio.sleep(wait)

    async def pieces(self, call: Call, target: Target, feed: Feed) -> AsyncGenerator[bytes]:
        """Yields an answer's body as it comes; raises VendorUnreachable or DeadlineExceeded where it breaks off."""
        try:
            async with contextlib.aclosing(self._sender.pieces(feed)) as pieces:
                async for piece in pieces:
                    yield piece
        except Unanswered as lost:
            raise unreachable(target, lost, late=call.left() <= 0) from None

    async def _attempt(self, call: Call, progress: _Progress) -> Answer:
        call.stages.enter(GUARD)
        if progress.feed is not None:
            await progress.feed.close()
        target = progress.target
        parcel = await self._carriers[target.way].parcel(call, target, progress.request)
        progress.sent = parcel.sent
        progress.host = parcel.host
        draw = target.draw
        passage = await self._guard.enter(call, Way(progress.host, target.action.id, target.lease), draw)
        progress.passage = passage
        timeout = min(target.action.timeout, call.left())
        if progress.attempt == 1:
            self._budget.called(progress.host)
        doubtful, call.doubtful = call.doubtful, True
        call.stages.current = SEND
        resend, call.attempts = call.attempts, call.attempts + 1
        try:
            answer = await parcel.answer(Attempt(timeout, resend, call.labels, progress.feed))
        except Unanswered as lost:
            if lost.fate is Fate.NOT_SENT:
                call.doubtful = doubtful
            passage.note(healthy=self._says_healthy(lost, timeout))
            passage.shown(accepted=None)
            raise
        except CordboardError:
            # Refused at the socket: nothing left the house.
            call.doubtful = doubtful
            passage.left()
            raise
        except BaseException:
            passage.left()
            raise
        call.vendor_status = answer.status
        # What a server error left behind nobody knows; any other answer is definite.
        call.doubtful = doubtful or answer.status >= 500
        passage.note(healthy=answer.status < 500)
        return self._with_quota(draw, answer)

    def _with_quota(self, draw: Draw, answer: Answer) -> Answer:
        """Learns from what the vendor says of its limits; where it says nothing, the answer says what we count."""
        if not draw.buckets:
            return answer
        self._guard.quotas.learn(draw, answer)
        told = self._guard.quotas.told(draw) if answer.quota == NO_QUOTA else None
        return answer if told is None else replace(answer, quota=told)

    async def _gone_on(self, call: Call, progress: _Progress, answer: Answer, verdict: Verdict) -> bool:
        """Prepares the next attempt where the answer says how; returns whether it did."""
        redirects = answer.status in _REDIRECTS and answer.location and not verdict.ruled
        if redirects and progress.request.method in ("GET", "HEAD"):
            progress.redirects += 1
            if progress.redirects > MAX_REDIRECTS:
                return False
            place = joined(progress.request.url, answer.location)
            progress.request = progress.request.to(str(check_url(place, progress.target.place.hosts)))
            progress.attempt -= 1
            return True
        refused = verdict.action == pb.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY
        if refused and progress.target.shows_credential and not progress.renewed:
            progress.renewed = True
            with call.stages.working(AUTHORISE):
                try:
                    lease = await self._connections.renew(progress.target.lease, max(0.0, call.left()))
                except ReconnectRequired:
                    if progress.passage is not None:
                        progress.passage.rejected()
                    raise
            progress.target = replace(progress.target, lease=lease)
            call.generation = lease.generation
            progress.attempt -= 1
            return True
        return False

    @staticmethod
    def _says_healthy(lost: Unanswered, timeout: float) -> bool | None:
        if lost.problem == TOO_LARGE:
            return True
        return None if lost.problem == TIMEOUT and timeout < _TELLING_WAIT else False


def _failure(answer: Answer, verdict: Verdict) -> Failure:
    limited = verdict.action == pb.ERROR_ACTION_RATE_LIMITED
    again = verdict.action == pb.ERROR_ACTION_RETRY if verdict.ruled else None
    return Failure(Fate.ANSWERED, answer.status, answer.wait(limited=limited), limited, again)


def _conclude(passage: Passage, target: Target, answer: Answer, verdict: Verdict, *, renewed: bool) -> None:
    """Tells the breakers what an answer means for the credential, and for the calls after this one."""
    refused = verdict.action == pb.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY and target.shows_credential
    limited = verdict.action == pb.ERROR_ACTION_RATE_LIMITED
    # A server that fails or is full need not have looked at the credential; and a token that ended is renewed first:
    # many calls meet its end at once, and none of them has to wait for a person.
    silent = limited or answer.status >= 500 or (refused and not renewed)
    passage.shown(accepted=None if silent else not refused)
    wait = answer.wait(limited=True) if limited else None
    if wait:
        passage.limited(wait)
