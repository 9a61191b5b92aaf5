"""FlagService over its real server, behind the real layers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy import make_url

from cordboard.core.flagging import FlagSet
from cordboard.core.paging import Paging
from cordboard.core.structs import from_value, to_struct, to_value
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

# The longest that anything may take in these tests, in seconds.
BOUND = 40.0
NAME = "flags/integration.desk"
Stub = Any


@pytest.fixture
def flags_database(database: Databases) -> ServiceDatabase:
    return database("flags")


@pytest.fixture
async def served(serving: Serving, flags_database: ServiceDatabase) -> AsyncIterator[Served]:
    async with serving("flags", FlagsSettings, start, database_url=flags_database.url) as running:
        await ready(running)
        yield running


async def ready(running: Served) -> None:
    stub = FlagServiceStub(running.channel("proxy"))
    async with asyncio.timeout(BOUND):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for _ in stub.WatchFlags(pb.WatchFlagsRequest()):
                    return
            await asyncio.sleep(0.01)


@pytest.fixture
def operator(served: Served) -> Stub:
    return FlagServiceStub(served.as_role("operator"))


def a_flag(name: str = NAME, **changes: Any) -> pb.Flag:
    fields: dict[str, Any] = {
        "description": "Acme Desk for paying customers",
        "variants": {"on": to_value(True), "off": to_value(False)},
        "rules": [pb.Rule(tiers=["business"], environments=["production"], variant="on")],
        "default_variant": "off",
        "off_variant": "off",
    }
    return pb.Flag(name=name, **{**fields, **changes})


async def put(stub: Stub, flag: pb.Flag, reason: str = "") -> pb.Flag:
    changed: pb.Flag = await stub.PutFlag(pb.PutFlagRequest(flag=flag, reason=reason))
    return changed


async def refused(call: Any) -> tuple[str, str, list[str]]:
    """The code, the reason and the field paths with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    trailers = dict(raised.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return raised.value.code().name, info.reason, [violation.field for violation in bad.field_violations]


async def evaluate(stub: Stub, name: str = NAME, **context: Any) -> tuple[Any, str, str, int]:
    answer = await stub.EvaluateFlag(pb.EvaluateFlagRequest(name=name, context=to_struct(context)))
    return from_value(answer.value), answer.variant, answer.reason, answer.revision


async def test_a_flag_is_kept_as_it_was_put(operator: Stub) -> None:
    before = time.time()
    made = await put(operator, a_flag(), "first")
    assert (made.revision, made.killed) == (1, False)
    assert before - 1 < made.create_time.ToSeconds() <= time.time()
    assert made.create_time == made.update_time
    expected = a_flag(revision=1, etag=made.etag, create_time=made.create_time, update_time=made.update_time)
    assert made == expected
    assert await operator.GetFlag(pb.GetFlagRequest(name=NAME)) == made


async def test_a_change_needs_what_was_read_when_it_says_so(operator: Stub) -> None:
    first = await put(operator, a_flag())
    second = await put(operator, a_flag(etag=first.etag, description="changed"))
    assert (second.revision, second.etag != first.etag) == (2, True)
    assert await refused(put(operator, a_flag(etag=first.etag))) == ("ABORTED", "ETAG_MISMATCH", [])
    assert await refused(put(operator, a_flag("flags/new", etag=first.etag))) == ("ABORTED", "ETAG_MISMATCH", [])


async def test_a_flag_says_what_a_copy_of_it_gives_that_is_too_old(operator: Stub, served: Served) -> None:
    made = await put(operator, a_flag(when_stale=pb.WHEN_STALE_DEFAULT))
    assert made.when_stale == pb.WHEN_STALE_DEFAULT
    stub: Any = FlagServiceStub(served.channel("proxy"))
    [message] = await watched(stub, lambda _: True)
    definition = json.loads(message.flag_configuration)["flags"]["integration.desk"]
    assert definition["metadata"] == {"revision": 1, "whenStale": "default"}
    assert FlagSet.parse(message.flag_configuration).when_stale().evaluate("integration.desk", {}).reason == "STALE"
    plain = await put(operator, a_flag(when_stale=pb.WHEN_STALE_LAST_KNOWN))
    assert plain.when_stale == pb.WHEN_STALE_UNSPECIFIED
    first = await operator.ListFlagRevisions(pb.ListFlagRevisionsRequest(parent=NAME))
    assert [each.flag.when_stale for each in first.flag_revisions] == [0, pb.WHEN_STALE_DEFAULT]
    unknown = a_flag()
    unknown.when_stale = 9  # type: ignore[assignment]
    assert await refused(put(operator, unknown)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["flag.when_stale"])


async def test_flags_are_listed_page_by_page_in_order_of_key(operator: Stub) -> None:
    names = [f"flags/{key}" for key in ("Z", "a", "a-b", "a.b", "a_b", "b", "z9")]
    for name in reversed(names):
        await put(operator, a_flag(name))
    listed, token = [], ""
    while True:
        page = await operator.ListFlags(pb.ListFlagsRequest(page_size=3, page_token=token))
        assert len(page.flags) <= 3
        listed += [flag.name for flag in page.flags]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(names)


async def test_every_change_is_a_revision_with_who_and_why(operator: Stub) -> None:
    first = await put(operator, a_flag(), "launch")
    killed = await operator.KillFlag(pb.KillFlagRequest(name=NAME, reason="vendor is down"))
    await operator.RestoreFlag(pb.RestoreFlagRequest(name=NAME))
    await put(operator, a_flag(rules=[pb.Rule(variant="on")]), "everybody")
    rolled = await operator.RollbackFlag(pb.RollbackFlagRequest(name=f"{NAME}/revisions/1", reason="too soon"))
    listed = await operator.ListFlagRevisions(pb.ListFlagRevisionsRequest(parent=NAME))
    assert [revision.name for revision in listed.flag_revisions] == [f"{NAME}/revisions/{n}" for n in range(5, 0, -1)]
    assert [revision.reason for revision in listed.flag_revisions] == [
        "rollback to 1: too soon",
        "put: everybody",
        "restore",
        "kill: vendor is down",
        "put: launch",
    ]
    assert {revision.creator for revision in listed.flag_revisions} == {"somebody"}
    assert [listed.flag_revisions[4].flag, listed.flag_revisions[3].flag] == [first, killed]
    assert (rolled.revision, rolled.rules) == (5, first.rules)
    assert not listed.next_page_token


async def test_revisions_are_listed_page_by_page_newest_first(operator: Stub) -> None:
    for _ in range(5):
        await put(operator, a_flag())
    request = pb.ListFlagRevisionsRequest(parent=NAME, page_size=2)
    numbers = []
    for _ in range(3):
        page = await operator.ListFlagRevisions(request)
        numbers.append([revision.flag.revision for revision in page.flag_revisions])
        request.page_token = page.next_page_token
    assert numbers == [[5, 4], [3, 2], [1]]
    assert not request.page_token


async def test_a_killed_flag_is_off_for_everybody_until_it_is_restored(operator: Stub) -> None:
    await put(operator, a_flag(rules=[pb.Rule(variant="on")]))
    assert await evaluate(operator) == (True, "on", "TARGETING_MATCH", 1)
    assert (await operator.KillFlag(pb.KillFlagRequest(name=NAME, reason="fire"))).killed
    assert await evaluate(operator) == (False, "off", "DISABLED", 2)
    assert (await put(operator, a_flag(rules=[pb.Rule(variant="on")]))).killed
    rolled = await operator.RollbackFlag(pb.RollbackFlagRequest(name=f"{NAME}/revisions/1"))
    assert rolled.killed
    assert await evaluate(operator) == (False, "off", "DISABLED", 4)
    assert not (await operator.RestoreFlag(pb.RestoreFlagRequest(name=NAME))).killed
    assert await evaluate(operator) == (True, "on", "TARGETING_MATCH", 5)


async def test_a_flag_that_is_not_killed_cannot_be_restored(operator: Stub) -> None:
    await put(operator, a_flag())
    call = operator.RestoreFlag(pb.RestoreFlagRequest(name=NAME))
    assert await refused(call) == ("FAILED_PRECONDITION", "STATE_CONFLICT", [])


MISSING: dict[str, Callable[[Stub], Any]] = {
    "get": lambda stub: stub.GetFlag(pb.GetFlagRequest(name="flags/none")),
    "kill": lambda stub: stub.KillFlag(pb.KillFlagRequest(name="flags/none", reason="fire")),
    "restore": lambda stub: stub.RestoreFlag(pb.RestoreFlagRequest(name="flags/none")),
    "revisions": lambda stub: stub.ListFlagRevisions(pb.ListFlagRevisionsRequest(parent="flags/none")),
    "rollback": lambda stub: stub.RollbackFlag(pb.RollbackFlagRequest(name="flags/none/revisions/1")),
    "rollback to no revision": lambda stub: stub.RollbackFlag(pb.RollbackFlagRequest(name=f"{NAME}/revisions/9")),
    "evaluate": lambda stub: stub.EvaluateFlag(pb.EvaluateFlagRequest(name="flags/none")),
}


async def test_what_is_not_there_is_not_found(operator: Stub) -> None:
    await put(operator, a_flag())
    for label, call in MISSING.items():
        assert await refused(call(operator)) == ("NOT_FOUND", "RESOURCE_NOT_FOUND", []), label


async def test_everything_wrong_with_a_flag_is_named_at_once(operator: Stub) -> None:
    flag = pb.Flag(
        name="flags/integration.desk",
        variants={"on": to_value("yes"), "off": to_value(1), "gone": Value()},
        rules=[
            pb.Rule(variant="maybe"),
            pb.Rule(tiers=[""], split=[pb.WeightedVariant(variant="on", weight=-5)]),
        ],
        default_variant="maybe",
        off_variant="perhaps",
    )
    code, reason, fields = await refused(put(operator, flag))
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert fields == [
        'flag.variants["gone"]',
        "flag.variants",
        "flag.default_variant",
        "flag.off_variant",
        "flag.rules[0].variant",
        "flag.rules[1].tiers[0]",
        "flag.rules[1].split[0].weight",
        "flag.variants",
    ]


def _token(request: Any, after: str) -> str:
    """A page token of the right binding, with an end that we never give out."""
    return Paging.of(request).token(after)


NUL = "a\0b"


WRONG: list[tuple[Callable[[Stub], Any], str]] = [
    (lambda stub: stub.PutFlag(pb.PutFlagRequest()), "flag"),
    (lambda stub: stub.PutFlag(pb.PutFlagRequest(flag=a_flag("flags/a b"))), "flag.name"),
    (lambda stub: stub.PutFlag(pb.PutFlagRequest(flag=a_flag(variants={}))), "flag.variants"),
    (lambda stub: stub.PutFlag(pb.PutFlagRequest(flag=a_flag(), reason=NUL)), "reason"),
    (lambda stub: stub.PutFlag(pb.PutFlagRequest(flag=a_flag(), reason="x" * 1_001)), "reason"),
    (lambda stub: stub.GetFlag(pb.GetFlagRequest(name=NUL)), "name"),
    (lambda stub: stub.GetFlag(pb.GetFlagRequest()), "name"),
    (lambda stub: stub.ListFlags(pb.ListFlagsRequest(page_size=-1)), "page_size"),
    (lambda stub: stub.ListFlags(pb.ListFlagsRequest(page_token="nonsense")), "page_token"),
    (lambda stub: stub.ListFlags(pb.ListFlagsRequest(page_token=_token(pb.ListFlagsRequest(), NUL))), "page_token"),
    (
        lambda stub: stub.ListFlags(pb.ListFlagsRequest(page_token=_token(pb.ListFlagsRequest(), "\ud800"))),
        "page_token",
    ),
    (lambda stub: stub.KillFlag(pb.KillFlagRequest(name=NAME)), "reason"),
    (lambda stub: stub.KillFlag(pb.KillFlagRequest(name=NAME, reason=NUL)), "reason"),
    (lambda stub: stub.RestoreFlag(pb.RestoreFlagRequest(name=NAME, reason=NUL)), "reason"),
    (lambda stub: stub.RollbackFlag(pb.RollbackFlagRequest(name=f"{NAME}/revisions/x")), "name"),
    (lambda stub: stub.RollbackFlag(pb.RollbackFlagRequest(name=f"{NAME}/revisions/{'9' * 30}")), "name"),
    (lambda stub: stub.ListFlagRevisions(pb.ListFlagRevisionsRequest(parent="x")), "parent"),
    (
        lambda stub: stub.ListFlagRevisions(
            pb.ListFlagRevisionsRequest(parent=NAME, page_token=_token(pb.ListFlagRevisionsRequest(parent=NAME), "x"))
        ),
        "page_token",
    ),
    (lambda stub: stub.EvaluateFlag(pb.EvaluateFlagRequest(name="flags/")), "name"),
    (
        lambda stub: stub.EvaluateFlag(
            pb.EvaluateFlagRequest(name=NAME, context=Struct(fields={"x": Value(number_value=float("inf"))}))
        ),
        "context.x",
    ),
]


async def test_a_wrong_field_is_named(operator: Stub) -> None:
    for number, (call, field) in enumerate(WRONG):
        code, reason, fields = await refused(call(operator))
        assert (code, reason, field in fields) == ("INVALID_ARGUMENT", "INVALID_FIELDS", True), (number, field, fields)


KEEPING: dict[str, Callable[[Stub], Any]] = {
    "PutFlag": lambda stub: stub.PutFlag(pb.PutFlagRequest(flag=a_flag())),
    "GetFlag": lambda stub: stub.GetFlag(pb.GetFlagRequest(name=NAME)),
    "ListFlags": lambda stub: stub.ListFlags(pb.ListFlagsRequest()),
    "KillFlag": lambda stub: stub.KillFlag(pb.KillFlagRequest(name=NAME, reason="fire")),
    "RestoreFlag": lambda stub: stub.RestoreFlag(pb.RestoreFlagRequest(name=NAME)),
    "ListFlagRevisions": lambda stub: stub.ListFlagRevisions(pb.ListFlagRevisionsRequest(parent=NAME)),
    "RollbackFlag": lambda stub: stub.RollbackFlag(pb.RollbackFlagRequest(name=f"{NAME}/revisions/1")),
    "WatchFlags": lambda stub: stub.WatchFlags(pb.WatchFlagsRequest()).read(),
}


async def test_only_an_operator_keeps_flags(served: Served) -> None:
    everybody_else = served.as_role("reader", "member", "workspace-admin", "publisher", workspace="acme")
    refusals = {
        everybody_else: ("PERMISSION_DENIED", "ACCESS_DENIED"),
        served.channel("uqi"): ("PERMISSION_DENIED", "ACCESS_DENIED"),
        served.channel("envoy"): ("UNAUTHENTICATED", "TOKEN_INVALID"),
    }
    for channel, expected in refusals.items():
        for method, call in KEEPING.items():
            assert (await refused(call(FlagServiceStub(channel))))[:2] == expected, method


async def test_an_evaluation_is_for_the_caller_s_own_workspace(served: Served, operator: Stub) -> None:
    await put(operator, a_flag())
    member = FlagServiceStub(served.as_role("member", workspace="acme"))
    starter = FlagServiceStub(served.as_role("member", workspace="globex", tier="starter"))
    claim = {"tier": "business", "environment": "production", "workspace": "acme"}
    assert await evaluate(member) == (True, "on", "TARGETING_MATCH", 1)
    assert await evaluate(member, environment="staging") == (True, "on", "TARGETING_MATCH", 1)
    assert await evaluate(starter, **claim) == (False, "off", "DEFAULT", 1)
    assert await evaluate(operator, **claim) == (True, "on", "TARGETING_MATCH", 1)
    assert await evaluate(FlagServiceStub(served.channel("proxy")), **claim) == (True, "on", "TARGETING_MATCH", 1)


async def test_a_client_without_a_token_is_not_evaluated_for(
    served: Served, operator: Stub, client_identity: Callable[[str], Path]
) -> None:
    await put(operator, a_flag())
    client = FlagServiceStub(served.channel(client_identity("billing")))
    assert (await refused(evaluate(client)))[:2] == ("UNAUTHENTICATED", "TOKEN_INVALID")


HOSTILE: list[Any] = [None, 5, 1e300, -0.0, "", "\0", "x" * 100_000, [], [["business"]], {"tier": "business"}, True]


async def test_a_hostile_context_gets_an_answer(operator: Stub) -> None:
    rules = [pb.Rule(tiers=["nobody"], variant="on"), pb.Rule(split=[pb.WeightedVariant(variant="off", weight=1)])]
    await put(operator, a_flag(rules=rules))
    names = ("tier", "workspace", "customer", "region", "roles", "targetingKey", "$flagd", "")
    for value in HOSTILE:
        found, variant, reason, _ = await evaluate(operator, **dict.fromkeys(names, value))
        assert (found, variant, reason in {"DEFAULT", "TARGETING_MATCH"}) == (False, "off", True), value


async def test_a_value_of_any_json_type_comes_back_as_it_was_put(operator: Stub) -> None:
    values: list[Any] = [True, "2.1.0", 3, 2.5, {"a": [1, None, {"b": "c"}]}, ["x", 1], 1e300]
    for number, value in enumerate(values, start=1):
        await put(operator, pb.Flag(name="flags/any", variants={"only": to_value(value)}, default_variant="only"))
        assert await evaluate(operator, "flags/any") == (value, "only", "STATIC", number)


async def watched(stub: Stub, until: Callable[[pb.WatchFlagsResponse], bool]) -> list[pb.WatchFlagsResponse]:
    seen = []
    async for response in stub.WatchFlags(pb.WatchFlagsRequest()):
        seen.append(response)
        if until(response):
            return seen
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("peer", ["proxy", "catalog"])
async def test_a_watcher_gets_the_whole_set_at_once_and_again_after_each_change(
    served: Served, operator: Stub, peer: str
) -> None:
    await put(operator, a_flag())
    stream: Any = FlagServiceStub(served.channel(peer)).WatchFlags(pb.WatchFlagsRequest())
    async with asyncio.timeout(BOUND):
        first = await stream.read()
        assert first.sequence == 1
        assert FlagSet.parse(first.flag_configuration).evaluate(NAME.removeprefix("flags/"), {}).value is False
        await operator.KillFlag(pb.KillFlagRequest(name=NAME, reason="fire"))
        second = await stream.read()
        assert second.sequence == 2
        definition = json.loads(second.flag_configuration)["flags"]["integration.desk"]
        assert definition["metadata"] == {"revision": 2, "killed": True}
        await put(operator, a_flag("flags/other"))
        third = await stream.read()
        assert third.sequence == 3
        assert set(json.loads(third.flag_configuration)["flags"]) == {"integration.desk", "other"}
    stream.cancel()


async def test_a_watcher_that_asks_for_changes_gets_each_flag_once(served: Served, operator: Stub) -> None:
    await put(operator, a_flag())
    await put(operator, a_flag("flags/other"))
    stub: Any = FlagServiceStub(served.channel("proxy"))
    stream = stub.WatchFlags(pb.WatchFlagsRequest(changes_only=True))
    async with asyncio.timeout(BOUND):
        first = await stream.read()
        assert (first.sequence, first.base_sequence) == (2, 0)
        assert set(json.loads(first.flag_configuration)["flags"]) == {"integration.desk", "other"}
        base = first.sequence
        for change in (operator.KillFlag(pb.KillFlagRequest(name=NAME, reason="fire")), put(operator, a_flag())):
            await change
            message = await stream.read()
            assert (message.base_sequence, message.sequence) == (base, base + 1)
            assert set(json.loads(message.flag_configuration)["flags"]) == {"integration.desk"}
            base = message.sequence
    stream.cancel()


async def test_a_kill_in_one_replica_reaches_the_watchers_of_another(
    served: Served, operator: Stub, serving: Serving, flags_database: ServiceDatabase
) -> None:
    await put(operator, a_flag())
    async with serving("flags", FlagsSettings, start, database_url=flags_database.url) as other:
        await ready(other)
        stub = FlagServiceStub(other.channel("proxy"))
        waiting = [asyncio.create_task(watched(stub, lambda response: response.sequence == 2)) for _ in range(10)]
        async with asyncio.timeout(BOUND):
            await watched(stub, lambda response: response.sequence == 1)
            await operator.KillFlag(pb.KillFlagRequest(name=NAME, reason="fire"))
            await asyncio.gather(*waiting)


async def test_one_bad_flag_in_the_database_harms_no_other(
    served: Served, operator: Stub, flags_database: ServiceDatabase
) -> None:
    await put(operator, a_flag())
    await put(operator, a_flag("flags/bad"))
    broken = {"description": "", "variants": {"on": True, "off": "no"}, "rules": [], "off_variant": ""}
    connection = await asyncpg.connect(
        make_url(flags_database.url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO flags.flag_revision VALUES ('bad', 2, $1, false, 'somebody', 'by hand', now())",
            json.dumps({**broken, "default_variant": "on"}),
        )
        sequence = await connection.fetchval("UPDATE flags.head SET sequence = sequence + 1 RETURNING sequence")
        await connection.execute("UPDATE flags.flag SET revision = 2, sequence = $1 WHERE key = 'bad'", sequence)
        await connection.execute("SELECT pg_notify('cordboard_flags', '')")
    await connection.close()
    async with asyncio.timeout(BOUND):
        await watched(FlagServiceStub(served.channel("proxy")), lambda response: response.sequence == sequence)
    assert await evaluate(operator, tier="business", environment="production") == (True, "on", "TARGETING_MATCH", 1)
    assert (await refused(evaluate(operator, "flags/bad")))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    await operator.RollbackFlag(pb.RollbackFlagRequest(name="flags/bad/revisions/1"))
    assert (await evaluate(operator, "flags/bad"))[3] == 3
