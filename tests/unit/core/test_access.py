"""Access rules: every method has one, and a service without them does not start."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2

import tests.contract.services as contract
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.common.v1 import options_pb2
from cordboard.core import access
from cordboard.core.access import ANY_PEER, FOREIGN, Method, Rule, RuleMissing
from cordboard.core.caller import Caller
from cordboard.core.errors import AccessDenied, NotFound, TokenInvalid
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from cordboard.local.certificates import SERVICES
from tests.fixtures.serving import Serving

NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"
PEERS = frozenset({*SERVICES, "envoy", "client/operator"})
ROLES = frozenset(access.role_name(number) for number in options_pb2.Role.values() if number)


def registered(name: str, rule: options_pb2.AccessRule | None) -> str:
    """Puts a service of one method with this rule into the descriptor pool, and returns its full name."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"tests/{name}.proto", package=f"tests.{name}", syntax="proto3",
        dependency=["google/protobuf/empty.proto", options_pb2.DESCRIPTOR.name],
    )  # fmt: skip
    assert empty_pb2.DESCRIPTOR.name in file.dependency
    method = file.service.add(name="Service").method.add(name="Do")
    method.input_type = method.output_type = ".google.protobuf.Empty"
    if rule is not None:
        method.options.Extensions[options_pb2.access].CopyFrom(rule)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return f"tests.{name}.Service"


def a_method(**rule: Any) -> Method:
    return Method("tests.Service/Do", Rule(**rule), catalog.GetIntegrationRequest)


@pytest.mark.parametrize("process", SERVICES)
def test_every_method_of_every_service_has_a_rule(process: str) -> None:
    services = {method.descriptor.containing_service.full_name for method in contract.methods(process)}
    assert len(services) >= 3
    for service in services:
        found = access.methods(service)
        assert len(found) == len(descriptor_pool.Default().FindServiceByName(service).methods)
        for path, method in found.items():
            rule = method.rule
            assert path == f"/{method.path}"
            assert rule.roles or rule.peers or rule.public, path
            assert rule.roles <= ROLES, path
            assert rule.peers <= PEERS, path
            if rule.workspace_field:
                assert rule.workspace_field.split(".")[0] in method.request_class.DESCRIPTOR.fields_by_name, path


def test_foreign_services_let_in_known_peers_only() -> None:
    assert ANY_PEER.peers >= set(SERVICES)
    for name, rule in FOREIGN.items():
        assert rule.peers <= PEERS, name
        # Providers of OpenFeature come with a token; everybody else's protos are for peers.
        assert not rule.roles or name.startswith("flagd."), name


@pytest.mark.parametrize(
    ("name", "rule", "problem"),
    [
        ("ruleless", None, "has no access rule"),
        ("nobody", options_pb2.AccessRule(), "has an access rule that lets nobody in"),
        (
            "field_only",
            options_pb2.AccessRule(workspace_field="name"),
            "has an access rule that lets nobody in",
        ),
    ],
)
async def test_a_service_without_a_rule_does_not_start(
    serving: Serving, name: str, rule: options_pb2.AccessRule | None, problem: str
) -> None:
    service = registered(name, rule)

    async def handler(request: Any, context: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    async def start(process: Process[Settings]) -> None:
        process.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Do": grpc.unary_unary_rpc_method_handler(handler)}),)
        )

    with pytest.raises(RuleMissing, match=f"{service}.Do {problem}"):
        async with serving("catalog", Settings, start, database_url=NOWHERE):
            raise AssertionError("it must not start")


async def test_a_service_with_a_rule_starts(serving: Serving) -> None:
    service = registered("ruled", options_pb2.AccessRule(roles=[options_pb2.ROLE_OPERATOR], peers=["proxy"]))
    assert access.methods(service)[f"/{service}/Do"].rule == Rule(frozenset({"operator"}), frozenset({"proxy"}))


def test_a_service_passes_a_token_on_where_the_rule_says_so_and_is_nobody_without_one() -> None:
    method = a_method(roles=frozenset({"member"}), relays=frozenset({"uqi"}))
    access.check(method, Caller("uqi", roles=frozenset({"member"}), token_id="t", workspace="acme"))
    with pytest.raises(TokenInvalid):
        access.check(method, Caller("uqi"))
    for caller in (
        Caller("uqi", roles=frozenset({"reader"}), token_id="t", workspace="acme"),
        Caller("flags", roles=frozenset({"member"}), token_id="t", workspace="acme"),
    ):
        with pytest.raises(AccessDenied):
            access.check(method, caller)


def test_where_no_field_names_a_workspace_there_is_nothing_to_compare() -> None:
    member = Caller("envoy", roles=frozenset({"member"}), token_id="t", workspace="acme")
    request = catalog.GetIntegrationRequest(name="workspaces/globex/things/1")
    access.check_workspace(a_method(roles=frozenset({"member"})), member, request)
    with pytest.raises(NotFound):
        access.check_workspace(a_method(roles=frozenset({"member"}), workspace_field="name"), member, request)


def test_a_role_counts_through_envoy_and_clients_only() -> None:
    method = a_method(roles=frozenset({"member"}), peers=frozenset({"proxy"}))
    member = {"roles": frozenset({"member"}), "token_id": "t", "workspace": "acme"}
    access.check(method, Caller("envoy", **member))  # type: ignore[arg-type]
    access.check(method, Caller("client/somebody", **member))  # type: ignore[arg-type]
    access.check(method, Caller("proxy"))
    for peer in ("uqi", "client", "clientele/x", "", "envoy2", "xproxy"):
        with pytest.raises(AccessDenied):
            access.check(method, Caller(peer, **member))  # type: ignore[arg-type]


def test_no_token_and_a_wrong_role_are_two_errors() -> None:
    method = a_method(roles=frozenset({"member"}))
    with pytest.raises(TokenInvalid):
        access.check(method, Caller("envoy"))
    with pytest.raises(AccessDenied) as denied:
        access.check(method, Caller("envoy", roles=frozenset({"reader"}), token_id="t"))
    assert denied.value.metadata == {"method": "tests.Service/Do"}
    with pytest.raises(AccessDenied):
        access.check(a_method(peers=frozenset({"proxy"})), Caller("envoy", roles=ROLES, token_id="t"))


def test_a_public_method_is_everybodys() -> None:
    access.check(a_method(public=True), Caller("anybody"))


def test_a_foreign_workspace_does_not_exist() -> None:
    method = a_method(roles=frozenset({"member"}), workspace_field="name")
    member = Caller("envoy", workspace="acme", roles=frozenset({"member"}), token_id="t")
    for name in ("workspaces/acme", "workspaces/acme/connections/x", "", "integrations/x"):
        access.check_workspace(method, member, catalog.GetIntegrationRequest(name=name))
    for name in (
        "workspaces/other",
        "workspaces/acme2/connections/x",
        "workspaces/",
        "workspaces//x",
        "workspaces/ACME",
    ):
        with pytest.raises(NotFound) as missing:
            access.check_workspace(method, member, catalog.GetIntegrationRequest(name=name))
        assert missing.value.metadata == {"name": name}
    operator = Caller("envoy", roles=frozenset({"operator"}), token_id="t")
    access.check_workspace(method, operator, catalog.GetIntegrationRequest(name="workspaces/other"))
    access.check_workspace(method, Caller("proxy"), catalog.GetIntegrationRequest(name="workspaces/other"))
