"""Who follows the flags, and how far each is."""

from __future__ import annotations

import typer

from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.flags.v1 import consumer_service_pb2 as pb


def add_to(app: typer.Typer) -> None:
    """Adds the command to those of flags."""
    app.command("consumers")(consumers)


def consumers(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List who follows the flags: services, edges and clients' streams, which change each has, and how old that is."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found: list[pb.FlagConsumer] = await list_all(
                mesh.flag_consumers.ListFlagConsumers, pb.ListFlagConsumersRequest()
            )
        show_rows(
            output,
            found,
            ("consumer", "kind", "protocol", "workspace", "has", "of", "age"),
            (
                (
                    each.name.partition("/")[2],
                    pb.FlagConsumer.Kind.Name(each.kind).removeprefix("KIND_").lower(),
                    each.protocol,
                    each.workspace,
                    each.sequence or "older",
                    each.newest_sequence,
                    f"{each.age.ToTimedelta().total_seconds():.0f} s" if each.HasField("age") else "not known",
                )
                for each in found
            ),
        )

    run(work)
