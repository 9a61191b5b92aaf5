"""50,000 reads of four workspaces with the same ids, at every service that remembers: nobody gets what is another's.

`READS=2000` is the short form.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Final

from aiohttp import BasicAuth, web
from google.protobuf.struct_pb2 import Struct, Value

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.client import Client
from cordboard.client.stubs import Stubs
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.uqi.v1 import form_service_pb2 as forms
from tests.contract.test_tenant_caches import Read, Readers, hammer
from tests.fixtures.desk import Desk, Tenant, rollout
from tests.fixtures.mesh import RunningMesh, until
from tests.fixtures.sites import listening

READS: Final = int(os.environ.get("READS", "50000"))
SLUG: Final = "mirror"
FLAG: Final = "flags/whose-turn"
DEADLINE: Final = 60.0


async def mirrored(request: web.Request) -> web.Response:
    """Answers with the user that a request shows."""
    return web.json_response({"user": BasicAuth.decode(request.headers["Authorization"]).login})


@contextlib.asynccontextmanager
async def a_mirror() -> Any:
    """Runs a vendor that says who calls, and gives its URL."""
    app = web.Application()
    app.router.add_get("/me", mirrored)
    async with listening(app) as url:
        yield url


def document(url: str, slug: str) -> str:
    """Returns an integration that asks the mirror."""
    told = {
        "slug": slug,
        "title": slug,
        "servers": [{"url": url}],
        "auth_schemes": [{"id": "it", "basic": {}}],
        "actions": [{"id": "me", "request": {"method": "GET", "path": "/me"}}],
    }
    return json.dumps(told)


async def set_up(desk: Desk, tenants: list[Tenant], url: str) -> None:
    """Gives each workspace a connection of the same id, a private integration of the same name and a variant."""
    names = [tenant.workspace for tenant in tenants]
    async with desk.mesh.operator() as operator:
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=document(url, SLUG)))
        flag = rollout("business")
        flag.flag.name = f"flags/integration.{SLUG}"
        await operator.flags.PutFlag(flag)
        whose = flags.Flag(
            name=FLAG,
            variants={name: Value(string_value=name) for name in (*names, "nobody")},
            rules=[flags.Rule(workspaces=[name], variant=name) for name in names],
            default_variant="nobody",
            off_variant="nobody",
        )
        await operator.flags.PutFlag(flags.PutFlagRequest(flag=whose, reason="each its own"))
        for name in names:
            await operator.governance.PublishPrivateDefinition(
                governance.PublishPrivateDefinitionRequest(parent=f"workspaces/{name}", document=document(url, "tool"))
            )
    for tenant in tenants:
        async with desk.mesh.client(tenant.token) as client:
            await connect(client, tenant.workspace)


async def connect(client: Client, workspace: str) -> None:
    """Connects a workspace to the mirror: its user is called as it is."""
    session = await client.connect.CreateConnectSession(
        connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{workspace}",
            integration=f"integrations/{SLUG}",
            connection_id="same",
            display_name=workspace,
        )
    )
    values = Struct()
    values.update({"username": workspace, "password": "the same"})
    await client.connect.SubmitConnectSession(connecting.SubmitConnectSessionRequest(name=session.name, values=values))


def readers_of(stubs: dict[str, Stubs], workspace: str) -> dict[str, Read]:
    """Returns what reads at each service for a workspace."""
    name = f"workspaces/{workspace}/connections/same"

    async def connection() -> object:
        request = connections.GetConnectionRequest(name=name)
        return (await stubs["auth"].connections.GetConnection(request, timeout=DEADLINE)).display_name

    async def catalogs() -> object:
        request = catalog.ListIntegrationsRequest(page_size=1000)
        found = await stubs["catalog"].catalog.ListIntegrations(request, timeout=DEADLINE)
        private = [each.name.removeprefix("integrations/") for each in found.integrations if "--" in each.name]
        return ", ".join(slug.removesuffix("--tool") for slug in private)

    async def flag() -> object:
        answer = await stubs["flags"].flags.EvaluateFlag(flags.EvaluateFlagRequest(name=FLAG), timeout=DEADLINE)
        return answer.value.string_value

    async def form() -> object:
        request = forms.GetFormRequest(name=f"integrations/{workspace}--tool/forms/action.me")
        return (await stubs["uqi"].forms.GetForm(request, timeout=DEADLINE)).name.split("/")[1].removesuffix("--tool")

    async def call() -> object:
        request = proxy.ExecuteRequest(connection=name, action="me")
        answer = await stubs["proxy"].proxy.Execute(request, timeout=DEADLINE)
        return dict(answer.output.struct_value)["user"]

    return {"connection": connection, "catalog": catalogs, "flag": flag, "form": form, "vendor's answer": call}


async def settled(readers: Readers) -> None:
    """Returns once each workspace reads something of its own everywhere: a rollout takes moments to arrive."""
    for (what, workspace), read in readers.items():

        async def own(read: Read = read, workspace: str = workspace) -> bool:
            try:
                return await read() == workspace
            except Exception:
                return False

        await until(own, f"{workspace} to read its {what}")


async def test_nobody_gets_what_a_service_remembers_for_another(desk: Desk) -> None:
    mesh: RunningMesh = desk.mesh
    tenants = [await desk.tenant() for _ in range(4)]
    async with a_mirror() as url, contextlib.AsyncExitStack() as stack:
        await set_up(desk, tenants, url)
        readers: Readers = {}
        for tenant in tenants:
            services = ("auth", "catalog", "flags", "uqi", "proxy")
            channels = {each: mesh.channel(each, "envoy", tenant.token) for each in services}
            stubs = {each: Stubs(await stack.enter_async_context(channel)) for each, channel in channels.items()}
            for what, read in readers_of(stubs, tenant.workspace).items():
                readers[what, tenant.workspace] = read
        await settled(readers)
        begun = time.monotonic()
        done, mixed = await hammer(readers, READS)
    print(f"\n{READS} reads in {time.monotonic() - begun:.0f} s: {dict(done)}; {len(mixed)} of another workspace")
    assert mixed == []
    assert sum(done.values()) == READS
