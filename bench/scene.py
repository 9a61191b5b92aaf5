"""What the benchmarks need in a mesh: an integration, a flag, a workspace with a connection, and tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value

from bench.processes import channel, until
from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError
from cordboard.common.v1 import options_pb2
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.uqi.v1 import form_service_pb2 as forms

if TYPE_CHECKING:
    from cordboard.local.mesh import Mesh

SLUG = "acme-desk"
WORKSPACE = "bench"
INTEGRATION = f"integrations/{SLUG}"
CONNECTION = f"workspaces/{WORKSPACE}/connections/desk"
FLAG = f"flags/integration.{SLUG}"
ACTION = "get_ticket"
FORM = f"{INTEGRATION}/forms/action.create_ticket"
PRODUCTION = "production"
TICKET = {"subject": "The line is dead", "requester_id": "con_00000001"}


@dataclass(frozen=True)
class Scene:
    """A mesh with something to read and something to call."""

    operator_token: str
    member_token: str
    vendor: str
    """Base URL of the vendor's API."""
    api_key: str
    ticket_id: str
    call: str
    """The name of a call that was made."""


async def set_up(mesh: Mesh, vendor_url: str) -> Scene:
    """Fills an empty mesh; returns when a first call went through."""
    operator_token = await _operator_token(mesh)
    async with (
        aiohttp.ClientSession() as session,
        Client(mesh.public_address, token=operator_token, ca_file=mesh.ca_file) as operator,
    ):
        document = await _read(session, f"{vendor_url}/openapi.json")
        credentials = json.loads(await _read(session, f"{vendor_url}/_sandbox/credentials"))
        server = json.loads(document)["servers"][0]["url"]
        await operator.catalog.ImportOpenApi(
            catalog.ImportOpenApiRequest(document=document, slug=SLUG, owner="bench", source_uri=vendor_url)
        )
        await operator.flags.PutFlag(flags.PutFlagRequest(flag=_flag(SLUG), reason="benchmark"))
        workspace = workspaces.Workspace(customer=WORKSPACE, tier="business", region="eu")
        await operator.workspaces.CreateWorkspace(
            workspaces.CreateWorkspaceRequest(workspace_id=WORKSPACE, workspace=workspace)
        )
        issued = await operator.tokens.IssueToken(
            tokens.IssueTokenRequest(
                workspace=f"workspaces/{WORKSPACE}",
                environment=PRODUCTION,
                roles=[options_pb2.ROLE_MEMBER],
                ttl=Duration(seconds=3600),
            )
        )
        async with Client(mesh.public_address, token=issued.access_token, ca_file=mesh.ca_file) as member:
            await _connect(operator, member, SLUG, "desk", credentials["api_key"])
            ticket_id, call = await until(lambda: _first_call(member), "the first call")
            await until(lambda: _form(member), "the form")
    return Scene(operator_token, issued.access_token, server, credentials["api_key"], ticket_id, call)


async def another(mesh: Mesh, stage: Scene, slug: str, document: str, api_key: str) -> str:
    """Adds an integration, and a connection that is called like it; returns a member's token."""
    async with (
        Client(mesh.public_address, token=stage.operator_token, ca_file=mesh.ca_file) as operator,
        Client(mesh.public_address, token=stage.member_token, ca_file=mesh.ca_file) as member,
    ):
        await operator.catalog.ImportOpenApi(
            catalog.ImportOpenApiRequest(document=document, slug=slug, owner="bench", source_uri=f"bench:{slug}")
        )
        await operator.flags.PutFlag(flags.PutFlagRequest(flag=_flag(slug), reason="benchmark"))
        await _connect(operator, member, slug, slug, api_key)
    return stage.member_token


async def _operator_token(mesh: Mesh) -> str:
    identity = mesh.identity_dir("operator")
    async with channel(mesh.address("auth"), identity, "auth.cordboard.internal") as to_auth:
        request = tokens.IssueTokenRequest(
            roles=[options_pb2.ROLE_OPERATOR, options_pb2.ROLE_PUBLISHER],
            subject="bench",
            ttl=Duration(seconds=3600),
        )
        return (await TokenServiceStub(to_auth).IssueToken(request, timeout=10)).access_token


def _flag(slug: str) -> flags.Flag:
    return flags.Flag(
        name=f"flags/integration.{slug}",
        variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
        rules=[flags.Rule(tiers=["business"], environments=[PRODUCTION], variant="on")],
        default_variant="off",
        off_variant="off",
    )


async def _connect(operator: Client, member: Client, slug: str, connection: str, api_key: str) -> None:
    version = await operator.catalog.GetDefinitionVersion(
        catalog.GetDefinitionVersionRequest(name=f"integrations/{slug}/versions/active")
    )
    schemes = version.definition.auth_schemes
    session = await member.connect.CreateConnectSession(
        connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{WORKSPACE}",
            integration=f"integrations/{slug}",
            auth_scheme=next(scheme.id for scheme in schemes if scheme.WhichOneof("kind") == "api_key"),
            connection_id=connection,
        )
    )
    values = Struct()
    values.update({"api_key": api_key})
    await member.connect.SubmitConnectSession(connecting.SubmitConnectSessionRequest(name=session.name, values=values))


async def _first_call(member: Client) -> tuple[str, str] | None:
    try:
        written = await member.execute(
            CONNECTION, "create_ticket", {"subject": "The line is dead", "requester_id": "con_00000001"}
        )
    except CordboardError:
        # The integration and the flag are on their way to the Proxy.
        return None
    return str(written.output["id"]), written.call.name


async def _form(member: Client) -> Any:
    try:
        return await member.forms.GetForm(forms.GetFormRequest(name=FORM))
    except CordboardError:
        return None


async def _read(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        answer.raise_for_status()
        return await answer.text()
