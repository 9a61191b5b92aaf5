"""The `cordboard` command: what there is, in groups."""

from __future__ import annotations

import typer

from cordboard.cli import (
    alerts,
    audit,
    backends,
    breakers,
    calls,
    catalog,
    check,
    connections,
    console_page,
    dead_letters,
    doctor,
    drift,
    edges,
    events,
    experiments,
    flag_consumers,
    flag_review,
    flags,
    forms,
    governance,
    incident,
    jobs,
    keys,
    login,
    mesh,
    options,
    publishing,
    rates,
    remote,
    revoke,
    rollouts,
    schedules,
    segments,
    sources,
    traces,
    try_page,
    vault,
    workspaces,
)
from cordboard.cli.demo import command as demo
from cordboard.cli.failures import EXIT_CODE_HELP

MESH, CATALOG, USE, OPERATE = "The mesh on this machine", "Integrations", "Using them", "Operating"


def application() -> typer.Typer:
    """Returns the command with all of its parts."""
    app = typer.Typer(
        name="cordboard",
        no_args_is_help=True,
        add_completion=True,
        epilog=EXIT_CODE_HELP,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_show_locals=False,
    )
    app.callback()(options.top_level)
    for command in (demo.demo, mesh.up, mesh.down, mesh.status, mesh.logs, doctor.doctor):
        app.command(rich_help_panel=MESH)(command)
    app.command("publish", rich_help_panel=CATALOG)(publishing.publish)
    catalog.app.command("publish")(publishing.publish)
    catalog.app.command("validate")(publishing.validate)
    governance.add_to(catalog.app)
    catalog.app.command("drift")(drift.drift)
    app.command("check", rich_help_panel=CATALOG)(check.check)
    app.command("import", rich_help_panel=CATALOG)(publishing.import_openapi)
    app.add_typer(catalog.app, name="integrations", hidden=True)
    app.add_typer(catalog.app, name="catalog", rich_help_panel=CATALOG)
    app.command("oauth-client", rich_help_panel=CATALOG)(connections.set_oauth_client)
    app.command("form", rich_help_panel=CATALOG)(forms.form)
    app.command("forms", rich_help_panel=CATALOG)(forms.forms)
    app.add_typer(workspaces.app, name="workspaces", rich_help_panel=USE)
    app.command("token", rich_help_panel=USE)(workspaces.token)
    app.add_typer(keys.app, name="keys", rich_help_panel=USE)
    app.command("connect", rich_help_panel=USE)(connections.connect)
    app.add_typer(connections.app, name="connections", rich_help_panel=USE)
    app.command("call", rich_help_panel=USE)(calls.call)
    app.command("try", rich_help_panel=USE)(try_page.open_page)
    app.add_typer(calls.app, name="calls", rich_help_panel=USE)
    later = {"jobs": jobs.app, "schedules": schedules.app, "dead-letters": dead_letters.app, "events": events.app}
    for name, area in later.items():
        app.add_typer(area, name=name, rich_help_panel=USE)
    flag_review.add_to(flags.app)
    flag_consumers.add_to(flags.app)
    areas = {
        "backends": backends.app,
        "breakers": breakers.app,
        "flag": flags.app,
        "rollout": rollouts.app,
        "segment": segments.app,
        "experiments": experiments.app,
        "vault": vault.app,
        "audit": audit.app,
        "revoke": revoke.app,
        "signing-keys": keys.signing,
        "incident": incident.app,
        "sources": sources.app,
        "edges": edges.app,
    }
    for name, area in areas.items():
        app.add_typer(area, name=name, rich_help_panel=OPERATE)
    for watched in (rates.top, rates.health, rates.rates, rates.usage):
        app.command(rich_help_panel=OPERATE)(watched)
    app.add_typer(alerts.app, name="alerts", rich_help_panel=OPERATE)
    app.add_typer(traces.app, name="trace", rich_help_panel=OPERATE)
    app.command("login", rich_help_panel=OPERATE)(login.login)
    app.command("logout", rich_help_panel=OPERATE)(login.logout)
    app.command("console", rich_help_panel=OPERATE)(console_page.console)
    app.add_typer(remote.app, name="profile", rich_help_panel=OPERATE)
    return app


def main() -> None:
    """Runs the command."""
    application()()


if __name__ == "__main__":
    main()
