"""How forms look, changed on a page in a browser: `cordboard design`."""

from __future__ import annotations

import asyncio
import os
import signal
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cordboard.cli.check import definition_files
from cordboard.cli.failures import USAGE, CommandFailed
from cordboard.cli.options import Output
from cordboard.cli.output import Format, errors, show_json
from cordboard.cli.session import run


def design(
    paths: Annotated[list[Path], typer.Argument(help="Folders of definitions, or single files.")],
    port: Annotated[int, typer.Option(help="The port to serve the page on. Default: a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Change how forms look on a page in a browser, with a preview, and save it into the definitions. Needs no mesh.

    The page is for this machine alone, and is there until the command ends.
    """

    async def work() -> None:
        # Imported here: it takes a while, and `--help` needs none of it.
        from cordboard.designer.server import serving
        from cordboard.designer.workbench import Workbench

        files = list(dict.fromkeys(path for given in paths for path in definition_files(given)))
        if not files:
            raise CommandFailed("there is no definition (*.yaml, *.yml, *.json) to open", USAGE)
        common = Path(os.path.commonpath([path.resolve().parent for path in files]))
        names = {str(path.resolve().relative_to(common)): path for path in files}
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # Python leaves SIGINT out where it was begun in the background, and ends without closing at a SIGTERM.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _end, ended, number)
        try:
            async with serving(Workbench(names), port) as url:
                if output is Format.JSON:
                    show_json({"url": url, "files": list(names)})
                else:
                    errors.print(
                        "Open this page; give the link to nobody, for it can change these files. Ctrl+C ends it."
                    )
                    typer.echo(url)
                if browser:
                    await asyncio.to_thread(webbrowser.open, url)
                raise typer.Exit(128 + await ended)
        except OSError as error:
            raise CommandFailed(f"port {port} cannot be used: {(error.strerror or str(error)).lower()}") from None

    run(work)


def _end(ended: asyncio.Future[int], number: int) -> None:
    if not ended.done():
        ended.set_result(number)
