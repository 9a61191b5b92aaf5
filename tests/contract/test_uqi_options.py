"""Choices that only the vendor knows: asked for through the Proxy with the caller's own token, and never in the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2
from cordboard.core.caller import current_caller
from cordboard.core.errors import SwitchedOff
from cordboard.core.structs import to_struct
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceServicer, add_ProxyServiceServicer_to_server
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub
from tests.contract.test_uqi_service import refused
from tests.contract.uqi_beside import beside_a_proxy
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.uqi.samples import a_definition, an_input

FORM = "integrations/acme/forms/action.create"
CONNECTION = "workspaces/acme/connections/main"


class Vendor(ProxyServiceServicer):
    """A Proxy whose vendor has these boards."""

    def __init__(self) -> None:
        self.boards: list[Any] = [{"id": 7, "name": "Plans"}, {"id": 8, "name": "Bugs"}, {"name": "no id"}, 5]
        self.asked: list[tuple[str, str, dict[str, Any], str]] = []
        self.off = False

    async def start(self, process: Any) -> None:
        """Serves this as the Proxy."""
        add_ProxyServiceServicer_to_server(self, process.server)

    async def ExecuteStream(
        self, request: proxy_pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[proxy_pb.ExecuteStreamResponse]:
        given = json.loads(request.input_json)
        self.asked.append((request.connection, request.action, given, current_caller().workspace))
        if self.off:
            raise SwitchedOff("integration.acme", "acme", "off")
        for first in range(0, len(self.boards), 300):
            yield proxy_pb.ExecuteStreamResponse(items_json=json.dumps(self.boards[first : first + 300]))


def a_version() -> definition_pb2.Definition:
    """A definition whose `board` is chosen from a list, and whose `column` waits for it."""
    given = an_input(board={"type": "integer"}, column={"type": "string"}, note={"type": "string"})
    definition = a_definition(given)
    boards = definition_pb2.OptionSource(
        action="list-boards", value_pointer="/id", label_pointer="/name", input_json='{"limit": 50}'
    )
    columns = definition_pb2.OptionSource(
        action="list-columns", value_pointer="/name", input_fields={"board_id": "board"}, search_property="query"
    )
    board = definition.actions[0].form_hints.add(property="board", options=boards)
    board.translations.add(language="de", label="Brett")
    definition.actions[0].form_hints.add(property="column").options.CopyFrom(columns)
    return definition


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()  # type: ignore[abstract] # answers a part


@pytest.fixture
async def served(serving: Serving, database: Databases, vendor: Vendor) -> AsyncIterator[Served]:
    async with beside_a_proxy(serving, database, a_version(), vendor.start) as running:
        yield running


@pytest.fixture
def member(served: Served) -> Any:
    return FormServiceStub(served.as_role("member", workspace="acme"))


async def options(stub: Any, field: str, search: str = "", **values: Any) -> pb.ListFormOptionsResponse:
    request = pb.ListFormOptionsRequest(
        connection=CONNECTION, form=FORM, field_id=field, values=to_struct(values), search=search
    )
    found: pb.ListFormOptionsResponse = await stub.ListFormOptions(request)
    return found


def labelled(found: pb.ListFormOptionsResponse) -> list[tuple[Any, str]]:
    return [(json.loads(each.value_json), each.label) for each in found.options]


async def test_choices_come_from_the_vendor_as_the_caller(member: Any, vendor: Vendor) -> None:
    found = await options(member, "board")
    assert labelled(found) == [(7, "Plans"), (8, "Bugs")]
    assert (found.more, found.problem) == (False, "")
    assert vendor.asked == [(CONNECTION, "list-boards", {"limit": 50}, "acme")]


async def test_choices_are_asked_for_once_a_minute_and_searched_here(member: Any, vendor: Vendor) -> None:
    assert labelled(await options(member, "board", "bug")) == [(8, "Bugs")]
    assert labelled(await options(member, "board", "PLAN")) == [(7, "Plans")]
    assert len(vendor.asked) == 1


async def test_why_there_are_no_choices_is_said_in_the_language_of_the_form(member: Any) -> None:
    for language, problem in (
        ("de-CH", "zuerst ausfüllen: Brett"),
        ("fr", "fill in Board first"),
        ("", "fill in Board first"),
    ):
        request = pb.ListFormOptionsRequest(connection=CONNECTION, form=FORM, field_id="column", language=language)
        assert (await member.ListFormOptions(request)).problem == problem


async def test_choices_wait_for_the_fields_that_they_depend_on(member: Any, vendor: Vendor) -> None:
    found = await options(member, "column")
    assert (labelled(found), found.problem) == ([], "fill in Board first")
    assert vendor.asked == []
    assert labelled(await options(member, "column", "pl", board="7"))[0] == ("Plans", "Plans")
    assert vendor.asked == [(CONNECTION, "list-columns", {"board_id": 7, "query": "pl"}, "acme")]


async def test_a_vendor_that_says_no_leaves_the_form_usable_and_is_asked_again(member: Any, vendor: Vendor) -> None:
    vendor.off = True
    found = await options(member, "board")
    assert labelled(found) == []
    assert "is switched off" in found.problem
    vendor.off = False
    assert labelled(await options(member, "board"))


async def test_a_list_without_end_is_cut_and_says_so(member: Any, vendor: Vendor) -> None:
    vendor.boards = [{"id": number, "name": f"Board {number}"} for number in range(3_000)]
    found = await options(member, "board")
    assert (len(found.options), found.more) == (1_000, True)


async def test_choices_of_others_are_not_there(served: Served, member: Any, vendor: Vendor) -> None:
    other = FormServiceStub(served.as_role("member", workspace="other"))
    assert (await refused(options(other, "board")))[0] == "NOT_FOUND"
    reader = FormServiceStub(served.as_role("reader", workspace="acme"))
    assert (await refused(options(reader, "board")))[0] == "PERMISSION_DENIED"
    assert (await refused(options(member, "note")))[2] == ["field_id"]
    assert (await refused(options(member, "gone")))[2] == ["field_id"]
    assert vendor.asked == []
