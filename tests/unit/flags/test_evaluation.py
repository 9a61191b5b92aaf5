"""Whose word counts about the context of an evaluation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cordboard.core.caller import Caller
from cordboard.core.errors import DependencyUnavailable, InvalidFields
from cordboard.flags import evaluation
from cordboard.flags.content import Content, Rule
from cordboard.flags.evaluation import LiveFlags, context_of
from cordboard.flags.flags import Cause
from cordboard.flags.store import FlagRecord

MEMBER = Caller(
    peer="envoy",
    subject="ann",
    workspace="acme",
    environment="production",
    customer="c-1",
    tier="starter",
    region="eu",
    roles=frozenset({"member", "reader"}),
    token_id="t",
)
CLAIMED: dict[str, Any] = {
    "workspace": "globex",
    "customer": "c-2",
    "tier": "enterprise",
    "region": "us",
    "environment": "staging",
    "roles": ["operator"],
    "targetingKey": "globex",
}


def test_the_token_overrides_whatever_is_claimed() -> None:
    assert context_of(MEMBER, {**CLAIMED, "color": "red"}) == {
        "workspace": "acme",
        "customer": "c-1",
        "tier": "starter",
        "region": "eu",
        "environment": "production",
        "roles": ["member", "reader"],
        "targetingKey": "acme",
        "color": "red",
    }


def test_what_the_token_does_not_have_cannot_be_claimed_either() -> None:
    bare = replace(MEMBER, customer="", tier="")
    context = context_of(bare, CLAIMED)
    assert (context["customer"], context["tier"]) == ("", "")


@pytest.mark.parametrize(
    "caller",
    [replace(MEMBER, roles=frozenset({"operator"})), Caller(peer="proxy"), Caller(peer="catalog")],
    ids=["operator", "proxy", "catalog"],
)
def test_operators_and_services_may_name_any_context(caller: Caller) -> None:
    assert context_of(caller, CLAIMED) == CLAIMED


@pytest.mark.parametrize("peer", ["envoy", "client/proxy", "uqi", "client/catalog", ""])
def test_no_other_peer_may(peer: str) -> None:
    assert context_of(replace(MEMBER, peer=peer), CLAIMED)["tier"] == "starter"


def test_an_operator_s_token_fills_what_is_not_named() -> None:
    context = context_of(replace(MEMBER, roles=frozenset({"operator"})), {"workspace": "globex"})
    assert (context["workspace"], context["targetingKey"], context["tier"]) == ("globex", "globex", "starter")


def test_a_reason_says_what_was_done_and_why() -> None:
    assert Cause("ann").of("put") == "put"
    assert Cause("ann", "vendor is down").of("kill") == "kill: vendor is down"


@pytest.mark.parametrize("why", ["x" * 1_001, "a\0b"])
def test_a_reason_that_cannot_be_kept_is_refused(why: str) -> None:
    with pytest.raises(InvalidFields):
        Cause("ann", why).of("put")


class Kept:
    """Where one flag is kept, until it is away."""

    def __init__(self) -> None:
        made = datetime(2026, 1, 5, tzinfo=UTC)
        content = Content({"on": True, "off": False}, "off", (Rule(variant="on"),), when_stale="default")
        self.flag = FlagRecord("careful", 1, content, False, "ann", "put", made, made)

    async def changed(self, *, since: int) -> tuple[int, list[FlagRecord]]:
        """Returns the flag, once."""
        return 1, [] if since else [self.flag]


@pytest.mark.parametrize(("max_staleness", "reason"), [(0.0, "STALE"), (60.0, "TARGETING_MATCH")])
async def test_flags_itself_gives_the_default_once_its_database_is_away_for_too_long(
    max_staleness: float, reason: str
) -> None:
    kept: Any = Kept()
    live = LiveFlags(kept, max_staleness=max_staleness)
    await live.refresh()
    operator = replace(MEMBER, roles=frozenset({"operator"}))
    assert live.evaluate("careful", operator, {}).reason == "TARGETING_MATCH"
    live.copy.lost()
    decision = live.evaluate("careful", operator, {})
    assert (decision.value, decision.reason) == (reason != "STALE", reason)


async def test_a_watcher_that_comes_before_the_flags_are_read_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        """No flags, and only once they may be read."""

        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def changed(self, *, since: int) -> tuple[int, list[Any]]:
            await self.open.wait()
            return since + 7, []

    kept: Any = Closed()
    live = LiveFlags(kept)
    watching = asyncio.ensure_future(anext(live.snapshots()))
    reading = asyncio.create_task(live.refresh())
    # Others start beside Flags: whoever is refused then counts as trouble, and is none.
    for _ in range(10):
        await asyncio.sleep(0)
    assert not watching.done()
    kept.open.set()
    await reading
    assert (await watching).sequence == 7
    monkeypatch.setattr(evaluation, "FIRST_WITHIN", 0.05)
    with pytest.raises(DependencyUnavailable):
        await anext(LiveFlags(kept).snapshots())
