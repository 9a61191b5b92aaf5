// Usage: who called what how often, how much data it was and what it cost, added up from the hours that are kept for
// 13 months.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { JSX } from "preact";
import type { Usage as Hour } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Asked, Choice, Filter, Mark, Panel, everything } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { before, bytes, count, ms, share, span, units } from "../say.ts";
import { Table } from "../table.tsx";

const PAGE = 1000;
const SINCE = [
  ["1", "the last day"],
  ["7", "the last week"],
  ["31", "the last month"],
  ["400", "13 months"],
] as const;
const BY = [
  ["integration", "workspace and integration"],
  ["action", "workspace, integration and action"],
  ["version", "integration and version"],
] as const;

/** What was added up. */
interface Sum {
  workspace: string;
  integration: string;
  detail: string;
  calls: bigint;
  errors: bigint;
  bytes: bigint;
  /** All calls together, in milliseconds. */
  time: number;
  /** In units of the operator's price table. */
  cost: number;
}

/** Shows sums over a time. */
export function Usage({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const days = Number(route.query.get("days") ?? SINCE[0][0]);
  const by = route.query.get("by") ?? BY[0][0];
  const filter = { workspace: route.query.get("workspace") ?? "", integration: route.query.get("integration") ?? "" };
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.metrics.listUsage({ pageSize: PAGE, pageToken, filter, startTime: before(days * 86_400) }),
        (page) => page.usage,
        100_000,
      ),
    [days, filter.workspace, filter.integration],
    60,
  );
  return (
    <Panel title="Usage">
      <div class="filters">
        <Choice route={route} name="days" label="Of" choices={SINCE} />
        <Choice route={route} name="by" label="By" choices={BY} />
        <Filter route={route} name="workspace" label="Workspace" />
        <Filter route={route} name="integration" label="Integration" />
      </div>
      <Asked of={found}>
        {(hours) => (
          <>
            <Bars hours={hours} days={days} />
            <Table
              label="Usage"
              rows={summed(hours, by)}
              keyOf={(row) => [row.workspace, row.integration, row.detail].join(" ")}
              empty="Nobody called anything."
              columns={[
                { title: "Workspace", cell: (row) => row.workspace || "all" },
                { title: "Integration", cell: (row) => row.integration || "(none was found)" },
                { title: by === "integration" ? "" : by, cell: (row) => row.detail },
                { title: "Calls", width: 11, isFigure: true, cell: (row) => count(row.calls) },
                { title: "Failed", width: 12, isFigure: true, cell: (row) => <Failed row={row} /> },
                { title: "Mean", width: 10, isFigure: true, cell: (row) => span(row.time / Number(row.calls || 1n)) },
                { title: "Received", width: 11, isFigure: true, cell: (row) => bytes(row.bytes) },
                { title: "Cost (units)", width: 14, isFigure: true, cell: (row) => units(row.cost) },
              ]}
            />
          </>
        )}
      </Asked>
    </Panel>
  );
}

function summed(hours: readonly Hour[], by: string): Sum[] {
  const sums = new Map<string, Sum>();
  for (const { rate, costUnits } of hours) {
    const subject = rate?.subject;
    if (!rate || !subject) continue;
    const workspace = by === "version" ? "" : subject.workspace;
    const detail = by === "action" ? subject.action : by === "version" ? subject.version : "";
    const key = [workspace, subject.integration, detail].join("\n");
    const none = { workspace, integration: subject.integration, detail, calls: 0n, errors: 0n, bytes: 0n, time: 0, cost: 0 };
    const sum = sums.get(key) ?? none;
    sum.calls += rate.calls;
    sum.errors += rate.errors;
    sum.bytes += rate.receivedBytes;
    sum.time += ms(rate.mean) * Number(rate.calls);
    sum.cost += costUnits;
    sums.set(key, sum);
  }
  return [...sums.values()].sort((a, b) => Number(b.calls - a.calls));
}

function Failed({ row }: { row: Sum }): JSX.Element {
  if (row.errors === 0n) return <>0</>;
  const query = { integration: row.integration, workspace: row.workspace, errors: "1", since: "604800" };
  return (
    <a href={to("traces", "", query)}>
      <Mark mood="bad">{share(row.errors, row.calls)}</Mark>
    </a>
  );
}

/** Calls over time, one bar for each hour or, of longer times, for each day. */
function Bars({ hours, days }: { hours: readonly Hour[]; days: number }): JSX.Element {
  const step = days <= 7 ? 3_600_000 : 86_400_000;
  const end = Math.ceil(Date.now() / step) * step;
  const slots = Math.ceil((days * 86_400_000) / step);
  const calls = new Array<number>(slots).fill(0);
  const errors = new Array<number>(slots).fill(0);
  for (const { hour, rate } of hours) {
    if (!hour || !rate) continue;
    const slot = slots - Math.ceil((end - timestampMs(hour)) / step);
    if (slot < 0 || slot >= slots) continue;
    calls[slot]! += Number(rate.calls);
    errors[slot]! += Number(rate.errors);
  }
  const most = Math.max(1, ...calls);
  const total = calls.reduce((sum, each) => sum + each, 0);
  const failed = errors.reduce((sum, each) => sum + each, 0);
  return (
    <svg
      class="bars"
      viewBox={`0 0 ${slots * 10} 100`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${count(total)} calls, ${count(failed)} of them failed; at most ${count(most)} in one bar`}
    >
      {calls.map((each, slot) => (
        <g key={slot}>
          <rect class="calls" x={slot * 10 + 1} width={8} y={100 - (each / most) * 100} height={(each / most) * 100} />
          <rect
            class="errors"
            x={slot * 10 + 1}
            width={8}
            y={100 - (errors[slot]! / most) * 100}
            height={(errors[slot]! / most) * 100}
          />
        </g>
      ))}
    </svg>
  );
}
