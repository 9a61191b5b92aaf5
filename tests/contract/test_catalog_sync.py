"""A hub and its edges, over real streams and with real databases: what travels, what does not, and what is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.store import CatalogStore
from cordboard.catalog.sync import bundle
from cordboard.catalog.sync.abilities import ABLE
from cordboard.catalog.sync.envelope import Place
from cordboard.catalog.sync.flags_relay import HubFlags
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.replica import Replica
from cordboard.catalog.sync.signing import EDGE, labelled, new_private_key, public_key_of, sign
from cordboard.catalog.sync.store import HubStore, ReplicaStore
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import lifecycle_pb2 as life
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.sync_service_pb2_grpc import (
    SyncServiceServicer,
    SyncServiceStub,
    add_SyncServiceServicer_to_server,
)
from cordboard.core.channel import Channels
from cordboard.core.database import Database
from cordboard.core.errors import NotFound
from cordboard.core.secrets import Secret
from cordboard.flags.v1 import replica_service_pb2 as flags
from tests.fixtures.auth import refused
from tests.fixtures.edges import Edge, bootstrap_of, until
from tests.fixtures.hubs import Hub, MakeEdge, plain
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.catalog.definitions import DOCUMENT


async def test_what_is_published_at_the_hub_is_usable_at_the_edge(hub: Hub, make_edge: MakeEdge) -> None:
    await hub.publish("before")
    edge = make_edge(await hub.register("shop"))
    async with edge.following():
        assert (await edge.has("before")).active
        version = await hub.publish("after")
        told = await edge.has("after")
        assert told.name == f"integrations/after/versions/{version}"
        loaded = await edge.snapshot.version("after", version)
        at_hub = await hub.catalog.GetDefinitionVersion(
            catalog_pb.GetDefinitionVersionRequest(name="integrations/after/versions/active")
        )
        assert loaded.message.definition == at_hub.definition
        assert loaded.message.content_hash == at_hub.content_hash
        assert edge.snapshot.integration("after").action_count == len(at_hub.definition.actions)


async def test_states_follow(hub: Hub, make_edge: MakeEdge) -> None:
    first = await hub.publish("desk", "One")
    edge = make_edge(await hub.register("shop"))

    async def moved(version: str, state: int, **more: Any) -> None:
        request = governance.TransitionDefinitionVersionRequest(
            name=f"integrations/desk/versions/{version}", state=state, reason="because", **more,  # type: ignore[arg-type]
        )  # fmt: skip
        await hub.governance.TransitionDefinitionVersion(request)

    async def is_at(version: str, state: int) -> bool:
        with contextlib.suppress(NotFound):
            return edge.snapshot.record("desk", version).state == state
        return False

    async with edge.following():
        await edge.has("desk")
        second = await hub.publish("desk", "Two", life.VERSION_STATE_STAGED)
        await until(lambda: is_at(second, life.VERSION_STATE_STAGED))
        assert edge.snapshot.integration("desk").active_version == first
        await moved(second, life.VERSION_STATE_ACTIVE)
        await until(lambda: is_at(second, life.VERSION_STATE_ACTIVE))
        assert edge.snapshot.integration("desk").active_version == second
        assert edge.snapshot.integration("desk").title == "Two"
        await moved(first, life.VERSION_STATE_DEPRECATED, successor=second)
        await until(lambda: is_at(first, life.VERSION_STATE_DEPRECATED))
        assert edge.snapshot.record("desk", first).successor == second
        await moved(first, life.VERSION_STATE_RETIRED)
        await until(lambda: is_at(first, life.VERSION_STATE_RETIRED))
        assert edge.snapshot.integration("desk").active_version == second


async def test_an_edge_gets_what_was_published_before_its_place_and_changed_behind_it(
    hub: Hub, make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place in the log says nothing of versions that it was never sent: they changed again, or were drafts."""
    monkeypatch.setattr("cordboard.catalog.sync.feed.MOST_CHANGES", 1)
    first = await hub.publish("desk", "One")
    drafted = await hub.publish("drafted", stage=life.VERSION_STATE_DRAFT)
    await hub.publish("between")

    async def moved(name: str, state: int) -> None:
        request = governance.TransitionDefinitionVersionRequest(name=name, state=state)  # type: ignore[arg-type]
        await hub.governance.TransitionDefinitionVersion(request)

    await moved(f"integrations/desk/versions/{first}", life.VERSION_STATE_DEPRECATED)
    edge = make_edge(await hub.register("shop"))
    async with edge.following():
        await edge.has("desk")
        assert edge.snapshot.record("desk", first).state == life.VERSION_STATE_DEPRECATED
        await moved(f"integrations/drafted/versions/{drafted}", life.VERSION_STATE_ACTIVE)
        await edge.has("drafted")
        assert (await edge.record()).last_error == ""


async def test_drafts_and_other_tenants_definitions_stay_at_the_hub(hub: Hub, make_edge: MakeEdge) -> None:
    await hub.publish("drafted", stage=life.VERSION_STATE_DRAFT)
    for workspace in ("acme", "globex"):
        admin: Any = GovernanceServiceStub(hub.served.as_role("workspace-admin", workspace=workspace))
        document = DOCUMENT.replace("slug: acme-desk", "slug: own-desk")
        request = governance.PublishPrivateDefinitionRequest(parent=f"workspaces/{workspace}", document=document)
        await admin.PublishPrivateDefinition(request)
    edge = make_edge(await hub.register("shop", "acme"))
    async with edge.following():
        await hub.publish("last")
        await edge.has("last")
        assert edge.snapshot.slugs("") == ["acme--own-desk", "last"]
        assert edge.snapshot.record("acme--own-desk", "active").workspace_id == "acme"
        assert await edge.catalog.content("acme--own-desk", "1.0.0", workspace="globex") is None
        assert await edge.catalog.content("acme--own-desk", "1.0.0", workspace="acme") is not None


async def test_a_break_costs_nothing_twice(hub: Hub, make_edge: MakeEdge) -> None:
    for number in range(5):
        await hub.publish(f"desk-{number}")
    edge = make_edge(await hub.register("shop"))
    async with edge.following():
        await edge.has("desk-4")
    applied = (await edge.record()).sequence
    await hub.publish("late")
    before = await _published_sequence(edge, "desk-0")
    async with edge.following():
        await edge.has("late")
    assert (await edge.record()).sequence == applied + 1
    assert await _published_sequence(edge, "desk-0") == before


async def test_an_edge_goes_on_from_where_it_is_though_its_hub_never_heard_of_it(hub: Hub, database: Databases) -> None:
    """What a hub leaves that is killed twice: before an acknowledgement, and with the next envelope on its way."""
    await hub.publish("one")
    registered = await hub.register("shop")
    edge = Edge(database("catalog").url, registered, lambda: hub.served.channel("envoy"))
    try:
        first = await _first_envelope(hub, edge)
        place = await edge.replica.apply(first)
        await hub.publish("two")
        lost = pb.DeltaHeader.FromString((await _first_envelope(hub, edge)).header)
        again = pb.DeltaHeader.FromString((await _first_envelope(hub, edge)).header)
    finally:
        await edge.close()
    assert pb.DeltaHeader.FromString(first.header).previous_hash == b""
    assert lost.previous_hash == again.previous_hash == place.hash


async def _first_envelope(hub: Hub, edge: Edge) -> pb.Envelope:
    """Connects as an edge, and leaves with the first envelope, without a word."""
    stream: Any = SyncServiceStub(hub.served.channel("envoy")).WatchDeltas()
    challenge = (await stream.read()).challenge
    record, bootstrap = await edge.record(), edge.bootstrap
    text = labelled(EDGE, bootstrap.hub.encode(), bootstrap.edge.encode(), challenge.nonce)
    hello = pb.Hello(
        edge=bootstrap.edge, signature=sign(bootstrap.private_key, text), epoch=record.epoch,
        sequence=record.sequence, hash=record.hash, capabilities=record.capabilities,
    )  # fmt: skip
    await stream.write(pb.WatchDeltasRequest(hello=hello))
    envelope: pb.Envelope = (await stream.read()).envelope
    stream.cancel()
    return envelope


class LeavingHub(SyncServiceServicer):
    """A hub that goes away as soon as it has sent its first envelope."""

    def __init__(self, messages: list[pb.WatchDeltasResponse]) -> None:
        self._messages = messages

    async def WatchDeltas(self, requests: Any, context: Any) -> AsyncIterator[pb.WatchDeltasResponse]:
        """Sends a challenge and an envelope."""
        yield self._messages[0]
        assert (await anext(requests)).HasField("hello")
        yield self._messages[1]
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the hub goes away")


class Watched:
    """A channel whose streams can be watched."""

    def __init__(self, channel: grpc.aio.Channel, streams: list[Any]) -> None:
        self._channel = channel
        self._streams = streams

    async def __aenter__(self) -> Watched:
        """Opens it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes it."""
        await self._channel.close()

    def __getattr__(self, name: str) -> Any:
        """Leads to the channel."""
        return getattr(self._channel, name)

    def stream_stream(self, *arguments: Any, **more: Any) -> Any:
        """Returns a method whose streams are noted."""
        method: Any = self._channel.stream_stream(*arguments, **more)

        def call(*given: Any, **options: Any) -> Any:
            self._streams.append(method(*given, **options))
            return self._streams[-1]

        return call


async def test_a_hub_that_goes_away_while_an_envelope_is_applied_is_followed_again(
    hub: Hub, database: Databases
) -> None:
    await hub.publish("before")
    registered = await hub.register("shop")
    server, streams = grpc.aio.server(), list[Any]()
    add_SyncServiceServicer_to_server(LeavingHub(await hub.envelopes("shop")), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    class Slow(Replica):
        async def apply(self, envelope: pb.Envelope) -> Place:
            place = await super().apply(envelope)
            if len(streams) == 1:
                assert await streams[0].code() is grpc.StatusCode.UNAVAILABLE
            return place

    def open_channel() -> Any:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}") if not streams else hub.served.channel("envoy")
        return Watched(channel, streams)

    edge = Edge(database("catalog").url, registered, open_channel, replica=Slow)
    try:
        async with edge.following():
            await edge.has("before")
            await hub.publish("after")
            await edge.has("after")
    finally:
        await edge.close()
        await server.stop(None)
    assert len(streams) == 2


async def _published_sequence(edge: Edge, slug: str) -> int:
    await edge.snapshot.refresh()
    return edge.snapshot.record(slug, "active").sequence


async def test_the_hub_knows_how_far_its_edges_are(hub: Hub, make_edge: MakeEdge) -> None:
    await hub.publish("desk")
    registered = await hub.register("shop", "acme")
    assert not registered.edge.HasField("staleness")
    edge = make_edge(registered)
    async with edge.following():

        async def current() -> bool:
            told = await hub.edge("shop")
            return told.sequence == told.target_sequence and told.HasField("staleness")

        await until(current)
    told = await hub.edge("shop")
    assert (list(told.missing_capabilities), told.release, told.last_error, list(told.workspaces)) == (
        [],
        "test",
        "",
        ["acme"],
    )
    await hub.publish("other")
    assert (await hub.edge("shop")).sequence < (await hub.edge("shop")).target_sequence
    listed = await hub.sync.ListEdges(pb.ListEdgesRequest())
    assert [one.name for one in listed.edges] == ["edges/shop"]


async def test_an_edge_hears_that_nothing_changed(hub: Hub, make_edge: MakeEdge) -> None:
    await hub.publish("desk")
    edge = make_edge(await hub.register("shop"))
    async with edge.following():
        await edge.has("desk")
        first = (await edge.record()).fresh_time

        async def fresher() -> bool:
            now = (await edge.record()).fresh_time
            return first is not None and now is not None and now > first

        await until(fresher)


async def test_keys_are_rotated_under_an_edge_and_past_one_that_was_cut_off(hub: Hub, make_edge: MakeEdge) -> None:
    await hub.publish("one")
    here, away = make_edge(await hub.register("here")), make_edge(await hub.register("away"))
    async with away.following():
        await away.has("one")
    async with here.following():
        await here.has("one")
        for _ in range(2):
            await hub.sync.RotateHubKey(pb.RotateHubKeyRequest())
        await hub.publish("two")
        await here.has("two")
        await until(lambda: _has_no_error(here))
    async with away.following():
        await away.has("two")


async def _has_no_error(edge: Edge) -> bool:
    return not (await edge.record()).last_error


async def test_a_key_that_a_stranger_made_is_not_followed(
    hub: Hub, make_edge: MakeEdge, hub_database: ServiceDatabase
) -> None:
    await hub.publish("one")
    registered = await hub.register("shop")
    wrong = pb.RegisterEdgeResponse()
    wrong.CopyFrom(registered)
    wrong.hub_key.public_key = public_key_of(new_private_key())
    edge = make_edge(wrong)
    async with edge.following():

        async def rejected() -> bool:
            return (await hub.edge("shop")).last_error.startswith("key-unknown")

        await until(rejected)
    assert edge.snapshot.slugs("") == []
    trusting = make_edge(registered)

    async def acknowledged() -> bool:
        # What an edge has applied is told to its hub a moment later.
        return not (await hub.edge("shop")).last_error

    async with trusting.following():
        await trusting.has("one")
        await until(acknowledged)


async def test_who_has_not_the_key_gets_nothing(hub: Hub) -> None:
    registered = await hub.register("shop")
    await hub.publish("desk")

    async def first_answer(edge: str, private_key: bytes) -> Any:
        stream: Any = SyncServiceStub(hub.served.channel("envoy")).WatchDeltas()
        challenge = (await stream.read()).challenge
        text = labelled(EDGE, challenge.hub.encode(), edge.encode(), challenge.nonce)
        hello = pb.Hello(edge=edge, signature=sign(Secret(private_key), text), capabilities=sorted(ABLE))
        await stream.write(pb.WatchDeltasRequest(hello=hello))
        answer = await stream.read()
        if answer is grpc.aio.EOF:
            raise AssertionError("the stream ended without a status")
        stream.cancel()
        return answer

    assert (await first_answer("shop", registered.private_key)).envelope.header
    for edge, key in (("shop", new_private_key()), ("other", registered.private_key)):
        code, reason, _ = await refused(first_answer(edge, key))
        assert (code, reason) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    await hub.sync.RevokeEdge(pb.RevokeEdgeRequest(name="edges/shop"))
    code, _, _ = await refused(first_answer("shop", registered.private_key))
    assert code == "PERMISSION_DENIED"


async def test_a_revoked_edge_gets_nothing_more_and_keeps_what_it_has(hub: Hub, make_edge: MakeEdge) -> None:
    await hub.publish("one")
    edge = make_edge(await hub.register("shop"))
    async with edge.following():
        await edge.has("one")
        revoked = await hub.sync.RevokeEdge(pb.RevokeEdgeRequest(name="edges/shop"))
        assert revoked.HasField("revoke_time")
        await hub.publish("two")

        async def refused_there() -> bool:
            return "revoked" in (await edge.record()).last_error or "no such edge" in (await edge.record()).last_error

        await until(refused_there)
    await edge.snapshot.refresh()
    assert edge.snapshot.slugs("") == ["one"]


async def test_a_recorded_stream_is_refused_step_by_step(hub: Hub, make_edge: MakeEdge) -> None:
    """What a man in the middle could do with envelopes that are all genuine."""
    await hub.publish("one")
    edge = make_edge(await hub.register("shop"))
    other = make_edge(await hub.register("other"))
    old = [message.envelope for message in await hub.envelopes("shop") if message.HasField("envelope")]
    await hub.publish("two")
    new = [message.envelope for message in await hub.envelopes("shop") if message.HasField("envelope")]

    async def refusal(target: Edge, envelope: pb.Envelope) -> str:
        try:
            await target.replica.apply(envelope)
        except Rejected as error:
            return error.word
        return ""

    assert [await refusal(other, envelope) for envelope in new] == ["edge-wrong"]
    assert [await refusal(edge, envelope) for envelope in new] == [""]
    held = await edge.record()
    assert [await refusal(edge, envelope) for envelope in new] == ["replayed"]
    assert [await refusal(edge, envelope) for envelope in old] == ["replayed"]
    altered = pb.Envelope()
    altered.CopyFrom(new[0])
    altered.payload = altered.payload[:-1] + bytes([altered.payload[-1] ^ 1])
    assert await refusal(other, altered) == "edge-wrong"
    assert await edge.record() == held
    await edge.snapshot.refresh()
    assert edge.snapshot.slugs("") == ["one", "two"]


async def test_an_altered_bundle_changes_nothing(hub: Hub, make_edge: MakeEdge, tmp_path: Path) -> None:
    await hub.publish("one")
    edge = make_edge(await hub.register("shop"))
    content = bundle.MAGIC + b"".join(bundle.framed(message) for message in await hub.envelopes("shop"))
    file = tmp_path / "bundle"
    for wrong, word in (
        (content[:-1], "truncated"),
        (content[:-1] + bytes([content[-1] ^ 1]), "payload-altered"),
        (b"CORDBOARD" + content, "unreadable"),
        (bundle.MAGIC + b"\xff\xff\xff\xff", "unreadable"),
    ):
        file.write_bytes(wrong)
        with pytest.raises(Rejected) as caught:
            await edge.follower.take_bundle(file)
        assert caught.value.word == word
        assert (await edge.record()).hash == b""
    file.write_bytes(content)
    assert await edge.follower.take_bundle(file) == 1
    await edge.snapshot.refresh()
    assert edge.snapshot.slugs("") == ["one"]


async def test_an_edge_goes_on_from_its_bundle(hub: Hub, make_edge: MakeEdge, tmp_path: Path) -> None:
    await hub.publish("one")
    edge = make_edge(await hub.register("shop"))
    file = tmp_path / "bundle"
    file.write_bytes(bundle.MAGIC + b"".join(bundle.framed(message) for message in await hub.envelopes("shop")))
    await edge.follower.take_bundle(file)
    await edge.snapshot.refresh()
    before = edge.snapshot.record("one", "active").sequence
    await hub.publish("two")
    async with edge.following():
        await edge.has("two")
    assert edge.snapshot.record("one", "active").sequence == before


async def test_a_version_that_is_here_with_other_content_is_refused_and_said(hub: Hub, make_edge: MakeEdge) -> None:
    edge = make_edge(await hub.register("shop"))
    elsewhere = make_edge(await hub.register("twin"))
    async with elsewhere.following():
        await hub.publish("one")
        await elsewhere.has("one")
    async with edge.following():
        await edge.has("one")
    owner = await asyncpg.connect(plain(edge.database.url))
    await owner.execute(
        "INSERT INTO integration SELECT 'two', title, description, category, owner, criticality, '1.0.0', action_count,"
        " auth_schemes, tags, 1001, create_time, update_time, '', 3 FROM integration"
    )
    await owner.execute("INSERT INTO definition_version (slug, version, content_hash, content, sequence, create_time,"
                        " creator) SELECT 'two', version, 'other', content, 1001, create_time, creator"
                        " FROM definition_version")  # fmt: skip
    await owner.execute("INSERT INTO version_state (slug, version, state, sequence, revision, activation, successor,"
                        " reason, update_time, updater) SELECT 'two', version, state, 1001, 1, 1, '', '', update_time,"
                        " updater FROM version_state")  # fmt: skip
    await owner.close()
    async with edge.following():
        await hub.publish("two")

        async def told() -> bool:
            return (await hub.edge("shop")).last_error.startswith("conflict")

        await until(told)
    assert (await edge.record()).last_error.startswith("conflict")


async def test_an_old_edge_keeps_the_newest_version_that_it_can_run(hub: Hub, make_edge: MakeEdge) -> None:
    first = await hub.publish("desk", "One")
    old, new = (
        make_edge(await hub.register("old"), capabilities=ABLE - {"auth.digest"}),
        make_edge(await hub.register("new")),
    )
    async with old.following(), new.following():
        await old.has("desk")
        second = await hub.publish("desk", "Two", needs="auth.digest")
        await new.has("desk", second)
        for state in (life.VERSION_STATE_DEPRECATED, life.VERSION_STATE_RETIRED):
            request = governance.TransitionDefinitionVersionRequest(
                name=f"integrations/desk/versions/{first}", state=state, reason="over"
            )
            await hub.governance.TransitionDefinitionVersion(request)
        await hub.publish("mark")
        await old.has("mark")
        await new.has("mark")
    assert {one.version for one in old.snapshot.records("desk")} == {first}
    assert old.snapshot.integration("desk").active_version == first
    assert old.snapshot.record("desk", first).state == life.VERSION_STATE_DEPRECATED
    assert new.snapshot.integration("desk").active_version == second
    assert new.snapshot.record("desk", first).state == life.VERSION_STATE_RETIRED
    assert list((await hub.edge("old")).missing_capabilities) == ["auth.digest"]
    # Once it can run more, it gets what it could not have before.
    upgraded = make_edge(old.bootstrap, url=old.database.url.render_as_string(hide_password=False))
    async with upgraded.following():
        await upgraded.has("desk", second)
        assert upgraded.snapshot.integration("desk").active_version == second


async def test_a_hub_that_was_restored_leads_its_edges_on_once_its_log_began_anew(
    hub: Hub, make_edge: MakeEdge, hub_database: ServiceDatabase
) -> None:
    await hub.publish("one")
    edge = make_edge(await hub.register("shop"))
    async with edge.following():
        await edge.has("one")

        async def acknowledged() -> bool:
            return (await hub.edge("shop")).sequence == (await edge.record()).sequence

        # What is on its way would make the hub remember again.
        await until(acknowledged)
    # As a restore would: the hub's log is shorter than what the edge has, and it does not know what it sent.
    owner = await asyncpg.connect(plain(hub_database.superuser_url))
    await owner.execute(
        "UPDATE catalog.edge SET acked_sequence = 0, sent_sequence = 0, acked_hash = '', sent_hash = ''"
    )
    await owner.close()
    held = await edge.record()
    other = await asyncpg.connect(plain(edge.database.url))
    await other.execute("UPDATE sync_replica SET highest = highest + 100")
    await other.close()
    async with edge.following():

        async def told() -> bool:
            return (await hub.edge("shop")).last_error.startswith("rolled-back")

        await until(told)
        assert (await edge.record()).hash == held.hash
        epoch = await hub.sync.RestartLog(pb.RestartLogRequest())
        await hub.publish("two")
        await edge.has("two")
    assert (await edge.record()).epoch == epoch.epoch == held.epoch + 1


async def test_a_mesh_without_a_key_file_is_no_hub(serving: Serving, database: Databases) -> None:
    async with serving("catalog", CatalogSettings, start, database_url=database("catalog").url) as served:
        sync: Any = SyncServiceStub(served.as_role("operator"))
        code, reason, _ = await refused(sync.RegisterEdge(pb.RegisterEdgeRequest(edge_id="shop")))
        assert (code, reason) == ("FAILED_PRECONDITION", "STATE_CONFLICT")
        state = await SyncServiceStub(served.as_role("reader", workspace="acme")).GetSyncState(pb.GetSyncStateRequest())
        assert state == pb.SyncState()


async def test_registering_names_what_is_wrong(hub: Hub) -> None:
    await hub.register("shop")
    _, reason, _ = await refused(hub.register("shop"))
    assert reason == "RESOURCE_ALREADY_EXISTS"
    _, reason, fields = await refused(hub.register("Shop!"))
    assert (reason, fields) == ("INVALID_FIELDS", ["edge_id"])
    _, reason, fields = await refused(hub.register("mall", "acme", "No Such"))
    assert (reason, fields) == ("INVALID_FIELDS", ["edge.workspaces[1]"])
    _, reason, _ = await refused(hub.edge("mall"))
    assert reason == "RESOURCE_NOT_FOUND"


async def test_private_keys_are_nowhere_in_the_database(hub: Hub, hub_database: ServiceDatabase) -> None:
    registered = await hub.register("shop")
    owner = await asyncpg.connect(plain(hub_database.superuser_url))
    rows = [*await owner.fetch("SELECT * FROM catalog.edge"), *await owner.fetch("SELECT * FROM catalog.sync_key")]
    await owner.close()
    assert rows
    values = [value for row in rows for value in row.values() if isinstance(value, bytes)]
    assert not any(registered.private_key in value for value in values)
    assert any(bootstrap_of(registered).hub_key in value for value in values)


async def test_another_key_file_does_not_open_the_hubs_keys(
    hub: Hub, serving: Serving, hub_database: ServiceDatabase, tmp_path: Path
) -> None:
    await hub.register("shop")
    file = tmp_path / "other.key"
    file.write_bytes(os.urandom(32))
    async with serving("catalog", CatalogSettings, start, database_url=hub_database.url, hub_key_file=file) as served:
        sync: Any = SyncServiceStub(served.as_role("operator"))
        code, _, _ = await refused(sync.RegisterEdge(pb.RegisterEdgeRequest(edge_id="mall")))
        assert code == "FAILED_PRECONDITION"


async def test_the_same_set_of_flags_is_one_change_however_often_it_is_told(hub_database: ServiceDatabase) -> None:
    database = Database(hub_database.url)
    store, replica = HubStore(database), ReplicaStore(database)
    relay = HubFlags(Channels(None, {}), store, replica, CatalogStore(database))  # type: ignore[arg-type]

    async def head() -> int:
        async with store.reading() as connection:
            return await store.head(connection)

    await relay.take(flags.FlagRecords(sequence=3))
    first = await head()
    await relay.take(flags.FlagRecords(sequence=3))
    await relay.take(flags.FlagRecords(sequence=2))
    assert await head() == first
    await relay.take(flags.FlagRecords(sequence=4))
    assert await head() == first + 1
    await database.close()
