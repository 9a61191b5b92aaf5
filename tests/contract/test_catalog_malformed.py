"""Whatever is sent to the Catalog, the answer is never that something broke."""

from __future__ import annotations

import random
from typing import Any

import grpc
import pytest

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.catalog.definitions import DOCUMENT

COUNT = 2000
REQUESTS: dict[str, Any] = {
    "PublishDefinition": pb.PublishDefinitionRequest,
    "ImportOpenApi": pb.ImportOpenApiRequest,
    "GetIntegration": pb.GetIntegrationRequest,
    "ListIntegrations": pb.ListIntegrationsRequest,
    "GetDefinitionVersion": pb.GetDefinitionVersionRequest,
    "ListDefinitionVersions": pb.ListDefinitionVersionsRequest,
    "ListActions": pb.ListActionsRequest,
}
TEXTS = (
    "", "x", "integrations/acme-desk", "integrations/acme-desk/versions/active", "integrations/../versions/1",
    "integrations//versions/", "\x00", "é" * 300, "x" * 5000, "[", "{", "{}", "[]", "- " * 300, '{"openapi": "3.0.0"}',
    '{"openapi": "3.1.0", "paths": {"/a": {"get": 7}}}', "openapi: 3.0.0\npaths: {/: {get: {parameters: 7}}}",
    "a: &a [*a]", '{"a": 1, "a": 2}', "slug: 7", "' OR 1=1 --", "%s%n", "https://x.example", "WyJhIiwgImIiXQ", "../..",
    "\ud7ff", "\U0010ffff", "!!python/object:os.system x", "? [a]", "9" * 6000, "1e999", "-", ":", "\t", "a: b: c",
)  # fmt: skip


def a_text(chance: random.Random) -> str:
    if chance.random() < 0.3:
        # The good document with a piece cut out, doubled or replaced.
        at, length = chance.randrange(len(DOCUMENT)), chance.randrange(40)
        return DOCUMENT[:at] + chance.choice(["", DOCUMENT[at : at + length] * 2, *TEXTS]) + DOCUMENT[at + length :]
    return chance.choice(TEXTS)


def a_request(kind: Any, chance: random.Random) -> Any:
    request = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING:
            setattr(request, field.name, a_text(chance))
        elif field.type == field.TYPE_BOOL:
            setattr(request, field.name, chance.random() < 0.5)
        elif field.type == field.TYPE_ENUM:
            setattr(request, field.name, chance.choice([0, 1, 7, -1]))
        elif field.is_repeated:
            for _ in range(chance.randrange(3)):
                one = getattr(request, field.name).add()
                one.MergeFrom(a_request(type(one), chance))
        elif field.type == field.TYPE_MESSAGE:
            getattr(request, field.name).MergeFrom(a_request(type(getattr(request, field.name)), chance))
        else:
            setattr(request, field.name, chance.choice([0, 1, -1, 2**31 - 1, -(2**31)]))
    return request


@pytest.mark.parametrize("seed", [1])
async def test_no_input_breaks_the_catalog(serving: Serving, database: Databases, seed: int) -> None:
    chance = random.Random(seed)
    codes: set[str] = set()
    async with serving("catalog", CatalogSettings, start, database_url=database("catalog").url) as served:
        channel = served.as_role("operator")
        stub = CatalogServiceStub(channel)
        for _ in range(COUNT):
            method = chance.choice(list(REQUESTS))
            try:
                if chance.random() < 0.2:
                    raw: Any = channel.unary_unary(f"/cordboard.catalog.v1.CatalogService/{method}")
                    await raw(chance.randbytes(chance.randrange(60)), timeout=10)
                else:
                    await getattr(stub, method)(a_request(REQUESTS[method], chance), timeout=10)
                codes.add("OK")
            except grpc.aio.AioRpcError as error:
                codes.add(error.code().name)
    assert codes <= {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "ALREADY_EXISTS"}
    assert {"OK", "NOT_FOUND", "INVALID_ARGUMENT"} <= codes
