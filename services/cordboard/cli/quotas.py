"""What is used of vendors' limits."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.catalog.v1 import definition_pb2
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, moment, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.proxy.v1 import quota_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Look at what is used of vendors' limits.")


@app.command("list")
def list_quotas(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    integration: Annotated[str, typer.Option("--integration", help="Only those of this integration.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List the limits that a workspace draws on and has used within their window."""

    async def work() -> None:
        slug = integration.removeprefix("integrations/")
        request = pb.ListQuotasRequest(
            parent=f"workspaces/{workspace}", integration=f"integrations/{slug}" if slug else ""
        )
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.quotas.ListQuotas, request)
        columns = ("integration", "of", "action", "limit", "in", "used", "by this workspace", "held until")
        rows = [
            (
                one.integration.partition("/")[2],
                _scope(one),
                one.action,
                one.limit,
                f"{one.window.ToTimedelta().total_seconds():g} s",
                one.used,
                one.own_used,
                moment(one.held_until) if one.HasField("held_until") else "",
            )
            for one in found
        ]
        show_rows(output, found, columns, rows)

    run(work)


def _scope(one: pb.QuotaUse) -> str:
    kind = definition_pb2.RateLimitScope.Name(one.scope).removeprefix("RATE_LIMIT_SCOPE_").lower()
    own = one.owner.rpartition("/connections/")[2] if "/connections/" in one.owner else ""
    return f"{kind} {own}".rstrip()
