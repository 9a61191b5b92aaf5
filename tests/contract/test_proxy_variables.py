"""Constants and config variables in requests, as the vendor gets them, and what nobody else may see of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.local.certificates import Identities
from tests.contract.test_proxy_credentials import an_answer, in_turn
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import Arrival, a_vendor, point
from tests.unit.proxy.running import Mesh, a_mesh, calls, execute, refusal
from tests.unit.proxy.samples import HEADER, PATH, QUERY, SLUG, a_body, a_parameter, an_action

BODY = pb.PLACEMENT_BODY
VARIABLES = (
    pb.ConfigVariable(name="team", required=True),
    pb.ConfigVariable(name="salt", secret=True, required=True),
    pb.ConfigVariable(name="seats", schema_json='{"type": "integer"}', default_value_json="3"),
    pb.ConfigVariable(name="where"),
)


@pytest.fixture
async def mesh(
    serving: Serving, identities: Identities, database: Databases, spans: InMemorySpanExporter
) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url, breaker_min_calls=10_000) as one:
        yield one
        # Whatever a test did: no secret of it stands anywhere.
        kept = "".join(str(each) for each in await calls(one))
        told = "".join(span.to_json() for span in spans.get_finished_spans())
        assert "canary" not in kept + told
        assert "cordboard.proxy.v1.ProxyService/Execute" in told


def taken(placement: pb.Placement.ValueType, name: str, variable: str) -> pb.Constant:
    return pb.Constant(placement=placement, name=name, config_variable=variable)


def an_order(*constants: pb.Constant, **fields: Any) -> pb.Action:
    action = an_action(
        "order", "POST", "/{team}/{id}", a_parameter("id", PATH), body=a_body(pb.BODY_ENCODING_JSON, "note")
    )
    action.request.constants.extend(
        [
            taken(PATH, "team", "team"),
            taken(QUERY, "salt", "salt"),
            taken(HEADER, "X-Salt", "salt"),
            taken(BODY, "salt", "salt"),
            taken(BODY, "seats", "seats"),
            pb.Constant(placement=QUERY, name="v", value_json="2"),
            *constants,
        ]
    )
    for name, value in fields.items():
        setattr(action.request, name, value)
    return action


async def connected(mesh: Mesh, configuration: dict[str, str], secrets: dict[str, str]) -> str:
    name = "workspaces/acme/connections/own"
    await mesh.around.connect(
        name, integration=SLUG, api_key="canary-key", configuration=configuration, secret_variables=secrets
    )
    return name


def order(name: str) -> Any:
    return execute("order", connection=name, input_json='{"id": "a/b", "note": "n"}')


async def test_a_request_carries_its_constants_and_the_variables_of_the_connection(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        await point(mesh, vendor.url, an_order(), config_variables=VARIABLES)
        name = await connected(mesh, {"team": "blue"}, {"salt": "canary/1"})
        await mesh.stub().Execute(order(name))
        [arrival] = vendor.arrivals
    assert arrival.line == "POST /blue/a%2Fb?salt=canary%2F1&v=2 HTTP/1.1"
    assert arrival.values("x-salt") == ["canary/1"]
    assert arrival.values("x-api-key") == ["canary-key"]
    assert json.loads(arrival.body) == {"note": "n", "salt": "canary/1", "seats": 3}


@pytest.mark.parametrize(
    ("configuration", "secrets", "variable"),
    [
        ({}, {"salt": "canary"}, "team"),
        ({"team": "blue"}, {}, "salt"),
        ({"team": "blue", "seats": "many"}, {"salt": "canary"}, "seats"),
        ({"team": ".."}, {"salt": "canary"}, "team"),
        ({"team": "blue"}, {"salt": "canary\r\nX-Evil: 1"}, "salt"),
    ],
)
async def test_a_variable_that_is_missing_or_wrong_is_named_and_nothing_is_sent(
    mesh: Mesh, configuration: dict[str, str], secrets: dict[str, str], variable: str
) -> None:
    async with a_vendor() as vendor:
        await point(mesh, vendor.url, an_order(), config_variables=VARIABLES)
        name = await connected(mesh, configuration, secrets)
        refused = await refusal(mesh.stub().Execute(order(name)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_CONFLICT")
        assert (refused.metadata["state"], refused.metadata["variable"]) == ("configuration", variable)
        assert repr(variable) in refused.text
        assert "canary" not in refused.text
        assert vendor.arrivals == []


async def test_a_variable_fills_the_server_and_chooses_it_and_cannot_leave_the_list(mesh: Mesh) -> None:
    async with a_vendor() as first, a_vendor() as second:
        ports = {"port": str(urlsplit(second.url).port)}
        servers = [
            pb.Server(id="main", url=first.url),
            pb.Server(id="own", url="http://{team}:{port}/own", variables=[pb.ServerVariable(name="port")]),
        ]
        hosts = [urlsplit(one.url).netloc for one in (first, second)]
        await point(
            mesh, first.url, an_order(server_variable="where"),
            config_variables=VARIABLES, servers=servers, allowed_hosts=hosts,
        )  # fmt: skip
        for configuration in (
            {"team": "127.0.0.1", "where": "main", **ports},
            {"team": "127.0.0.1", "where": "own", **ports},
        ):
            name = await connected(mesh, configuration, {"salt": "canary"})
            await mesh.around.change(name, 0)
            await mesh.stub().Execute(order(name))
        assert [len(one.arrivals) for one in (first, second)] == [1, 1]
        assert second.arrivals[0].line.startswith("POST /own/127.0.0.1/a%2Fb?")
        elsewhere = "workspaces/acme/connections/elsewhere"
        await mesh.around.connect(
            elsewhere, integration=SLUG, api_key="canary-key", secret_variables={"salt": "canary"},
            configuration={"team": "127.0.0.2", "where": "own", **ports},
        )  # fmt: skip
        refused = await refusal(mesh.stub().Execute(order(elsewhere)))
        assert refused.reason.endswith("EGRESS_DENIED")
        assert [len(one.arrivals) for one in (first, second)] == [1, 1]


def key_in(arrival: Arrival, placement: pb.Placement.ValueType) -> str:
    """Returns the idempotency key that a vendor was given in this place."""
    if placement == HEADER:
        return arrival.values("once")[0]
    if placement == QUERY:
        return urlsplit(arrival.line.split(" ")[1]).query.removeprefix("once=")
    return str(json.loads(arrival.body)["once"])


@pytest.mark.parametrize("placement", [HEADER, QUERY, BODY])
async def test_the_vendor_knows_a_repeated_attempt_by_the_key_that_it_takes(
    mesh: Mesh, placement: pb.Placement.ValueType
) -> None:
    busy, done = an_answer(503), an_answer(201)
    async with a_vendor(in_turn(busy, done, busy, done)) as vendor:
        action = an_action(
            "order", "POST", "/x", body=a_body(pb.BODY_ENCODING_JSON, "id", "note"),
            idempotency_key=pb.IdempotencyKey(placement=placement, name="once"),
        )  # fmt: skip
        await point(mesh, vendor.url, action)
        name = await connected(mesh, {}, {})
        for key in ("order-7", ""):
            request = order(name)
            request.idempotency_key = key
            assert (await mesh.stub().Execute(request)).call.attempts == 2
    told = [key_in(one, placement) for one in vendor.arrivals]
    assert told[:2] == ["order-7", "order-7"]
    assert told[2] == told[3] != ""
    assert told[2] != "order-7"
