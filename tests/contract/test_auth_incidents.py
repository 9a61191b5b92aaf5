"""Incidents on a real database: cut off, told, revoked, restored; mass reads noticed; workspaces shredded."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from cordboard import sandbox
from cordboard.auth.envelope import Unreadable
from cordboard.auth.incidents import Incidents
from cordboard.auth.reads import ReadWatch
from cordboard.auth.shredding import Shredder
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import incidents as rows
from cordboard.auth.store import keys
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1 import incident_service_pb2 as pb
from cordboard.auth.v1.incident_service_pb2_grpc import IncidentServiceStub
from cordboard.core.audit import Entry, Journal
from cordboard.core.errors import AlreadyExists, AuditUnavailable, InvalidFields, NotFound, StateConflict
from cordboard.core.secrets import Secret
from cordboard.core.times import SystemClock
from tests.fixtures.auth import RECONNECT, Auth, refused
from tests.fixtures.vault import Strongroom


class Queue:
    """Takes what is to be revoked, as Auth's own queue does."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self.woken = 0

    async def add(self, _: Any, of: connection_rows.ConnectionRow, _g: int, sealed: Mapping[str, bytes]) -> None:
        self.added.append(f"{of.workspace}/{of.id}")

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
async def queue() -> Queue:
    return Queue()


@pytest.fixture
async def incidents(strongroom: Strongroom, queue: Queue) -> Incidents:
    for workspace in ("acme", "other"):
        await strongroom.fill(workspace, 4)
    await strongroom.sql("UPDATE connection SET integration = 'mail' WHERE connection_id IN ('c000003', 'c000004')")
    await strongroom.sql("UPDATE connection SET kind = 'oauth2' WHERE connection_id IN ('c000001', 'c000003')")
    await strongroom.sql("UPDATE credential SET field = 'access_token' WHERE connection_id IN ('c000001', 'c000003')")
    return Incidents(strongroom.database, strongroom.journal, queue)  # type: ignore[arg-type]


async def state(room: Strongroom) -> dict[str, str]:
    """Returns which connections can be used."""
    found = await room.sql("SELECT workspace_id, connection_id, state, problem FROM connection")
    return {f"{row['workspace_id']}/{row['connection_id'][-1]}": row["problem"] or row["state"] for row in found}


async def told(room: Strongroom, after: int) -> list[connection_rows.ChangeRow]:
    """Returns what watchers are told after a number."""
    async with room.database.everywhere() as connection:
        return await connection_rows.changes(connection, after=after, limit=1000)


SCOPES = [
    ({"workspace": "acme", "integration": ""}, {"acme/1", "acme/2", "acme/3", "acme/4"}),
    ({"workspace": "", "integration": "mail"}, {"acme/3", "acme/4", "other/3", "other/4"}),
    ({"workspace": "other", "integration": "mail"}, {"other/3", "other/4"}),
    (
        {"workspace": "", "integration": "", "everything": True},
        {f"{workspace}/{number}" for workspace in ("acme", "other") for number in (1, 2, 3, 4)},
    ),
]


@pytest.mark.parametrize(("scope", "hit"), SCOPES)
async def test_exactly_what_is_named_is_cut_off_and_everybody_is_told_of_it(
    strongroom: Strongroom, incidents: Incidents, scope: dict[str, Any], hit: set[str]
) -> None:
    wish: dict[str, Any] = {"everything": False, "revoke": False, "reason": "drill"} | scope
    done = await incidents.cut_off(**wish)
    assert done.connections == len(hit)
    assert {name for name, now in (await state(strongroom)).items() if now == rows.CUT_OFF} == hit
    changes = await told(strongroom, 0)
    assert {f"{each.workspace}/{each.connection_id[-1]}" for each in changes} == hit
    assert [each.sequence for each in changes] == list(range(1, len(hit) + 1)), "none is missed, none twice"
    async with strongroom.database.everywhere() as connection:
        held = {
            f"{w}/{n}": await connection_rows.held(connection, w, f"c00000{n}")
            for w in ("acme", "other")
            for n in range(1, 5)
        }
    assert {name for name, row in held.items() if row is not None and row.cut_off} == hit
    back = await incidents.restore(done.row.id)
    assert back.connections == len(hit)
    assert set((await state(strongroom)).values()) == {"ready"}


async def test_only_what_was_not_revoked_comes_back(strongroom: Strongroom, incidents: Incidents, queue: Queue) -> None:
    done = await incidents.cut_off(workspace="acme", integration="", everything=False, reason="leak", revoke=True)
    assert sorted(queue.added) == ["acme/c000001", "acme/c000003"]
    assert (done.revocations, queue.woken) == (2, 1)
    assert (await incidents.restore(done.row.id)).connections == 2
    now = await state(strongroom)
    assert [now[f"acme/{number}"] for number in (1, 2, 3, 4)] == [rows.REVOKED, "ready", rows.REVOKED, "ready"]


async def test_what_two_cut_offs_hit_comes_back_with_the_second(strongroom: Strongroom, incidents: Incidents) -> None:
    plain = {"everything": False, "revoke": False, "reason": "x"}
    one = await incidents.cut_off(workspace="acme", integration="", **plain)  # type: ignore[arg-type]
    two = await incidents.cut_off(workspace="", integration="mail", **plain)  # type: ignore[arg-type]
    assert (one.connections, two.connections) == (4, 2)
    assert (await incidents.restore(one.row.id)).connections == 2
    assert (await state(strongroom))["acme/3"] == rows.CUT_OFF
    assert (await incidents.restore(two.row.id)).connections == 4


async def test_a_connection_that_needed_a_person_before_still_does(
    strongroom: Strongroom, incidents: Incidents
) -> None:
    await strongroom.sql(
        "UPDATE connection SET state = 'reconnect_required', problem = 'rejected' WHERE connection_id = 'c000002'"
    )
    done = await incidents.cut_off(workspace="acme", integration="", everything=False, reason="x", revoke=False)
    await incidents.restore(done.row.id)
    assert (await state(strongroom))["acme/2"] == "rejected"


async def test_wrong_cut_offs_are_refused(incidents: Incidents) -> None:
    good: dict[str, Any] = {"workspace": "acme", "integration": "", "everything": False, "reason": "x", "revoke": False}
    for wrong in ({"everything": True}, {"workspace": ""}, {"reason": "  "}, {"reason": "x" * 501}):
        with pytest.raises(InvalidFields):
            await incidents.cut_off(**good | wrong)
    with pytest.raises(NotFound):
        await incidents.cut_off(**good | {"workspace": "nobody"})
    done = await incidents.cut_off(**good)
    with pytest.raises(AlreadyExists):
        await incidents.cut_off(**good)
    await incidents.restore(done.row.id)
    with pytest.raises(StateConflict):
        await incidents.restore(done.row.id)
    with pytest.raises(NotFound):
        await incidents.restore("unheard-of")
    listed = await incidents.cut_offs(before="", limit=10)
    assert [row.reason for row in listed] == ["x"]


async def test_a_broken_journal_stops_a_cut_off_a_rotation_and_a_shredding(
    strongroom: Strongroom, incidents: Incidents
) -> None:
    shredder = Shredder(strongroom.database, strongroom.vault, strongroom.journal)
    cut = {"workspace": "acme", "integration": "", "everything": False, "reason": "x", "revoke": False}
    await strongroom.sql("ALTER FUNCTION audit_append(text, text[]) RENAME TO audit_append_away")
    for change in (
        lambda: incidents.cut_off(**cut),  # type: ignore[arg-type]
        lambda: strongroom.rotations.begin("kek"),
        lambda: shredder.shred("acme", reason="x", force=False),
    ):
        with pytest.raises(Exception, match="audit_append"):
            await change()
    with pytest.raises(AuditUnavailable):
        await strongroom.journal.append_batched(Entry("test.thing.do", "things/1"))
    assert set((await state(strongroom)).values()) == {"ready"}
    for table in ("cut_off", "key_rotation", "shredded_workspace"):
        assert await strongroom.sql(f"SELECT 1 FROM {table}") == []
    # The control: with the journal back each one goes through.
    await strongroom.sql("ALTER FUNCTION audit_append_away(text, text[]) RENAME TO audit_append")
    assert (await incidents.cut_off(**cut)).connections == 4  # type: ignore[arg-type]
    assert (await strongroom.rotations.begin("kek")).state == "running"
    assert (await shredder.shred("acme", reason="x", force=False)).keys == 1


class Hours(SystemClock):
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def test_a_mass_read_raises_one_alert_in_a_window(strongroom: Strongroom) -> None:
    clock = Hours()
    watch = ReadWatch(strongroom.database, strongroom.journal, clock, connections=10, seconds=60)
    for _ in range(50):
        for number in range(10):
            await watch.note("acme", f"c{number}", "")
    assert await strongroom.sql("SELECT 1 FROM read_alert") == [], "the control: ten connections, however often"
    for number in range(30):
        await watch.note("acme", f"c{number}", "")
    found = await strongroom.sql("SELECT workspace, connections FROM read_alert")
    assert [(row["workspace"], row["connections"]) for row in found] == [("acme", 11)]
    written = await strongroom.sql("SELECT body FROM audit_entry WHERE workspace_id = 'acme'")
    assert json.loads(written[0]["body"])["action"] == "auth.credential.mass-read"
    clock.ahead += 61
    for number in range(11):
        await watch.note("acme", f"d{number}", "")
    assert len(await strongroom.sql("SELECT 1 FROM read_alert")) == 2


async def test_a_caller_who_reads_in_many_workspaces_is_noticed_and_slow_reading_is_not(
    strongroom: Strongroom,
) -> None:
    clock = Hours()
    watch = ReadWatch(strongroom.database, strongroom.journal, clock, connections=10, seconds=60)
    for number in range(40):
        clock.ahead += 10
        await watch.note(f"w{number}", "c", "slow")
    assert await strongroom.sql("SELECT 1 FROM read_alert") == []
    for number in range(11):
        await watch.note(f"w{number}", "c", "mallory")
    found = await strongroom.sql("SELECT workspace, caller FROM read_alert")
    assert [(row["workspace"], row["caller"]) for row in found] == [("", "mallory")]


async def test_a_shredded_workspace_is_unreadable_also_from_a_backup(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 5)
    await strongroom.fill("other", 2)
    backup = await strongroom.sql("SELECT connection_id, sealed FROM credential WHERE workspace_id = 'acme'")
    second = strongroom.another()
    await second.drawer("acme")
    shredder = Shredder(strongroom.database, strongroom.vault, strongroom.journal)
    done = await shredder.shred("acme", reason="the customer left", force=False)
    assert (done.keys, done.connections) == (1, 5)
    for vault in (strongroom.vault, strongroom.another()):
        with pytest.raises(StateConflict):
            await vault.drawer("acme")
    # All the keys there are, and the rows of a backup: nothing opens.
    async with strongroom.database.workspace("other") as connection:
        [other] = await keys.workspace_keys(connection, "other")
    drawer = await strongroom.vault.drawer("other")
    assert other.key_id == drawer.current.id
    for row in backup:
        with pytest.raises(Unreadable):
            drawer.open(*strongroom.slot(row["connection_id"]), row["sealed"])
    assert await strongroom.unreadable("other") == 0, "the control: the neighbour is untouched"
    changes = await told(strongroom, 0)
    assert {each.generation for each in changes} == {0}
    with pytest.raises(StateConflict):
        await shredder.shred("acme", reason="again", force=False)
    journal = await strongroom.sql("SELECT body FROM audit_entry WHERE workspace_id = 'acme' ORDER BY sequence")
    assert json.loads(journal[-1]["body"])["action"] == "auth.workspace.shred"


async def test_another_process_forgets_a_shredded_key_within_its_second(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 1)
    clock = Hours()
    other = strongroom.another()
    other._clock = clock
    await other.drawer("acme")
    await Shredder(strongroom.database, strongroom.vault, strongroom.journal).shred("acme", reason="x", force=False)
    clock.ahead += 1.01
    with pytest.raises(StateConflict):
        await other.drawer("acme")
    assert other._unwrapped == {}


async def test_shredding_waits_for_revocations_unless_it_is_forced(strongroom: Strongroom) -> None:
    await strongroom.fill("acme", 1)
    sealed = (await strongroom.vault.drawer("acme")).seal("connections/c000001", "access_token", 1, Secret("t"))
    await strongroom.sql(
        "INSERT INTO revocation (workspace_id, revocation_id, integration, auth_scheme, connection_id, generation, "
        "field, sealed) VALUES ('acme', 'r', 'desk', 'oauth', 'c000001', 1, 'access_token', $1)",
        sealed,
    )
    shredder = Shredder(strongroom.database, strongroom.vault, Journal(strongroom.database))
    with pytest.raises(StateConflict):
        await shredder.shred("acme", reason="x", force=False)
    with pytest.raises(InvalidFields):
        await shredder.shred("acme", reason=" ", force=True)
    with pytest.raises(NotFound):
        await shredder.shred("nobody", reason="x", force=True)
    assert (await shredder.shred("acme", reason="x", force=True)).keys == 1


async def test_a_cut_off_ends_leases_at_once_and_reaches_whoever_holds_one(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id="typed")
    assert (await auth.lease("typed")).api_key == "k"
    stub = auth.operator(IncidentServiceStub)
    watching = auth.proxy().WatchConnections(credential_pb.WatchConnectionsRequest())
    await watching.read()
    begun = time.monotonic()
    done = await stub.CutOffAccess(pb.CutOffAccessRequest(workspace="workspaces/acme", reason="drill"))
    told = await watching.read()
    assert told.connection == "workspaces/acme/connections/typed"
    assert time.monotonic() - begun < 10, "in a second, on a machine with nothing else to do"
    watching.cancel()
    assert await refused(auth.lease("typed")) == RECONNECT
    # What is connected while it holds does not leave either.
    await auth.type_in({"api_key": "k2"}, auth_scheme="key", connection_id="since")
    assert await refused(auth.lease("since")) == RECONNECT
    await stub.RestoreAccess(pb.RestoreAccessRequest(name=done.name))
    assert (await auth.lease("typed")).api_key == "k"
    assert (await auth.lease("since")).api_key == "k2"
    listed = await stub.ListCutOffs(pb.ListCutOffsRequest())
    assert [each.HasField("restore_time") for each in listed.cut_offs] == [True]


async def test_many_leases_raise_an_alert_that_is_listed(auth: Auth, vendor: sandbox.Vendor) -> None:
    for number in range(4):
        await auth.type_in({"api_key": "k"}, auth_scheme="key", connection_id=f"typed-{number}")
    async with auth.replica(mass_read_connections=3) as watched:
        for number in range(4):
            await auth.lease(f"typed-{number}", at=watched)
    [alert] = (await auth.operator(IncidentServiceStub).ListReadAlerts(pb.ListReadAlertsRequest())).read_alerts
    assert (alert.workspace, alert.connection_count) == ("workspaces/acme", 4)
