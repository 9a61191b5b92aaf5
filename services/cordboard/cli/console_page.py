"""The operators' console: where it is, and a way in."""

from __future__ import annotations

import asyncio
import webbrowser
from datetime import UTC
from typing import Annotated

import typer

from cordboard.auth.v1 import login_service_pb2 as pb
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, errors, show_json
from cordboard.cli.session import endpoint, run


def console(
    context: typer.Context,
    browser: Annotated[
        bool, typer.Option(help="Open it in a browser on this machine. Otherwise its address is printed.")
    ] = True,
    output: Output = Format.TABLE,
) -> None:
    """Open the console, signed in as the operator that this command is; its address works once, within five minutes."""

    async def work() -> None:
        found = await endpoint(target(context))
        async with found.client() as mesh:
            made = await mesh.login.InviteBrowser(pb.InviteBrowserRequest())
        # What follows the `#` goes to no server and into no log; the page takes it out of the address.
        url = f"https://{found.address}/console#code={made.code}"
        if output is Format.JSON:
            show_json({"url": url, "expireTime": made.expire_time.ToDatetime(tzinfo=UTC).isoformat()})
            return
        if not (browser and await asyncio.to_thread(webbrowser.open, url)):
            errors.print("open this address in a browser; it works once, within five minutes:", highlight=False)
            # On a line of its own, unwrapped: people copy it, and programs read it.
            typer.echo(url)

    run(work)
