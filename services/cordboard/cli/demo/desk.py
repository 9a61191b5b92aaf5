"""The sandbox vendor as an integration: published, rolled out, and connected."""

from __future__ import annotations

from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.demo.parts import Callers, Vendor
from cordboard.client import Client
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.sandbox import consent

SLUG: Final = "acme-desk"
FLAG: Final = f"flags/integration.{SLUG}"


async def import_desk(operator: Client, vendor: Vendor) -> catalog.ImportOpenApiResponse:
    """Publishes what the vendor's own description says."""
    return await operator.catalog.ImportOpenApi(
        catalog.ImportOpenApiRequest(
            document=await vendor.document(), slug=SLUG, owner="integrations@example.com", source_uri=vendor.url
        )
    )


async def roll_out(operator: Client, rule: flags.Rule) -> flags.Flag:
    """Gives the integration to whom a rule fits, and to nobody else."""
    flag = flags.Flag(
        name=FLAG,
        description="Who may use Acme Desk.",
        variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
        rules=[rule],
        default_variant="off",
        off_variant="off",
    )
    return await operator.flags.PutFlag(flags.PutFlagRequest(flag=flag, reason="first rollout"))


async def create_workspace(operator: Client, workspace: str, tier: str) -> None:
    """Makes a workspace of a customer of the same name."""
    made = workspaces.Workspace(customer=workspace, tier=tier, region="eu")
    await operator.workspaces.CreateWorkspace(workspaces.CreateWorkspaceRequest(workspace_id=workspace, workspace=made))


async def register_client(operator: Client, vendor: Vendor) -> None:
    """Makes the mesh known at the vendor's OAuth server, and its secret known to the mesh."""
    secret = (await vendor.control("GET", "credentials"))["client_secret"]
    client = await operator.connect.SetOAuthClient(
        connecting.SetOAuthClientRequest(
            name=f"integrations/{SLUG}/oauthClient", client_id="cordboard", client_secret=secret
        )
    )
    known = {"client_id": client.client_id, "client_secret": secret, "redirect_uris": [client.redirect_uri]}
    await vendor.control("POST", "clients", known)


async def connect_by_consent(operator: Client, member: Client, callers: Callers, connection: str) -> None:
    """Connects an account by OAuth; a script clicks the consent. Raises StepFailed."""
    session = await _session(operator, member, connection, "oauth2")
    async with callers.browser() as browser:
        back = await consent(browser, session.authorization_url)
        async with browser.get(back) as page:
            if page.status != 200:
                raise StepFailed(f"the callback answered {page.status}: {await page.text()}")


async def connect_by_key(operator: Client, member: Client, vendor: Vendor, connection: str) -> connections.Connection:
    """Connects an account by the API key that a person would type in."""
    session = await _session(operator, member, connection, "api_key")
    values = Struct()
    values.update({"api_key": (await vendor.control("GET", "credentials"))["api_key"]})
    return await member.connect.SubmitConnectSession(
        connecting.SubmitConnectSessionRequest(name=session.name, values=values)
    )


async def _session(operator: Client, member: Client, connection: str, kind: str) -> connecting.ConnectSession:
    _, workspace, _, name = connection.split("/")
    return await member.connect.CreateConnectSession(
        connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{workspace}",
            integration=f"integrations/{SLUG}",
            auth_scheme=await _scheme(operator, kind),
            connection_id=name,
        )
    )


async def _scheme(operator: Client, kind: str) -> str:
    version = await operator.catalog.GetDefinitionVersion(
        catalog.GetDefinitionVersionRequest(name=f"integrations/{SLUG}/versions/active")
    )
    for scheme in version.definition.auth_schemes:
        if scheme.WhichOneof("kind") == kind:
            return scheme.id
    raise StepFailed(f"the definition has no {kind} scheme")
