"""The `cordboard` command."""

from __future__ import annotations

import typer

from cordboard.cli import options
from cordboard.cli.commands import Commands
from cordboard.cli.failures import EXIT_CODE_HELP


def application() -> typer.Typer:
    """Returns the command with all of its parts."""
    app = typer.Typer(
        name="cordboard",
        cls=Commands,
        no_args_is_help=True,
        add_completion=True,
        epilog=EXIT_CODE_HELP,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_show_locals=False,
    )
    app.callback()(options.top_level)
    return app


def main() -> None:
    """Runs the command."""
    application()()


if __name__ == "__main__":
    main()
