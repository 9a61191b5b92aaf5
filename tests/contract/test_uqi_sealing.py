"""Secrets that were filled in, as references: asked of the Proxy with the caller's own token, and bound again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import pytest

from cordboard.core.caller import current_caller
from cordboard.core.errors import CordboardError, DependencyUnavailable, NotFound
from cordboard.core.structs import from_struct, to_struct
from cordboard.proxy.v1 import sealed_input_service_pb2 as proxy_pb
from cordboard.proxy.v1.sealed_input_service_pb2_grpc import (
    SealedInputServiceServicer,
    add_SealedInputServiceServicer_to_server,
)
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1 import query_editor_service_pb2 as editor_pb
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub
from cordboard.uqi.v1.query_editor_service_pb2_grpc import QueryEditorServiceStub
from tests.contract.test_uqi_service import a_version, refused
from tests.contract.uqi_beside import beside_a_proxy
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.uqi.samples import an_input

FORM: Final = "integrations/acme/forms/action.create"
SECRET: Final = "hunter2 and more"
# As long as the password may be, which no reference is.
PASSWORD: Final = {"type": "string", "format": "password", "maxLength": 20}
INPUT: Final = an_input(
    "password",
    user={"type": "string"},
    password=PASSWORD,
    keys={"type": "array", "items": PASSWORD},
    deep=an_input(inner=an_input(inner=an_input(inner=an_input(password=PASSWORD)))),
)


class Sealer(SealedInputServiceServicer):
    """A Proxy that notes what it is to seal."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, dict[str, str], str]] = []
        self.problem: CordboardError | None = None

    async def start(self, process: Any) -> None:
        """Serves this as the Proxy."""
        add_SealedInputServiceServicer_to_server(self, process.server)

    async def SealInput(self, request: proxy_pb.SealInputRequest, context: Any) -> proxy_pb.SealInputResponse:
        if self.problem is not None:
            raise self.problem
        secrets = {one.pointer: one.secret for one in request.secrets}
        who = current_caller().workspace
        self.asked.append((request.parent, request.integration, request.action, secrets, who))
        return proxy_pb.SealInputResponse(references=map(reference, range(len(secrets))))


def reference(number: int) -> str:
    """A text as the Proxy makes them."""
    return f"cordboard-sealed-v1:{'A' * 120}{number}=="


@pytest.fixture
def sealer() -> Sealer:
    return Sealer()


@pytest.fixture
async def served(serving: Serving, database: Databases, sealer: Sealer) -> AsyncIterator[Served]:
    async with beside_a_proxy(serving, database, a_version(INPUT), sealer.start) as running:
        yield running


async def bind(served: Served, values: dict[str, Any], **fields: Any) -> pb.BindFormResponse:
    """Binds values as a member of acme."""
    stub: Any = FormServiceStub(served.as_role("member", workspace="acme"))
    asked = {"name": FORM, "workspace": "workspaces/acme", "values": to_struct(values)}
    found: pb.BindFormResponse = await stub.BindForm(pb.BindFormRequest(**{**asked, **fields}))
    return found


async def test_secrets_become_references_and_those_are_bound_again(served: Served, sealer: Sealer) -> None:
    deep = {"inner": {"inner": {"inner": {"password": SECRET}}}}
    found = await bind(served, {"user": "a", "password": SECRET, "keys": [SECRET, SECRET], "deep": deep})
    bound = from_struct(found.input)
    ((parent, integration, action, secrets, who),) = sealer.asked
    assert (parent, integration, action, who) == ("workspaces/acme", "integrations/acme", "create", "acme")
    assert set(secrets) == {"/password", "/keys/0", "/keys/1", "/deep/inner/inner/inner/password"}
    assert set(secrets.values()) == {SECRET}
    at = dict(zip(secrets, map(reference, range(4)), strict=True))
    assert (bound["password"], bound["keys"]) == (at["/password"], [at["/keys/0"], at["/keys/1"]])
    assert bound["deep"]["inner"]["inner"]["inner"]["password"] == at["/deep/inner/inner/inner/password"]
    assert not found.secrets
    assert SECRET not in str(found)
    # A person opens what was kept again, and changes something else: a reference is longer than a password may be.
    kept = {"user": "b", "password": bound["password"], "keys": bound["keys"]}
    again = await bind(served, kept)
    assert from_struct(again.input) == kept
    assert len(sealer.asked) == 1
    assert not again.secrets
    # The negative controls: what looks like one in part is a password, and a wrong one is not sealed.
    assert (await refused(bind(served, {"password": f"{reference(1)[:-4]}!!!!"})))[2] == ["values.password"]
    assert len(sealer.asked) == 1


async def test_a_query_s_secrets_become_references_too(served: Served, sealer: Sealer) -> None:
    editors: Any = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    name = "integrations/acme/queryEditor"
    (command,) = (await editors.GetQueryEditor(editor_pb.GetQueryEditorRequest(name=name))).commands
    values = to_struct({"command": command.command, command.command: {"password": SECRET}})
    asked = editor_pb.BindQueryRequest(name=name, values=values, workspace="workspaces/acme")
    found = (await editors.BindQuery(asked)).bound
    assert from_struct(found.input) == {"password": reference(0)}
    asked.workspace = ""
    found = (await editors.BindQuery(asked)).bound
    assert (from_struct(found.input), found.secrets[0].pointer) == ({"password": None}, "/password")


async def test_what_cannot_be_sealed_says_why_and_holds_no_secret(served: Served, sealer: Sealer) -> None:
    values = {"password": SECRET}
    assert (await refused(bind(served, values, workspace="acme")))[2] == ["workspace"]
    scheme = "integrations/acme/forms/auth.key"
    assert (await refused(bind(served, {"api_key": SECRET}, name=scheme)))[2] == ["workspace"]
    for problem, told in (
        (NotFound("workspaces/acme"), ("NOT_FOUND", "RESOURCE_NOT_FOUND")),
        (DependencyUnavailable("auth"), ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")),
    ):
        sealer.problem = problem
        assert (await refused(bind(served, values)))[:2] == told
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await bind(served, values)
    assert SECRET not in json.dumps([raised.value.details(), repr(raised.value.trailing_metadata())])
    # Nothing to seal: the Proxy is not asked.
    assert (await refused(bind(served, {})))[2] == ["values.password"]
