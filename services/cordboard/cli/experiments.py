"""Experiments: begin, look, end, and take the figures along."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import Annotated

import typer

from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, console, moment, plain, show_fields, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client import Client
from cordboard.client.paging import list_all
from cordboard.flags.v1 import experiment_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Compare the variants that a flag gives to shares of the workspaces.")
Key = Annotated[str, typer.Argument(help="The experiment's key.")]

_CALLS = {"calls.failures": pb.METRIC_KIND_CALL_FAILURES, "calls.milliseconds": pb.METRIC_KIND_CALL_MILLISECONDS}
_EVENTS = {"conversion": pb.METRIC_KIND_CONVERSION, "total": pb.METRIC_KIND_TOTAL}
_METRIC_HELP = (
    "EVENT (the share of workspaces for which it was tracked), EVENT:total (its values added up), calls.failures or "
    "calls.milliseconds; with `:down` at the end where less is better."
)


class Export(StrEnum):
    """How to export."""

    CSV = "csv"
    JSON = "json"


@app.command("start")
def start(
    context: typer.Context,
    key: Key,
    flag: Annotated[str, typer.Option(help="The flag's key; a rollout's flag has the rollout's key.")],
    hypothesis: Annotated[str, typer.Option(help="What is expected, and why.")],
    metric: Annotated[str, typer.Option(help=f"What decides: {_METRIC_HELP}")],
    guard_metric: Annotated[list[str] | None, typer.Option(help="What may not get worse. Repeatable.")] = None,
    control: Annotated[str, typer.Option(help="The variant to compare with. Default: the flag's default.")] = "",
    rule: Annotated[int, typer.Option(help="The number of the rule that divides. Default: the only one.", min=0)] = 0,
    expect: Annotated[int, typer.Option(help="How many workspaces are expected in all.")] = 1_000,
    false_alarm: Annotated[float, typer.Option(help="The percentage of false findings to put up with.")] = 5.0,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Begin an experiment with a flag as it is. It changes nothing of who gets what."""
    experiment = pb.Experiment(
        name=f"experiments/{key}",
        flag=f"flags/{flag}",
        rule=rule,
        hypothesis=hypothesis,
        control=control,
        primary_metric=_metric(metric),
        guard_metrics=[_metric(each) for each in guard_metric or []],
        expected_subjects=expect,
        false_alarm_percent=false_alarm,
    )

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.StartExperimentRequest(experiment=experiment, reason=reason)
            _show(output, await mesh.experiments.StartExperiment(request))

    run(work)


@app.command("list")
def list_experiments(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List experiments."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found: list[pb.Experiment] = await list_all(mesh.experiments.ListExperiments, pb.ListExperimentsRequest())
        rows = (
            (_bare(each.name), _bare(each.flag), _named(each.primary_metric), _state(each), moment(each.create_time))
            for each in found
        )
        show_rows(output, found, ("key", "flag", "metric", "state", "since"), rows)

    run(work)


@app.command("show")
def show(context: typer.Context, key: Key, output: Output = Format.TABLE) -> None:
    """Show an experiment with its results so far, at which anybody may look at any time."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.GetExperimentRequest(name=f"experiments/{key}")
            _show(output, await mesh.experiments.GetExperiment(request))

    run(work)


@app.command("stop")
def stop(
    context: typer.Context,
    key: Key,
    reason: Annotated[str, typer.Option("--reason", help="Why, such as what was decided.")],
    output: Output = Format.TABLE,
) -> None:
    """End an experiment. Its results stay, and who gets what stays as it is."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.StopExperimentRequest(name=f"experiments/{key}", reason=reason)
            _show(output, await mesh.experiments.StopExperiment(request))

    run(work)


@app.command("export")
def export(
    context: typer.Context,
    key: Key,
    format: Annotated[Export, typer.Option("--format", help="csv or json.")] = Export.CSV,  # noqa: A002
) -> None:
    """Write what is known of each workspace to standard output: what the results were reckoned from."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            name = f"experiments/{key}"
            experiment = await mesh.experiments.GetExperiment(pb.GetExperimentRequest(name=name))
            subjects = await _subjects(mesh, name)
        if format is Export.JSON:
            show_json({"experiment": plain(experiment), "subjects": [plain(each) for each in subjects]})
            return
        metrics = [_named(each) for each in (experiment.primary_metric, *experiment.guard_metrics)]
        writer = csv.writer(sys.stdout, lineterminator="\n")
        measured = (f"{metric} {part}" for metric in metrics for part in ("count", "total"))
        writer.writerow(["workspace", "variant", "time", *measured])
        for each in subjects:
            values = (value for found in each.measurements for value in (found.count, found.total))
            writer.writerow(
                [each.name.rpartition("/")[2], "+".join(each.variants), each.expose_time.ToJsonString(), *values]
            )

    run(work)


async def _subjects(mesh: Client, name: str) -> list[pb.ExperimentSubject]:
    return await list_all(mesh.experiments.ListExperimentSubjects, pb.ListExperimentSubjectsRequest(parent=name))


def _metric(given: str) -> pb.Metric:
    text = given.removesuffix(":down")
    decrease = text != given
    if text in _CALLS:
        return pb.Metric(kind=_CALLS[text], decrease=True)
    event, _, kind = text.partition(":")
    if kind and kind not in _EVENTS:
        raise typer.BadParameter(f"{given!r} is not {_METRIC_HELP}")
    return pb.Metric(kind=_EVENTS[kind or "conversion"], event=event, decrease=decrease)


def _named(metric: pb.Metric) -> str:
    names = {number: name for name, number in _CALLS.items()}
    if metric.kind in names:
        return names[metric.kind]
    total = ":total" if metric.kind == pb.METRIC_KIND_TOTAL else ""
    return f"{metric.event}{total}{':down' if metric.decrease else ''}"


def _bare(name: str) -> str:
    return name.partition("/")[2]


def _state(experiment: pb.Experiment) -> str:
    return pb.ExperimentState.Name(experiment.state).removeprefix("EXPERIMENT_STATE_").lower()


def _show(output: Format, experiment: pb.Experiment) -> None:
    results = experiment.results
    arms = ", ".join(f"{arm.variant} {arm.weight}" for arm in experiment.arms)
    show_fields(
        output,
        experiment,
        {
            "experiment": _bare(experiment.name),
            "flag": f"{_bare(experiment.flag)}, rule {experiment.rule} of revision {experiment.flag_revision}",
            "hypothesis": experiment.hypothesis,
            "shares": f"{arms}; compared with {experiment.control}",
            "state": _state(experiment) + (f": {experiment.stop_reason}" if experiment.stop_reason else ""),
            "workspaces": ", ".join(
                f"{arm.variant} {count}" for arm, count in zip(experiment.arms, results.subjects, strict=False)
            ),
            "crossed over": results.crossed_subjects or "",
        },
    )
    if output is Format.JSON or not experiment.HasField("results"):
        return
    if results.ratio_mismatch:
        text = f"the shares are not those of the flag (p = {results.ratio_p_value:.2g}): the results mean nothing"
        console.print(text, style="red")
    rows = (
        (
            _named(found.metric),
            arm.variant,
            arm.subjects,
            f"{arm.mean:.4g}",
            f"{arm.difference:+.4g}" if arm.HasField("always_valid") else "",
            _interval(arm.always_valid),
            _interval(arm.fixed_horizon),
            pb.Verdict.Name(arm.verdict).removeprefix("VERDICT_").lower() if arm.verdict else "control",
        )
        for found in results.metrics
        for arm in found.arms
    )
    columns = ("metric", "variant", "workspaces", "mean", "difference", "at any time", "at one look", "verdict")
    show_rows(output, results.metrics, columns, rows)


def _interval(found: pb.Interval) -> str:
    return f"{found.lower:+.4g} to {found.upper:+.4g}" if found.lower < found.upper else ""
