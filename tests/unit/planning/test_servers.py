"""Where a connection's requests may go: server variables cannot lead a credential away from the definition's hosts."""

from __future__ import annotations

from typing import Any

import pytest

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import EgressDenied, StateConflict
from cordboard.planning.servers import Servers
from tests.unit.proxy.samples import a_definition

SUBDOMAIN = pb.Server(
    url="https://{subdomain}.vendor.example/api/{version}",
    variables=[pb.ServerVariable(name="subdomain"), pb.ServerVariable(name="version", default_value="v1")],
)


def servers(*given: pb.Server, **fields: Any) -> Servers:
    return Servers(a_definition(servers=given, **fields))


def test_variables_are_filled_from_the_connection_and_the_defaults() -> None:
    place = servers(SUBDOMAIN).place({"subdomain": "acme"})
    assert place.base == "https://acme.vendor.example/api/v1"
    assert place.template == "https://{subdomain}.vendor.example/api/{version}"
    assert place.hosts == {"acme.vendor.example"}


@pytest.mark.parametrize(
    "value",
    [
        "evil.example/#", "a@evil.example", "x.evil.example?", "evil.example/", "evil.example\\", "a:b", "a%2Fb", "-a",
        "a-", ".", "..", "a b", "a\r\nb", "ⓔvil", "a/b", "[::1]", "a" * 300,
    ],
)  # fmt: skip
def test_a_value_that_would_change_the_host_is_refused(value: str) -> None:
    with pytest.raises((StateConflict, EgressDenied)) as refused:
        servers(SUBDOMAIN).place({"subdomain": value})
    assert value not in str(refused.value)


def test_a_missing_value_is_asked_for_by_name() -> None:
    with pytest.raises(StateConflict, match="'subdomain'"):
        servers(SUBDOMAIN).place({})


def test_allowed_values_are_the_only_ones() -> None:
    region = pb.Server(
        url="https://{region}.vendor.example", variables=[pb.ServerVariable(name="region", allowed_values=["eu", "us"])]
    )
    assert servers(region).place({"region": "eu"}).base == "https://eu.vendor.example"
    with pytest.raises(StateConflict):
        servers(region).place({"region": "cn"})


def test_a_connection_goes_to_the_server_that_its_values_are_for() -> None:
    cloud, own = pb.Server(url="https://cloud.example/v2/"), pb.Server(url="https://{host}/api")
    own.variables.add(name="host")
    both = servers(cloud, own)
    assert both.place({}).base == "https://cloud.example/v2"
    assert both.place({"host": "desk.acme.example"}).base == "https://desk.acme.example/api"
    assert servers(own, cloud).place({}).base == "https://cloud.example/v2"


def test_allowed_hosts_replace_the_servers_own() -> None:
    listed = servers(pb.Server(url="https://a.example"), allowed_hosts=["A.example:443", "b.example:8443"])
    assert listed.place({}).hosts == {"a.example", "b.example:8443"}
    with pytest.raises(EgressDenied):
        servers(pb.Server(url="https://a.example"), allowed_hosts=["b.example"]).place({})


def test_an_actions_own_server_is_one_of_the_hosts_unless_a_list_leaves_it_out() -> None:
    place = servers(pb.Server(url="https://a.example")).place({}, "https://files.example/up")
    assert place.base == "https://files.example/up"
    assert place.hosts == {"a.example", "files.example"}
    with pytest.raises(EgressDenied):
        servers(pb.Server(url="https://a.example"), allowed_hosts=["a.example"]).place({}, "https://files.example")


def test_a_definition_without_a_server_cannot_be_called() -> None:
    with pytest.raises(StateConflict, match="no server"):
        servers().place({})


@pytest.mark.parametrize("url", ["/v1", "ftp://a.example", "https://user@a.example", "https://a.example#x"])
def test_a_server_that_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(EgressDenied):
        servers(pb.Server(url=url)).place({})


def test_places_are_worked_out_once() -> None:
    both = servers(SUBDOMAIN)
    assert both.place({"subdomain": "acme"}) is both.place({"subdomain": "acme"})
