"""Jobs at a vendor: started, asked about, fetched, within one call and its deadline."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.core.times import to_duration
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import RawVendor, Reply, a_vendor, by_path, in_turn, point, said
from tests.unit.proxy.running import CONNECTION, Mesh, a_mesh, execute, last_call, refusal, stream
from tests.unit.proxy.samples import PATH, SLUG, a_body, a_parameter, an_action

Code = grpc.StatusCode
STARTED = said(202, {"job": {"id": 7}})
RUNNING, DONE, FAILED = (said(body={"state": state, "rows": [1, 2]}) for state in ("running", "done", "broken"))


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url, breaker_min_calls=10_000) as one:
        yield one


def actions(*, paged: bool = False, **fields: Any) -> tuple[catalog_pb.Action, ...]:
    declared: dict[str, Any] = {
        "status_action": "state",
        "job_property": "id",
        "job_pointer": "/job/id",
        "state_pointer": "/state",
        "done_states": ["done"],
        "failed_states": ["broken"],
        "interval": to_duration(0.1),
    }
    paging = catalog_pb.Paging(items_pointer="/rows", link=catalog_pb.LinkPaging()) if paged else None
    return (
        an_action(
            "make", "POST", "/jobs", body=a_body(catalog_pb.BODY_ENCODING_JSON, "a"),
            async_job=catalog_pb.AsyncJob(**(declared | fields)),
        ),
        an_action("state", "GET", "/jobs/{id}", a_parameter("id", PATH)),
        an_action("rows", "GET", "/jobs/{id}/rows", a_parameter("id", PATH), paging=paging),
    )  # fmt: skip


def paths(vendor: RawVendor) -> list[str]:
    return [" ".join(arrival.line.split(" ")[:2]) for arrival in vendor.arrivals]


async def test_a_call_waits_for_its_job_and_gives_the_result(mesh: Mesh) -> None:
    answers: dict[str, Reply | bytes] = {
        "/jobs": STARTED,
        "/jobs/7": in_turn(RUNNING, RUNNING, DONE),
        "/jobs/7/rows": said(body={"rows": [1, 2]}),
    }
    async with a_vendor(by_path(answers)) as vendor:
        await point(mesh, vendor.url, *actions(result_action="rows", result_pointer="/rows"))
        answer = await mesh.stub().Execute(execute("make", {"a": 1}, output_format=pb.OUTPUT_FORMAT_JSON))
        assert answer.output_json == "[1,2]"
        assert answer.call.attempts == 5
        assert paths(vendor) == ["POST /jobs", *["GET /jobs/7"] * 3, "GET /jobs/7/rows"]
    kept = await last_call(mesh)
    assert (kept.action, kept.outcome, kept.attempts) == ("make", pb.Call.OUTCOME_OK, 5)


async def test_without_a_result_action_the_last_state_has_the_result(mesh: Mesh) -> None:
    async with a_vendor(by_path({"/jobs": STARTED, "/jobs/7": in_turn(RUNNING, DONE)})) as vendor:
        await point(mesh, vendor.url, *actions())
        answer = await mesh.stub().Execute(execute("make", {"a": 1}))
        assert answer.output.struct_value["state"] == "done"


async def test_a_job_that_fails_is_the_vendors_error_with_its_state(mesh: Mesh) -> None:
    async with a_vendor(by_path({"/jobs": STARTED, "/jobs/7": in_turn(RUNNING, FAILED, DONE)})) as vendor:
        await point(mesh, vendor.url, *actions())
        request = execute("make", {"a": 1}, idempotency_key="once")
        refused = await refusal(mesh.stub().Execute(request))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "VENDOR_ERROR")
        assert refused.text == f"{SLUG} did not finish the job of make: broken"
        # It is known to have failed, so the key is free.
        assert (await mesh.stub().Execute(request)).output.struct_value["state"] == "done"


async def test_a_deadline_that_leaves_no_time_for_a_question_ends_the_call_and_its_key_is_in_doubt(mesh: Mesh) -> None:
    async with a_vendor(by_path({"/jobs": STARTED, "/jobs/7": RUNNING})) as vendor:
        await point(mesh, vendor.url, *actions(interval=to_duration(0.4)))
        request = execute("make", {"a": 1}, idempotency_key="once")
        refused = await refusal(mesh.stub().Execute(request, timeout=1.5))
        assert refused.code is Code.DEADLINE_EXCEEDED
        assert paths(vendor).count("POST /jobs") == 1
        assert (await refusal(mesh.stub().Execute(request))).reason == "INDETERMINATE"
        assert paths(vendor).count("POST /jobs") == 1


async def test_a_wait_that_the_vendor_asks_for_is_kept(mesh: Mesh) -> None:
    busy = said(200, {"state": "running"}, Retry_After="1")
    async with a_vendor(by_path({"/jobs": STARTED, "/jobs/7": in_turn(busy, DONE)})) as vendor:
        await point(mesh, vendor.url, *actions())
        began = time.monotonic()
        await mesh.stub().Execute(execute("make", {"a": 1}))
        assert time.monotonic() - began >= 1
        assert len(vendor.arrivals) == 3


@pytest.mark.parametrize("body", [{}, {"job": {"id": None}}, {"job": {"id": ""}}, {"job": {"id": {}}}, b"<html>"])
async def test_an_answer_that_names_no_job_is_told_at_once(mesh: Mesh, body: Any) -> None:
    async with a_vendor(said(202, body)) as vendor:
        await point(mesh, vendor.url, *actions())
        refused = await refusal(mesh.stub().Execute(execute("make", {"a": 1})))
        assert refused.reason == "VENDOR_ERROR"
        assert refused.text.startswith(f"the answer of {SLUG} to make ")
        assert len(vendor.arrivals) == 1


async def test_a_credential_renewed_while_a_job_runs_is_used_from_then_on(mesh: Mesh) -> None:
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="old", generation=4)
    await mesh.around.connect("renewed", integration=SLUG, api_key="new", generation=5)
    mesh.around.renewed[CONNECTION] = mesh.around.leases.pop("renewed")
    answers: dict[str, Reply | bytes] = {"/jobs": STARTED, "/jobs/7": in_turn(said(401), RUNNING, DONE)}
    async with a_vendor(by_path(answers)) as vendor:
        await point(mesh, vendor.url, *actions())
        await mesh.stub().Execute(execute("make", {"a": 1}))
        assert [arrival.values("x-api-key") for arrival in vendor.arrivals] == [["old"], ["old"], ["new"], ["new"]]


async def pages(mesh: Mesh) -> list[str]:
    asked = stream("make", {"a": 1}, output_format=pb.OUTPUT_FORMAT_JSON)
    return [page.items_json async for page in mesh.stub().ExecuteStream(asked)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ['[{"state":"done","rows":[1,2]}]']),
        ({"result_pointer": "/rows"}, ["[1,2]"]),
        ({"result_action": "rows", "result_pointer": "/rows"}, ["[1,2]"]),
        ({"result_action": "rows", "paged": True}, ["[1,2]", "[3]"]),
    ],
)
async def test_the_result_of_a_job_comes_as_pages_too(
    mesh: Mesh, fields: Mapping[str, Any], expected: list[str]
) -> None:
    rows = in_turn(said(200, {"rows": [1, 2]}, Link='<?page=2>; rel="next"'), said(body={"rows": [3]}))
    async with a_vendor(by_path({"/jobs": STARTED, "/jobs/7": DONE, "/jobs/7/rows": rows})) as vendor:
        await point(mesh, vendor.url, *actions(**fields))
        assert await pages(mesh) == expected
