"""Pins of the hub at its edges: they hold there, together with their versions, until one is set at the edge."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from cordboard.catalog.capabilities import RUNTIME
from cordboard.catalog.pins import Pins
from cordboard.catalog.snapshot import PinKey
from cordboard.catalog.store import PinRecord
from cordboard.catalog.sync.abilities import ABLE, PINS
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import lifecycle_pb2 as life
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.audit import Journal
from cordboard.core.errors import StateConflict
from cordboard.core.times import SystemClock
from tests.fixtures.edges import Edge, until
from tests.fixtures.hubs import Hub, MakeEdge, plain
from tests.fixtures.postgres import ServiceDatabase

KEY: PinKey = ("acme", "production", "desk")


def _name(key: PinKey) -> str:
    return f"workspaces/{key[0]}/environments/{key[1]}/pins/{key[2]}"


async def pin(hub: Hub, version: str, key: PinKey = KEY) -> None:
    """Pins at the hub; without a version takes the pin away."""
    if version:
        wanted = life.Pin(name=_name(key), version=version, reason="asked for")
        await hub.governance.SetPin(governance.SetPinRequest(pin=wanted))
    else:
        await hub.governance.DeletePin(governance.DeletePinRequest(name=_name(key)))


class AtEdge:
    """The pins of an edge, as its own operator has to do with them."""

    def __init__(self, edge: Edge, *, follows: bool = True) -> None:
        self._edge = edge
        self.pins = Pins(edge.catalog, edge.snapshot, Journal(edge.database), SystemClock(), follows=follows)

    async def known(self, key: PinKey = KEY) -> PinRecord | None:
        """Returns what there is of a pin."""
        await self._edge.snapshot.refresh()
        try:
            return self._edge.snapshot.pin(key)
        except KeyError:
            return None

    async def has(self, version: str, *, from_hub: bool = True, hub_version: str | None = None) -> None:
        """Returns when the environment is held to a version."""
        expected = (version, from_hub, version if hub_version is None else hub_version)

        async def holds() -> bool:
            found = await self.known()
            return found is not None and (found.version, found.from_hub, found.hub_version) == expected

        await until(holds)


async def versions(hub: Hub, *titles: str, **more: Any) -> list[str]:
    """Publishes versions of `desk`."""
    return [await hub.publish("desk", title, **more) for title in titles]


async def test_a_pin_reaches_the_edges_of_its_workspace_and_no_other(hub: Hub, make_edge: MakeEdge) -> None:
    first, _ = await versions(hub, "One", "Two")
    shop, mall = make_edge(await hub.register("shop", "acme")), make_edge(await hub.register("mall", "globex"))
    here, there = AtEdge(shop), AtEdge(mall)
    async with shop.following(), mall.following():
        await pin(hub, first)
        await here.has(first)
        found = await here.known()
        assert found is not None
        assert found.reason == "asked for"
        await pin(hub, "")
        await here.has("", from_hub=False)
        await hub.publish("mark")
        await mall.has("mark")
    assert await there.known() is None


async def test_an_edge_that_comes_later_gets_the_pins_that_there_are(hub: Hub, make_edge: MakeEdge) -> None:
    first, second = await versions(hub, "One", "Two")
    await pin(hub, first)
    # Its version comes after it in the log: it changed since.
    request = governance.TransitionDefinitionVersionRequest(
        name=f"integrations/desk/versions/{first}", state=life.VERSION_STATE_DEPRECATED, successor=second
    )
    await hub.governance.TransitionDefinitionVersion(request)
    edge = make_edge(await hub.register("shop", "acme"))
    async with edge.following():
        await AtEdge(edge).has(first)


async def test_a_pin_holds_as_soon_as_its_version_is_there_and_never_before(
    hub: Hub, make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordboard.catalog.sync.feed.MOST_CHANGES", 1)
    first, second = await versions(hub, "One", "Two")
    await pin(hub, first)
    request = governance.TransitionDefinitionVersionRequest(
        name=f"integrations/desk/versions/{first}", state=life.VERSION_STATE_DEPRECATED, successor=second
    )
    await hub.governance.TransitionDefinitionVersion(request)
    edge = make_edge(await hub.register("shop", "acme"))
    here, seen = AtEdge(edge), []
    # Second, the pin, first: one envelope each.
    for message in await hub.envelopes("shop"):
        if message.HasField("envelope"):
            await edge.replica.apply(message.envelope)
            found = await here.known()
            seen.append(None if found is None else (found.version, found.hub_version))
    assert seen == [None, ("", first), (first, first)]


async def test_a_pin_that_was_set_at_the_edge_goes_before_the_hubs(hub: Hub, make_edge: MakeEdge) -> None:
    first, second, third = await versions(hub, "One", "Two", "Three")
    edge = make_edge(await hub.register("shop", "acme"))
    here = AtEdge(edge)
    async with edge.following():
        await edge.has("desk", third)
        await here.pins.put(KEY, second, reason="here", etag="")
        await pin(hub, first)
        await here.has(second, from_hub=False, hub_version=first)
        # What the hub says meanwhile is known, and holds once the edge's own is taken away.
        await pin(hub, third)
        await here.has(second, from_hub=False, hub_version=third)
        await here.pins.delete(KEY, etag="")
        await here.has(third)
        # And the other way round: over the hub's.
        await here.pins.put(KEY, first, reason="an incident", etag="")
        await here.has(first, from_hub=False, hub_version=third)
        await pin(hub, "")
        await here.has(first, from_hub=False, hub_version="")
        await here.pins.delete(KEY, etag="")
        await here.has("", from_hub=False)


async def test_a_pin_of_the_hub_is_not_taken_away_at_the_edge(hub: Hub, make_edge: MakeEdge) -> None:
    (first,) = await versions(hub, "One")
    edge = make_edge(await hub.register("shop", "acme"))
    here = AtEdge(edge)
    async with edge.following():
        await pin(hub, first)
        await here.has(first)
        with pytest.raises(StateConflict) as caught:
            await here.pins.delete(KEY, etag="")
        assert caught.value.metadata["state"] == "from-hub"
        await here.has(first)
    # A mesh that follows nobody any more is its own master.
    alone = AtEdge(edge, follows=False)
    await alone.pins.delete(KEY, etag="")
    await alone.has("", from_hub=False)


async def test_a_pin_for_a_version_that_cannot_run_at_the_edge_waits(hub: Hub, make_edge: MakeEdge) -> None:
    (first,) = await versions(hub, "One")
    old = make_edge(await hub.register("shop", "acme"), capabilities=ABLE - {"auth.digest"})
    here = AtEdge(old)
    async with old.following():
        await pin(hub, first)
        await here.has(first)
        (second,) = await versions(hub, "Two", needs="auth.digest")
        await pin(hub, second)
        await here.has(first, hub_version=second)
    upgraded = make_edge(old.bootstrap, url=old.database.url.render_as_string(hide_password=False))
    async with upgraded.following():
        await AtEdge(upgraded).has(second)


async def test_an_edge_of_an_older_release_gets_pins_after_its_upgrade(hub: Hub, make_edge: MakeEdge) -> None:
    (first,) = await versions(hub, "One")
    await pin(hub, first)
    old = make_edge(await hub.register("shop", "acme"), capabilities=ABLE - {PINS})
    async with old.following():
        await old.has("desk")
        await hub.publish("mark")
        await old.has("mark")
    assert await AtEdge(old).known() is None
    assert list((await hub.edge("shop")).missing_capabilities) == [PINS]
    upgraded = make_edge(old.bootstrap, url=old.database.url.render_as_string(hide_password=False))
    async with upgraded.following():
        await AtEdge(upgraded).has(first)


async def test_edges_of_a_hub_that_was_of_an_older_release_get_pins_after_its_upgrade(
    hub: Hub, make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = await versions(hub, "One")
    await pin(hub, first)
    edge = make_edge(await hub.register("shop", "acme"))
    with monkeypatch.context() as older:
        older.setattr("cordboard.catalog.sync.hub.ABLE", RUNTIME)
        async with edge.following():
            await edge.has("desk")
            await hub.publish("mark")
            await edge.has("mark")
        assert await AtEdge(edge).known() is None
    async with edge.following():
        await AtEdge(edge).has(first)


async def test_pins_that_a_restored_hub_never_set_end_with_its_new_log(
    hub: Hub, make_edge: MakeEdge, hub_database: ServiceDatabase
) -> None:
    first, second = await versions(hub, "One", "Two")
    kept: PinKey = ("acme", "staging", "desk")
    edge = make_edge(await hub.register("shop", "acme"))
    here = AtEdge(edge)
    async with edge.following():
        await pin(hub, first)
        await pin(hub, second, kept)
        await here.has(first)
    # The restored hub has the other pin alone; of this one it says nothing, not even that it was taken away.
    owner = await asyncpg.connect(plain(hub_database.superuser_url))
    await owner.execute("DELETE FROM catalog.pin WHERE environment = 'production'")
    await owner.close()
    await hub.sync.RestartLog(pb.RestartLogRequest())
    async with edge.following():
        await here.has("", from_hub=False)
    found = await here.known(kept)
    assert found is not None
    assert (found.version, found.from_hub) == (second, True)
