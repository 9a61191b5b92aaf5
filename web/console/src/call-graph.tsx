// Who calls whom: services and vendors from left to right, in the order in which calls reach them.

import type { JSX } from "preact";
import { useLive } from "./live.ts";
import { useMesh } from "./mesh.ts";
import { Asked, Mark } from "./parts.tsx";
import { to } from "./route.ts";
import { before, count, last, share, took } from "./say.ts";
import { colour } from "./services.ts";
import { Table } from "./table.tsx";
import type { Dependency } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";

const WIDE = 190;
const HIGH = 58;
const BOX = 130;
// More vendors than these are in the table alone.
const MOST = 24;

interface Node {
  name: string;
  x: number;
  y: number;
}

/** Draws the calls of a time. */
export function CallGraph({ since }: { since: number }): JSX.Element {
  const mesh = useMesh();
  const found = useLive(
    async () => (await mesh.traces.listDependencies({ startTime: before(since) })).dependencies,
    [since],
    15,
  );
  return <Asked of={found}>{(calls) => (calls.length ? <Drawn calls={calls} /> : <p class="empty">No calls.</p>)}</Asked>;
}

function Drawn({ calls }: { calls: readonly Dependency[] }): JSX.Element {
  const busiest = [...calls].sort((a, b) => Number(b.calls - a.calls)).slice(0, MOST);
  const nodes = laidOut(busiest);
  const width = Math.max(...[...nodes.values()].map((node) => node.x)) + BOX + 10;
  const height = Math.max(...[...nodes.values()].map((node) => node.y)) + HIGH;
  return (
    <>
      <svg class="graph" viewBox={`0 0 ${width} ${height}`} role="img" aria-label="Who calls whom; the table below says it too">
        {busiest.map((call) => {
          const from = nodes.get(call.caller)!;
          const target = nodes.get(call.callee)!;
          return (
            <path
              key={`${call.caller} ${call.callee}`}
              class={call.errors > 0n ? "edge failing" : "edge"}
              d={curve(from, target)}
              style={{ strokeWidth: `${Math.min(6, 1 + Math.log10(Number(call.calls)))}px` }}
            />
          );
        })}
        {[...nodes.values()].map((node) => (
          <g key={node.name}>
            <rect x={node.x} y={node.y} width={BOX} height={36} rx={6} class={`node ${colour(node.name)}`} />
            <text x={node.x + BOX / 2} y={node.y + 23}>
              {last(node.name)}
            </text>
          </g>
        ))}
      </svg>
      <Table
        label="Calls"
        rows={calls}
        keyOf={(row) => `${row.caller} ${row.callee}`}
        empty=""
        columns={[
          { title: "Caller", cell: (row) => row.caller },
          { title: "Called", cell: (row) => row.callee },
          { title: "Calls", width: 10, isFigure: true, cell: (row) => count(row.calls) },
          {
            title: "Failed",
            width: 16,
            isFigure: true,
            cell: (row) =>
              row.errors > 0n ? (
                <a href={to("traces", "", narrowed(row))}>
                  <Mark mood="bad">
                    {count(row.errors)} ({share(row.errors, row.calls)})
                  </Mark>
                </a>
              ) : (
                0
              ),
          },
          { title: "p95", width: 11, isFigure: true, cell: (row) => took(row.p95) },
        ]}
      />
    </>
  );
}

function narrowed(call: Dependency): Record<string, string> {
  const isVendor = call.callee.startsWith("integrations/");
  return isVendor ? { integration: last(call.callee), errors: "1" } : { service: call.callee, errors: "1" };
}

/** Returns the line of a call: onwards from right to left side, and back or within a column around the right sides. */
function curve(from: Node, target: Node): string {
  const [x1, y1, y2] = [from.x + BOX, from.y + 18, target.y + 18];
  if (target.x > from.x) return `M${x1},${y1} C${x1 + 35},${y1} ${target.x - 35},${y2} ${target.x},${y2}`;
  const x2 = target.x + BOX;
  const out = Math.max(x1, x2) + 18 + Math.abs(y2 - y1) / 8;
  return `M${x1},${y1} C${out},${y1} ${out},${y2} ${x2},${y2}`;
}

/** Puts each service one column to the right of who calls it first. */
function laidOut(calls: readonly Dependency[]): Map<string, Node> {
  const columns = new Map<string, number>();
  const called = new Set(calls.map((call) => call.callee));
  const begins = calls.map((call) => call.caller).filter((name) => !called.has(name));
  let turn = [...new Set(begins.length ? begins : calls.slice(0, 1).map((call) => call.caller))];
  for (let column = 0; turn.length > 0; column += 1) {
    for (const name of turn) columns.set(name, column);
    const next = calls.filter((call) => turn.includes(call.caller) && !columns.has(call.callee));
    turn = [...new Set(next.map((call) => call.callee))];
  }
  const filled = new Map<number, number>();
  const nodes = new Map<string, Node>();
  for (const name of new Set(calls.flatMap((call) => [call.caller, call.callee]))) {
    const column = columns.get(name) ?? 0;
    const row = filled.get(column) ?? 0;
    filled.set(column, row + 1);
    nodes.set(name, { name, x: 5 + column * WIDE, y: 8 + row * HIGH });
  }
  return nodes;
}
