// Experiments: what came of each variant, and how sure that is.

import type { JSX } from "preact";
import { ExperimentState, MetricKind, Verdict } from "../../gen/cordboard/flags/v1/experiment_service_pb.ts";
import type {
  ArmResult,
  Experiment,
  Interval,
  Metric,
  MetricResult,
} from "../../gen/cordboard/flags/v1/experiment_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Mark, Panel, everything } from "../parts.tsx";
import type { Mood } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, count, last, when, word } from "../say.ts";
import { Table } from "../table.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 10;
const MOODS: Partial<Record<Verdict, Mood>> = { [Verdict.BETTER]: "good", [Verdict.WORSE]: "bad" };

/** Shows the experiments, and the one that the address names. */
export function Experiments({ route }: { route: Route }): JSX.Element {
  return route.id ? <One name={`experiments/${route.id}`} /> : <Every />;
}

function Every(): JSX.Element {
  const mesh = useMesh();
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.experiments.listExperiments({ pageSize: PAGE, pageToken }),
        (page) => page.experiments,
      ),
    [],
    EVERY_SECONDS,
  );
  return (
    <Panel title="Experiments">
      <Asked of={found}>
        {(rows) => (
          <Table
            label="Experiments"
            rows={rows}
            keyOf={(row) => row.name}
            empty="There is none. `cordboard experiment start` begins one."
            columns={[
              { title: "Experiment", cell: (row) => <a href={to("experiments", last(row.name))}>{last(row.name)}</a> },
              { title: "Flag", cell: (row) => <a href={to("flags", "", { flag: last(row.flag) })}>{last(row.flag)}</a> },
              { title: "What is expected", cell: (row) => row.hypothesis },
              { title: "Decides", cell: (row) => named(row.primaryMetric) },
              { title: "Since", width: 16, cell: (row) => ago(row.createTime) },
              { title: "State", width: 12, cell: (row) => <State of={row} /> },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

function State({ of }: { of: Experiment }): JSX.Element {
  const mood = of.state === ExperimentState.RUNNING ? "good" : of.state === ExperimentState.WAITING ? "warn" : "plain";
  return <Mark mood={mood}>{word(ExperimentState, of.state)}</Mark>;
}

function One({ name }: { name: string }): JSX.Element {
  const mesh = useMesh();
  const found = useLive(() => mesh.experiments.getExperiment({ name }), [name], EVERY_SECONDS);
  return (
    <Asked of={found}>
      {(experiment) => (
        <>
          <Panel title={last(name)} aside={<a href={to("experiments")}>All experiments</a>}>
            <p>{experiment.hypothesis}</p>
            <p>
              <State of={experiment} /> since {when(experiment.createTime)} by {experiment.creator}, with{" "}
              <a href={to("flags", "", { flag: last(experiment.flag) })}>{last(experiment.flag)}</a>, rule{" "}
              {experiment.rule}; compared with <b>{experiment.control}</b> {experiment.stopReason}{" "}
              {experiment.state !== ExperimentState.STOPPED && <Stop experiment={experiment} done={found.again} />}
            </p>
            <Counted experiment={experiment} />
          </Panel>
          {experiment.results?.metrics.map((each, index) => (
            <Measured key={index} result={each} isPrimary={index === 0} control={experiment.control} />
          ))}
        </>
      )}
    </Asked>
  );
}

function Stop({ experiment, done }: { experiment: Experiment; done: () => void }): JSX.Element {
  const mesh = useMesh();
  return (
    <Act
      label="Stop"
      asks="It counts nobody any more. Its results stay, and who gets what stays as it is."
      typed={last(experiment.name)}
      reason="required"
      isDangerous
      act={async (reason) => {
        await mesh.experiments.stopExperiment({ name: experiment.name, reason });
        done();
      }}
    />
  );
}

function Counted({ experiment }: { experiment: Experiment }): JSX.Element {
  const { results, arms } = experiment;
  if (!results) return <p class="empty">Nobody was counted yet.</p>;
  return (
    <>
      <p>
        {arms.map((arm, index) => `${arm.variant}: ${count(results.subjects[index] ?? 0n)} workspaces`).join(" · ")}
        {results.crossedSubjects > 0n && ` · ${count(results.crossedSubjects)} got more than one and count nowhere`}
      </p>
      {results.ratioMismatch && (
        <p class="problem">
          The shares are not those of the flag (p = {results.ratioPValue.toPrecision(2)}): the results mean nothing.
        </p>
      )}
    </>
  );
}

function Measured(given: { result: MetricResult; isPrimary: boolean; control: string }): JSX.Element {
  const { arms, metric } = given.result;
  // The furthest end of any interval, so that all lie on one scale.
  const furthest = Math.max(...arms.flatMap(({ alwaysValid }) => [alwaysValid?.lower ?? 0, alwaysValid?.upper ?? 0].map(Math.abs)));
  const title = `${named(metric)}${given.isPrimary ? ", which decides" : ", which may not get worse"}`;
  return (
    <Panel title={title}>
      <Table
        label={named(metric)}
        rows={arms}
        keyOf={(row) => row.variant}
        empty="Nothing was measured yet."
        columns={[
          { title: "Variant", cell: (row) => row.variant },
          { title: "Workspaces", width: 13, isFigure: true, cell: (row) => count(row.subjects) },
          { title: "Mean", width: 12, isFigure: true, cell: (row) => row.mean.toPrecision(4) },
          { title: "Difference", width: 13, isFigure: true, cell: (row) => (row.alwaysValid ? signed(row.difference) : "") },
          { title: "Whenever one looks", width: 24, isFigure: true, cell: (row) => ends(row.alwaysValid) },
          { title: "At one look", width: 24, isFigure: true, cell: (row) => ends(row.fixedHorizon) },
          { title: `Around ${given.control}`, cell: (row) => <Drawn arm={row} furthest={furthest} /> },
          {
            title: "So it is",
            width: 14,
            cell: (row) => (
              <Mark mood={MOODS[row.verdict] ?? "plain"}>
                {row.variant === given.control ? "the control" : row.verdict === Verdict.OPEN ? "not known yet" : word(Verdict, row.verdict)}
              </Mark>
            ),
          },
        ]}
      />
    </Panel>
  );
}

/** Draws the interval whenever one looks, and the mean in it, around no difference. */
function Drawn({ arm, furthest }: { arm: ArmResult; furthest: number }): JSX.Element {
  const { alwaysValid: interval } = arm;
  if (!interval || interval.lower >= interval.upper || furthest === 0) return <></>;
  const x = (value: number) => 100 + (value / (furthest * 1.1)) * 100;
  const said = `${ends(interval)}, around no difference`;
  return (
    <svg class="interval" viewBox="0 0 200 20" preserveAspectRatio="none" role="img" aria-label={said}>
      <line class="none" x1={100} x2={100} y1={0} y2={20} />
      <line class="reach" x1={x(interval.lower)} x2={x(interval.upper)} y1={10} y2={10} />
      <line class="mean" x1={x(arm.difference)} x2={x(arm.difference)} y1={4} y2={16} />
    </svg>
  );
}

function ends(interval: Interval | undefined): string {
  return interval && interval.lower < interval.upper ? `${signed(interval.lower)} to ${signed(interval.upper)}` : "";
}

function signed(value: number): string {
  return `${value >= 0 ? "+" : ""}${value.toPrecision(3)}`;
}

function named(metric: Metric | undefined): string {
  if (!metric) return "";
  const { kind, event } = metric;
  if (kind === MetricKind.CALL_FAILURES) return "share of calls that fail";
  if (kind === MetricKind.CALL_MILLISECONDS) return "milliseconds of calls";
  return kind === MetricKind.TOTAL ? `${event}, added up` : `share with ${event}`;
}
