"""Who is told of events."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cordboard.cli.calls import connection_name
from cordboard.cli.jobs import full_name, short
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, moment, plain, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client.paging import list_all
from cordboard.core.times import to_duration
from cordboard.proxy.v1 import subscription_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Have events handed on: to a URL, or to whoever reads them.")
dead = typer.Typer(no_args_is_help=True, help="Events that could not be handed on.")
app.add_typer(dead, name="dead")

Name = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="WORKSPACE/ID, or the whole resource name.")]
Offsets = Annotated[list[int] | None, typer.Argument(help="The offsets of events; all when none is given.")]
COLLECTION = "subscriptions"


@app.command("create")
def create(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    subscription: Annotated[str, typer.Argument(help="Its id.")],
    url: Annotated[str, typer.Option(help="Send events to this https URL; without it they are read.")] = "",
    nats: Annotated[bool, typer.Option("--nats", help="Send events to the mesh's NATS JetStream.")] = False,
    kind: Annotated[list[str] | None, typer.Option("--type", help="Only this CloudEvents type, or 'prefix.*'.")] = None,
    connection: Annotated[list[str] | None, typer.Option(help="Only events of WORKSPACE/CONNECTION.")] = None,
    max_attempts: Annotated[int, typer.Option(help="How often an event is told before it is given up.")] = 0,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest event.")] = False,
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Create a subscription. The secret that webhooks are signed with is shown once."""

    async def work() -> None:
        wanted = pb.Subscription(
            types=kind or [],
            connections=[connection_name(each) for each in connection or []],
            max_attempts=max_attempts,
        )
        if url:
            wanted.webhook.url = url
        if nats:
            wanted.nats.SetInParent()
        request = pb.CreateSubscriptionRequest(
            parent=f"workspaces/{workspace}",
            subscription_id=subscription,
            subscription=wanted,
            from_beginning=from_beginning,
        )
        async with as_workspace(target(context), workspace, environment) as mesh:
            made = await mesh.subscriptions.CreateSubscription(request)
        shown = _fields(made.subscription) | ({"secret": made.secret} if made.secret else {})
        show_fields(output, made, shown)

    run(work)


@app.command("list")
def list_subscriptions(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's subscriptions, and how far each is."""

    async def work() -> None:
        request = pb.ListSubscriptionsRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.subscriptions.ListSubscriptions, request)
        show_rows(
            output,
            found,
            ("subscription", "target", "acknowledged", "behind", "given up"),
            (
                (
                    short(each.name),
                    _target(each),
                    str(each.acknowledged_offset),
                    str(each.last_offset - each.acknowledged_offset),
                    str(each.dead_count),
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show a subscription, and how far it is."""

    async def work() -> None:
        request = pb.GetSubscriptionRequest(name=full_name(name, COLLECTION))
        async with as_operator(target(context)) as mesh:
            found = await mesh.subscriptions.GetSubscription(request)
        show_fields(output, found, _fields(found))

    run(work)


@app.command("delete")
def delete(context: typer.Context, name: Name) -> None:
    """Delete a subscription with what it was not told yet."""

    async def work() -> None:
        request = pb.DeleteSubscriptionRequest(name=full_name(name, COLLECTION))
        async with as_operator(target(context)) as mesh:
            await mesh.subscriptions.DeleteSubscription(request)

    run(work)


@app.command("rotate-secret")
def rotate_secret(
    context: typer.Context,
    name: Name,
    overlap: Annotated[
        float, typer.Option(help="For so many hours webhooks are signed with the secret before as well.")
    ] = 24.0,
    output: Output = Format.TABLE,
) -> None:
    """Make a new secret for a subscription's webhooks. It is shown once."""

    async def work() -> None:
        request = pb.RotateSubscriptionSecretRequest(name=full_name(name, COLLECTION))
        request.overlap.CopyFrom(to_duration(overlap * 3600))
        async with as_operator(target(context)) as mesh:
            made = await mesh.subscriptions.RotateSubscriptionSecret(request)
        show_fields(output, made, {"secret": made.secret, "the one before until": moment(made.previous_expire_time)})

    run(work)


@app.command("seek")
def seek(
    context: typer.Context,
    name: Name,
    offset: Annotated[int, typer.Argument(help="The event after this one comes next; 0: the oldest.")],
    output: Output = Format.TABLE,
) -> None:
    """Have a subscription go on after an offset: what is kept since then is told again."""

    async def work() -> None:
        request = pb.SeekSubscriptionRequest(name=full_name(name, COLLECTION), offset=offset)
        async with as_operator(target(context)) as mesh:
            found = await mesh.subscriptions.SeekSubscription(request)
        show_fields(output, found, _fields(found))

    run(work)


@app.command("read")
def read(
    context: typer.Context,
    name: Name,
    count: Annotated[int, typer.Option("--count", "-n", help="Stop after so many; 0: never.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Acknowledge nothing: the events are told again.")] = False,
) -> None:
    """Print events as they come, one JSON object on a line, and acknowledge each."""

    async def work() -> None:
        full = full_name(name, COLLECTION)
        seen = 0
        async with as_operator(target(context)) as mesh:
            async for told in mesh.subscriptions.Subscribe(pb.SubscribeRequest(name=full)):
                event = plain(told.event)
                event["data"] = json.loads(told.event.data_json)
                event.pop("data_json", None)
                typer.echo(json.dumps(event))
                if not keep:
                    request = pb.AcknowledgeEventsRequest(name=full, offsets=[told.event.offset])
                    await mesh.subscriptions.AcknowledgeEvents(request)
                seen += 1
                if seen == count:
                    return

    run(work)


@dead.command("list")
def list_dead(
    context: typer.Context,
    name: Name,
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.")] = 50,
    output: Output = Format.TABLE,
) -> None:
    """List the events that could not be handed on, oldest first."""

    async def work() -> None:
        request = pb.ListDeadEventsRequest(parent=full_name(name, COLLECTION), page_size=count)
        async with as_operator(target(context)) as mesh:
            found = (await mesh.subscriptions.ListDeadEvents(request)).dead_events
        show_rows(
            output,
            found,
            ("event", "type", "id", "attempts", "reason"),
            ((short(one.event.name), one.event.type, one.event.id, str(one.attempts), one.reason) for one in found),
        )

    run(work)


@dead.command("replay")
def replay(context: typer.Context, name: Name, offsets: Offsets = None) -> None:
    """Try again to hand events on."""

    async def work() -> None:
        request = pb.ReplayDeadEventsRequest(name=full_name(name, COLLECTION), offsets=offsets or [])
        async with as_operator(target(context)) as mesh:
            done = await mesh.subscriptions.ReplayDeadEvents(request)
        typer.echo(f"{done.replayed_count} are told again")

    run(work)


@dead.command("discard")
def discard(context: typer.Context, name: Name, offsets: Offsets = None) -> None:
    """Give events up."""

    async def work() -> None:
        request = pb.DiscardDeadEventsRequest(name=full_name(name, COLLECTION), offsets=offsets or [])
        async with as_operator(target(context)) as mesh:
            done = await mesh.subscriptions.DiscardDeadEvents(request)
        typer.echo(f"{done.discarded_count} were given up")

    run(work)


def _target(found: pb.Subscription) -> str:
    if found.HasField("nats"):
        return "NATS"
    return found.webhook.url if found.HasField("webhook") else "read"


def _fields(found: pb.Subscription) -> dict[str, object]:
    return {
        "subscription": found.name,
        "target": _target(found),
        "types": ", ".join(found.types) or "all",
        "connections": ", ".join(found.connections) or "all",
        "acknowledged": found.acknowledged_offset,
        "last event": found.last_offset,
        "given up": found.dead_count,
        "waits until": found.resume_time.ToJsonString() if found.HasField("resume_time") else "",
    }
