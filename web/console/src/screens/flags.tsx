// Flags and rollouts: how far something reaches, how to stop it at once, what it was before, and how to go back.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Choice } from "../../gen/cordboard/flags/v1/choice_service_pb.ts";
import type { Flag, FlagRevision } from "../../gen/cordboard/flags/v1/flag_service_pb.ts";
import { OptIn } from "../../gen/cordboard/flags/v1/rollout_service_pb.ts";
import type { Comparison, Rollout, Stage } from "../../gen/cordboard/flags/v1/rollout_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Filter, Mark, Panel, everything } from "../parts.tsx";
import { narrow, to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, count, last, share, when } from "../say.ts";
import { Table } from "../table.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 5;
// Flags that say what workspaces have chosen, which nobody changes here, and those that they choose about.
const CHOICES = "choice.";
const CHOOSABLE = "integration.";
const LEFT = {
  [OptIn.UNSPECIFIED]: "",
  [OptIn.REACHED]: "Whoever it reaches has it once they switch it on themselves.",
  [OptIn.EARLY]: "Those whose share has not come yet may switch it on themselves.",
};

/** Shows flags and rollouts, and the one that is chosen. */
export function Flags({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const wanted = (route.query.get("q") ?? "").toLowerCase();
  const flags = useLive(
    () =>
      everything(
        (pageToken) => mesh.flags.listFlags({ pageSize: PAGE, pageToken }),
        (page) => page.flags,
      ),
    [],
    EVERY_SECONDS,
  );
  const rollouts = useLive(
    async () => (await mesh.rollouts.listRollouts({ pageSize: PAGE })).rollouts,
    [],
    EVERY_SECONDS,
  );
  const rollout = rollouts.value?.find((each) => last(each.name) === route.query.get("rollout"));
  const flag = flags.value?.find((each) => last(each.name) === route.query.get("flag"));
  return (
    <>
      <div class="filters">
        <Filter route={route} name="q" label="Name has" />
      </div>
      {rollout && <OneRollout key={rollout.name} rollout={rollout} route={route} done={rollouts.again} />}
      {flag && <OneFlag key={flag.name} flag={flag} route={route} done={flags.again} />}
      <Panel title="Rollouts">
        <Asked of={rollouts}>
          {(rows) => <RolloutTable rows={rows.filter((row) => row.name.toLowerCase().includes(wanted))} />}
        </Asked>
      </Panel>
      <Panel title="Flags">
        <Asked of={flags}>
          {(rows) => (
            <Table
              label="Flags"
              rows={rows.filter((row) => row.name.toLowerCase().includes(wanted))}
              keyOf={(row) => row.name}
              empty="There is none."
              columns={[
                { title: "Flag", cell: (row) => <a href={to("flags", "", { flag: last(row.name) })}>{last(row.name)}</a> },
                { title: "What", cell: (row) => row.description },
                { title: "Otherwise", width: 14, cell: (row) => row.defaultVariant },
                { title: "Rules", width: 8, isFigure: true, cell: (row) => row.rules.length },
                { title: "Changed", width: 16, cell: (row) => ago(row.updateTime) },
                { title: "State", width: 12, cell: (row) => <Killed flag={row} /> },
                { title: "Do", width: 12, cell: (row) => <Switch flag={row} done={flags.again} /> },
              ]}
            />
          )}
        </Asked>
      </Panel>
    </>
  );
}

function Killed({ flag }: { flag: Flag }): JSX.Element {
  return flag.killed ? <Mark mood="bad">killed</Mark> : <Mark mood="good">on</Mark>;
}

function Switch({ flag, done }: { flag: Flag; done: () => void }): JSX.Element | null {
  const mesh = useMesh();
  const { name } = flag;
  if (last(name).startsWith(CHOICES)) return null;
  if (flag.killed)
    return (
      <Act
        label="Restore"
        asks="Its rules count again."
        reason="optional"
        act={async (reason) => {
          await mesh.flags.restoreFlag({ name, reason });
          done();
        }}
      />
    );
  return (
    <Act
      label="Kill"
      asks={`Everybody gets ${flag.offVariant || "what the flag gives when it is off"}, at once, whatever its rules say.`}
      typed={last(name)}
      reason="required"
      isDangerous
      act={async (reason) => {
        await mesh.flags.killFlag({ name, reason });
        done();
      }}
    />
  );
}

function OneFlag({ flag, route, done }: { flag: Flag; route: Route; done: () => void }): JSX.Element {
  const mesh = useMesh();
  const { name } = flag;
  const history = useLive(
    async () => (await mesh.flags.listFlagRevisions({ parent: name, pageSize: PAGE })).flagRevisions,
    [name, String(flag.revision)],
  );
  return (
    <Panel title={last(name)} aside={<Close route={route} name="flag" />}>
      <p>
        {flag.description} <Killed flag={flag} /> <Switch flag={flag} done={done} />
      </p>
      <h3>Who gets what</h3>
      <ol>
        {flag.rules.map((rule, index) => (
          <li key={index}>
            {[
              rule.description,
              listed("tier", rule.tiers),
              listed("workspace", rule.workspaces),
              listed("customer", rule.customers),
              listed("environment", rule.environments),
              listed("region", rule.regions),
              listed("segment", rule.segments),
              rule.optIn ? "by their own choice" : "",
            ]
              .filter(Boolean)
              .join("; ") || "everybody"}
            : <b>{rule.variant ? given(flag, rule.variant) : rule.split.map((each) => `${given(flag, each.variant)} ${each.weight}`).join(", ")}</b>
            {rule.split.length === 2 && <Slider flag={flag} rule={index} done={done} />}
          </li>
        ))}
        <li>
          otherwise: <b>{given(flag, flag.defaultVariant)}</b>
        </li>
      </ol>
      {last(name).startsWith(CHOOSABLE) && <Chosen integration={last(name).slice(CHOOSABLE.length)} />}
      <h3>History</h3>
      <Asked of={history}>{(rows) => <History flag={flag} rows={rows} done={done} />}</Asked>
    </Panel>
  );
}

/** What workspaces have chosen about an integration, whatever its flag says. */
function Chosen({ integration }: { integration: string }): JSX.Element {
  const mesh = useMesh();
  const chosen = useLive(
    () =>
      everything(
        (pageToken) => mesh.choices.searchIntegrationChoices({ integration, pageSize: PAGE, pageToken }),
        (page) => page.integrationChoices,
      ),
    [integration],
    EVERY_SECONDS,
  );
  return (
    <>
      <h3>What workspaces have chosen themselves</h3>
      <Asked of={chosen}>
        {(rows) => (
          <Table
            label="Choices"
            rows={rows}
            keyOf={(row) => `${row.name} ${row.environment}`}
            empty="Nothing."
            columns={[
              { title: "Workspace", cell: (row) => row.name.split("/")[1] },
              { title: "Environment", width: 16, cell: (row) => row.environment },
              { title: "Chosen", width: 12, cell: (row) => (row.choice === Choice.ON ? "on" : "off") },
              { title: "When", width: 22, cell: (row) => when(row.updateTime) },
              { title: "Who", cell: (row) => row.creator },
              { title: "Why", cell: (row) => row.reason },
            ]}
          />
        )}
      </Asked>
    </>
  );
}

/** Says a variant, and what it gives where that is not what it is called. */
function given(flag: Flag, variant: string): string {
  const { kind } = flag.variants[variant] ?? {};
  if (kind?.case !== "stringValue" && kind?.case !== "numberValue") return variant;
  const value = String(kind.value);
  return value === "" || value === variant ? variant : `${variant} (${value})`;
}

function listed(what: string, values: readonly string[]): string {
  return values.length ? `${what} ${values.join(", ")}` : "";
}

/** The share of a split's first variant. */
function Slider({ flag, rule, done }: { flag: Flag; rule: number; done: () => void }): JSX.Element {
  const mesh = useMesh();
  const [first, second] = flag.rules[rule]!.split;
  const whole = (first?.weight ?? 0) + (second?.weight ?? 0) || 100;
  const now = Math.round(((first?.weight ?? 0) / whole) * 100);
  const [wanted, setWanted] = useState(now);
  return (
    <span class="slider">
      <label>
        {first?.variant}{" "}
        <input
          type="range"
          min={0}
          max={100}
          value={wanted}
          onInput={(event) => setWanted(Number(event.currentTarget.value))}
        />
      </label>
      {`${wanted} %`}
      {wanted !== now && (
        <Act
          label="Set the share"
          asks={`${first?.variant} for ${wanted} % instead of ${now} %, ${second?.variant} for the others.`}
          reason="optional"
          act={async (reason) => {
            const rules = flag.rules.map((each, index) =>
              index === rule
                ? { ...each, split: [{ ...first!, weight: wanted }, { ...second!, weight: 100 - wanted }] }
                : each,
            );
            await mesh.flags.putFlag({ flag: { ...flag, rules }, reason });
            done();
          }}
        />
      )}
    </span>
  );
}

function History(given: { flag: Flag; rows: readonly FlagRevision[]; done: () => void }): JSX.Element {
  const mesh = useMesh();
  return (
    <Table
      label="History"
      rows={given.rows}
      keyOf={(row) => row.name}
      empty="There is none."
      columns={[
        { title: "No.", width: 8, isFigure: true, cell: (row) => last(row.name) },
        { title: "When", width: 22, cell: (row) => when(row.createTime) },
        { title: "Who", cell: (row) => row.creator },
        { title: "Why", cell: (row) => row.reason },
        { title: "", width: 9, cell: (row) => (row.flag?.killed ? <Mark mood="bad">killed</Mark> : "") },
        {
          title: "Do",
          width: 14,
          cell: (row) =>
            last(row.name) === String(given.flag.revision) ? (
              <span class="soft">as it is</span>
            ) : last(given.flag.name).startsWith(CHOICES) ? null : (
              <Act
                label="Go back"
                asks={`Makes the flag what it was as number ${last(row.name)}.`}
                reason="optional"
                act={async (reason) => {
                  await mesh.flags.rollbackFlag({ name: row.name, reason });
                  given.done();
                }}
              />
            ),
        },
      ]}
    />
  );
}

/** Shows how far rollouts are. */
export function RolloutTable({ rows }: { rows: readonly Rollout[] }): JSX.Element {
  return (
    <Table
      label="Rollouts"
      rows={rows}
      keyOf={(row) => row.name}
      empty="There is none."
      columns={[
        {
          title: "Rollout",
          cell: (row) => <a href={to("flags", "", { rollout: last(row.name) })}>{last(row.name)}</a>,
        },
        { title: "What", cell: (row) => row.description },
        { title: "Version", width: 11, cell: (row) => row.version },
        { title: "Stage", width: 13, isFigure: true, cell: (row) => `${row.stage} of ${row.stages.length}` },
        { title: "Reaches", cell: (row) => reachOf(row.stages[row.stage - 1]) },
        { title: "Goes on", width: 15, cell: (row) => ago(row.nextStageTime) },
        { title: "State", width: 20, cell: (row) => <State rollout={row} /> },
      ]}
    />
  );
}

function State({ rollout }: { rollout: Rollout }): JSX.Element {
  if (rollout.lock) return <Mark mood="bad">taken back</Mark>;
  if (rollout.freezeReason) return <Mark mood="warn">frozen</Mark>;
  if (rollout.stage === rollout.stages.length) return <Mark mood="good">complete</Mark>;
  return <>{rollout.stage ? "on its way" : "not begun"}</>;
}

function reachOf(stage: Stage | undefined): string {
  return stage?.reaches.map((each) => `${each.environment || "everywhere"} ${each.percent} %`).join(", ") ?? "nobody";
}

function OneRollout(given: { rollout: Rollout; route: Route; done: () => void }): JSX.Element {
  const mesh = useMesh();
  const { rollout, done } = given;
  const { name } = rollout;
  const [wanted, setWanted] = useState(rollout.stage);
  return (
    <Panel title={last(name)} aside={<Close route={given.route} name="rollout" />}>
      <p>
        {rollout.description} <State rollout={rollout} /> {rollout.freezeReason}
        {LEFT[rollout.optIn]}
        {rollout.lock && ` by its guard, for its ${rollout.lock.reason}, ${ago(rollout.lock.createTime)}`}
      </p>
      <div class="row">
        <label class="slider">
          Stage{" "}
          <input
            type="range"
            min={0}
            max={rollout.stages.length}
            value={wanted}
            aria-valuetext={`${wanted}: ${reachOf(rollout.stages[wanted - 1])}`}
            onInput={(event) => setWanted(Number(event.currentTarget.value))}
          />{" "}
          {wanted}: {reachOf(rollout.stages[wanted - 1])}
        </label>
        {wanted !== rollout.stage && (
          <Act
            label="Move"
            asks={`From stage ${rollout.stage} (${reachOf(rollout.stages[rollout.stage - 1])}) to ${wanted} (${reachOf(rollout.stages[wanted - 1])}).`}
            reason="optional"
            act={async (reason) => {
              await mesh.rollouts.moveRollout({ name, stage: wanted, reason });
              done();
            }}
          />
        )}
        {rollout.freezeReason ? (
          <Act
            label="Thaw"
            asks="It goes on by itself."
            reason="optional"
            act={async (reason) => {
              await mesh.rollouts.thawRollout({ name, reason });
              done();
            }}
          />
        ) : (
          <Act
            label="Freeze"
            asks="It stays at this stage until somebody thaws it."
            reason="required"
            act={async (reason) => {
              await mesh.rollouts.freezeRollout({ name, reason });
              done();
            }}
          />
        )}
        {rollout.lock && (
          <Act
            label="Unlock"
            asks="It may go on, though its guard has taken it back."
            typed={last(name)}
            reason="required"
            isDangerous
            act={async (reason) => {
              await mesh.rollouts.unlockRollout({ name, reason });
              done();
            }}
          />
        )}
      </div>
      <Compared comparison={rollout.lock?.comparison ?? rollout.comparison} />
    </Panel>
  );
}

function Compared({ comparison }: { comparison: Comparison | undefined }): JSX.Element | null {
  const { reached, others } = comparison ?? {};
  if (!reached || !others) return null;
  const sides = [
    { who: "reached", figures: reached },
    { who: "others", figures: others },
  ];
  return (
    <Table
      label="Comparison"
      rows={sides}
      keyOf={(row) => row.who}
      empty=""
      columns={[
        { title: "Who", cell: (row) => row.who },
        { title: "Calls", width: 12, isFigure: true, cell: ({ figures }) => count(figures.calls) },
        { title: "Failed", width: 12, isFigure: true, cell: ({ figures }) => share(figures.failures, figures.calls) },
        { title: "Slow", width: 12, isFigure: true, cell: ({ figures }) => share(figures.slowCalls, figures.timedCalls) },
        { title: "Why", cell: ({ figures }) => Object.keys(figures.causes).join(", ") },
      ]}
    />
  );
}

function Close({ route, name }: { route: Route; name: string }): JSX.Element {
  return (
    <button type="button" onClick={() => narrow(route, { [name]: "" })}>
      Close
    </button>
  );
}
