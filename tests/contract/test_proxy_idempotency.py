"""Idempotency keys on a real PostgreSQL: at most once, the same answer again, and honesty where nobody can know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from sqlalchemy import make_url

from cordboard.core.caller import Caller
from cordboard.core.channel import Channels
from cordboard.core.database import Database
from cordboard.core.errors import CallInProgress, CordboardError, IdempotencyKeyReused, Indeterminate
from cordboard.core.identity import Identity
from cordboard.core.secrets import Secret
from cordboard.local.certificates import Identities
from cordboard.planning.answers import Answer
from cordboard.proxy.calls import Call, Order
from cordboard.proxy.ledger import Ledger
from cordboard.proxy.sealing import SealingKey, SealingKeys
from cordboard.proxy.store import ProxyStore
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import TICKET, Mesh, a_mesh, calls, execute, refusal, until

Code = grpc.StatusCode
ANSWER = Answer(201, "application/json", b'{"id": 1.10}')


def a_call(key: str = "k1", *, workspace: str = "acme", remaining: float = 30.0, **values: Any) -> Call:
    connection = f"workspaces/{workspace}/connections/main"
    return Call(Order(workspace, connection, "act", values, Caller("envoy"), remaining, key))


class LocalKeys(SealingKeys):
    """Sealing keys that come from nowhere else; `of` makes other ones."""

    def __init__(self, identities: Identities, of: str = "k") -> None:
        super().__init__(Channels(Identity(identities.directory("proxy")), {}))
        self.of = of

    async def _lease(self, workspace: str, number: int) -> SealingKey:
        return SealingKey(workspace, number or 1, Secret((self.of * 32).encode()))


@pytest.fixture
def keys(identities: Identities) -> LocalKeys:
    return LocalKeys(identities)


@pytest.fixture
async def kept(database: Databases) -> AsyncIterator[ServiceDatabase]:
    yield database("proxy")


@pytest.fixture
async def ledger(kept: ServiceDatabase, keys: LocalKeys) -> AsyncIterator[Ledger]:
    database = Database(kept.url)
    yield Ledger(ProxyStore(database), keys)
    await database.close()


async def sql(kept: ServiceDatabase, statement: str, *values: Any) -> Any:
    url = make_url(kept.superuser_url)
    connection = await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database
    )
    try:
        await connection.execute("SET search_path TO proxy")
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def test_a_key_is_given_to_one_call_and_its_answer_to_all_that_come_later(ledger: Ledger) -> None:
    first = a_call()
    assert await ledger.begin(first, repeatable=False) is None
    with pytest.raises(CallInProgress) as running:
        await ledger.begin(a_call(), repeatable=False)
    assert running.value.retry_after is not None
    await ledger.keep(first, ANSWER)
    assert await ledger.begin(a_call(), repeatable=False) == ANSWER
    assert await ledger.begin(a_call(), repeatable=True) == ANSWER


async def test_another_request_under_the_same_key_is_refused(ledger: Ledger) -> None:
    first = a_call(a=1)
    await ledger.begin(first, repeatable=False)
    for _ in range(2):
        with pytest.raises(IdempotencyKeyReused):
            await ledger.begin(a_call(a=2), repeatable=False)
        await ledger.keep(first, ANSWER)


async def test_the_order_of_members_makes_no_other_request(ledger: Ledger) -> None:
    first = a_call(a=1, b={"c": 2, "d": 3})
    await ledger.begin(first, repeatable=False)
    await ledger.keep(first, ANSWER)
    assert await ledger.begin(a_call(b={"d": 3, "c": 2}, a=1), repeatable=False) == ANSWER


async def test_workspaces_have_keys_of_their_own(ledger: Ledger) -> None:
    assert await ledger.begin(a_call(), repeatable=False) is None
    assert await ledger.begin(a_call(workspace="globex"), repeatable=False) is None


async def test_a_call_that_did_nothing_frees_its_key(ledger: Ledger) -> None:
    first = a_call(a=1)
    await ledger.begin(first, repeatable=False)
    await ledger.release(first, repeatable=False)
    assert await ledger.begin(a_call(a=2), repeatable=False) is None


async def test_a_call_in_doubt_leaves_its_key_indeterminate(ledger: Ledger) -> None:
    first = a_call()
    await ledger.begin(first, repeatable=False)
    first.doubtful = True
    await ledger.release(first, repeatable=False)
    for _ in range(2):
        with pytest.raises(Indeterminate):
            await ledger.begin(a_call(), repeatable=False)


async def test_a_repeatable_call_in_doubt_may_be_made_again_at_once(ledger: Ledger) -> None:
    first = a_call()
    await ledger.begin(first, repeatable=True)
    first.doubtful = True
    await ledger.release(first, repeatable=True)
    with pytest.raises(IdempotencyKeyReused):
        await ledger.begin(a_call(other=1), repeatable=True)
    assert await ledger.begin(a_call(), repeatable=True) is None


async def test_a_process_that_died_leaves_doubt_behind_and_a_late_word_changes_nothing(
    ledger: Ledger, kept: ServiceDatabase
) -> None:
    dead = a_call()
    await ledger.begin(dead, repeatable=False)
    await sql(kept, "UPDATE idempotency SET lease_until = now() - interval '1 second'")
    with pytest.raises(Indeterminate):
        await ledger.begin(a_call(), repeatable=False)
    again = a_call("k2")
    await ledger.begin(again, repeatable=True)
    await sql(kept, "UPDATE idempotency SET lease_until = now() - interval '1 second'")
    newer = a_call("k2")
    assert await ledger.begin(newer, repeatable=True) is None
    await ledger.keep(again, Answer(500))
    with pytest.raises(CallInProgress):
        await ledger.begin(a_call("k2"), repeatable=True)
    await ledger.keep(newer, ANSWER)
    assert await ledger.begin(a_call("k2"), repeatable=True) == ANSWER


async def test_a_key_is_new_again_after_a_day(ledger: Ledger, kept: ServiceDatabase) -> None:
    first = a_call()
    await ledger.begin(first, repeatable=False)
    await ledger.keep(first, ANSWER)
    await sql(kept, "UPDATE idempotency SET create_time = now() - interval '25 hours'")
    assert await ledger.begin(a_call(other=1), repeatable=False) is None
    [row] = await sql(kept, "SELECT state, body FROM idempotency")
    assert (row["state"], row["body"]) == ("started", None)


async def test_an_answer_lies_in_the_database_sealed_and_for_its_own_key_only(
    ledger: Ledger, kept: ServiceDatabase
) -> None:
    for key in ("k1", "k2"):
        first = a_call(key)
        await ledger.begin(first, repeatable=False)
        await ledger.keep(first, Answer(200, "application/json", b'{"iban": "DE02120300000000202051"}'))
    rows = await sql(kept, "SELECT body FROM idempotency ORDER BY key")
    assert all(b"DE0212" not in row["body"] and b"iban" not in row["body"] for row in rows)
    await sql(kept, "UPDATE idempotency SET body = $1 WHERE key = 'k1'", rows[1]["body"])
    with pytest.raises(Indeterminate):
        await ledger.begin(a_call("k1"), repeatable=True)
    assert await ledger.begin(a_call("k2"), repeatable=True) is not None  # the control


async def test_an_answer_that_no_key_opens_is_in_doubt_and_not_made_again(
    ledger: Ledger, kept: ServiceDatabase, identities: Identities
) -> None:
    first = a_call()
    await ledger.begin(first, repeatable=True)
    await ledger.keep(first, ANSWER)
    database = Database(kept.url)
    try:
        with pytest.raises(Indeterminate):
            await Ledger(ProxyStore(database), LocalKeys(identities, "o")).begin(a_call(), repeatable=True)
    finally:
        await database.close()


async def test_old_keys_and_calls_are_swept_away(kept: ServiceDatabase, keys: LocalKeys) -> None:
    database = Database(kept.url)
    try:
        store = ProxyStore(database)
        await Ledger(store, keys).begin(a_call(), repeatable=False)
        assert await store.sweep(keys_live=60, calls_live=60) == 0
        await sql(kept, "UPDATE idempotency SET create_time = now() - interval '2 minutes'")
        assert await store.sweep(keys_live=60, calls_live=60) == 1
    finally:
        await database.close()


async def test_of_many_that_come_at_once_from_two_processes_exactly_one_gets_the_key(
    kept: ServiceDatabase, keys: LocalKeys
) -> None:
    databases = [Database(kept.url), Database(kept.url)]
    ledgers = [Ledger(ProxyStore(database), keys) for database in databases]

    async def begin(number: int, key: str) -> str:
        try:
            found = await ledgers[number % 2].begin(a_call(key), repeatable=False)
        except CordboardError as error:
            return type(error).__name__
        return "begun" if found is None else "answer"

    try:
        for round_number in range(10):
            outcomes = await asyncio.gather(*(begin(number, f"key-{round_number}") for number in range(20)))
            assert sorted(set(outcomes)) == ["CallInProgress", "begun"]
            assert outcomes.count("begun") == 1
    finally:
        for database in databases:
            await database.close()


async def test_without_the_ledgers_lock_more_than_one_would_begin(kept: ServiceDatabase, keys: LocalKeys) -> None:
    """The negative control: the race is real, and looking before writing loses it."""
    database, begun = Database(kept.url), 0

    async def look_then_write(key: str) -> None:
        nonlocal begun
        store = ProxyStore(database)
        async with database.workspace("acme") as connection:
            rows = await connection.exec_driver_sql(f"SELECT 1 FROM idempotency WHERE key = '{key}'")
            found = rows.first()
        if found is None:
            begun += 1
            await Ledger(store, keys).begin(a_call(key), repeatable=False)

    try:
        for round_number in range(5):
            await asyncio.gather(*(look_then_write(f"key-{round_number}") for _ in range(8)), return_exceptions=True)
        assert begun > 5
    finally:
        await database.close()


# Through the server.


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, kept: ServiceDatabase) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, kept.url) as one:
        yield one


def create(key: str = "order-1", action: str = "create_ticket", **values: str) -> pb.ExecuteRequest:
    return execute(action, TICKET | values, idempotency_key=key, output_format=pb.OUTPUT_FORMAT_JSON)


async def test_the_same_answer_comes_again_to_the_byte_and_the_vendor_is_asked_once(mesh: Mesh) -> None:
    first = await mesh.stub().Execute(create())
    again = await mesh.stub().Execute(create())
    assert (first.call.replayed, again.call.replayed) == (False, True)
    assert again.output_json == first.output_json
    assert (again.vendor_status, again.content_type) == (first.vendor_status, first.content_type)
    assert mesh.requests == [("POST", "/v1/tickets")]
    assert [(kept.attempts, kept.outcome) for kept in await calls(mesh)] == [
        (0, pb.Call.OUTCOME_OK), (1, pb.Call.OUTCOME_OK),
    ]  # fmt: skip


async def test_another_input_under_the_key_is_refused(mesh: Mesh) -> None:
    await mesh.stub().Execute(create())
    refused = await refusal(mesh.stub().Execute(create(subject="Another thing")))
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")
    assert refused.metadata == {"idempotency_key": "order-1"}


async def test_of_twenty_at_once_one_is_sent(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=1000)
    stub = mesh.stub()

    async def outcome() -> str:
        try:
            answer = await stub.Execute(create())
        except grpc.aio.AioRpcError as error:
            assert error.code() is Code.ABORTED
            return "in progress"
        # Whoever comes late gets the stored answer.
        return "replayed" if answer.call.replayed else "done"

    outcomes = await asyncio.gather(*(outcome() for _ in range(20)))
    assert outcomes.count("done") == 1
    assert "in progress" in outcomes
    assert len(mesh.requests) == 1
    assert (await stub.Execute(create())).call.replayed


async def test_an_answer_that_was_lost_makes_the_key_indeterminate_for_good(mesh: Mesh) -> None:
    mesh.break_vendor(cut_connections=True, after_work=True)
    assert (await refusal(mesh.stub().Execute(create()))).reason == "VENDOR_UNREACHABLE"
    mesh.mend_vendor()
    for _ in range(2):
        refused = await refusal(mesh.stub().Execute(create()))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "INDETERMINATE")
    assert len(mesh.requests) == 1


async def test_what_the_vendor_refused_may_be_mended_under_the_same_key(mesh: Mesh) -> None:
    refused = await refusal(mesh.stub().Execute(create(requester_id="con_99999999")))
    assert refused.code is Code.INVALID_ARGUMENT
    assert (await mesh.stub().Execute(create())).vendor_status == 201


async def test_an_input_that_does_not_fit_takes_no_key(mesh: Mesh) -> None:
    assert (await refusal(mesh.stub().Execute(create(subject="")))).code is Code.INVALID_ARGUMENT
    assert (await mesh.stub().Execute(create())).vendor_status == 201


async def test_the_callers_key_goes_to_a_vendor_that_takes_one(mesh: Mesh) -> None:
    mesh.break_vendor(cut_connections=True, after_work=True)
    before = len(list(mesh.vendor.desk.tickets(after="")))
    await refusal(mesh.stub().Execute(create("order-7", "create_ticket_keyed")))
    mesh.mend_vendor()
    answer = await mesh.stub().Execute(create("order-7", "create_ticket_keyed"))
    assert answer.vendor_status == 201
    assert {seen["headers"]["idempotency-key"] for seen in mesh.seen} == {"order-7"}
    assert len(list(mesh.vendor.desk.tickets(after=""))) == before + 1


async def test_nothing_is_sent_under_a_key_while_its_answer_could_not_be_sealed(mesh: Mesh) -> None:
    mesh.around.sealing_failure = Code.UNAVAILABLE
    refused = await refusal(mesh.stub().Execute(create()))
    assert (refused.code, refused.metadata) == (Code.UNAVAILABLE, {"dependency": "auth"})
    assert mesh.requests == []
    mesh.around.sealing_failure = None
    await mesh.stub().Execute(create())
    mesh.around.sealing_failure = Code.UNAVAILABLE
    assert (await mesh.stub().Execute(create())).call.replayed, "a key that is held goes on"


async def test_a_caller_who_left_finds_the_answer_under_the_key(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=300)
    call = mesh.stub().Execute(create())
    await until(lambda: mesh.requests)
    call.cancel()

    async def is_there() -> bool:
        try:
            return bool((await mesh.stub().Execute(create())).call.replayed)
        except grpc.aio.AioRpcError as error:
            assert error.code() is Code.ABORTED
            return False

    await until(is_there)
    assert len(mesh.requests) == 1
