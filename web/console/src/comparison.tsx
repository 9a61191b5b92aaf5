// Two traces side by side: which steps take longer, which are new, and which are gone.

import type { JSX } from "preact";
import { Span_Status } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import type { Span, Trace } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import { useLive } from "./live.ts";
import { useMesh } from "./mesh.ts";
import { Asked, Filter, Mark, Panel, TraceLink } from "./parts.tsx";
import { to } from "./route.ts";
import type { Route } from "./route.ts";
import { ago, before, ms, span, took, when } from "./say.ts";
import { colour } from "./services.ts";
import { Table } from "./table.tsx";

const LIKE = 50;
const SINCE_SECONDS = 86_400;
const ID = /^[0-9a-f]{32}$/;

/** The spans of one place in the tree, of both traces. */
interface Step {
  path: string[];
  spans: [number, number];
  /** The spans' own time together, in milliseconds. */
  own: [number, number];
  errors: [number, number];
}

/** Shows two traces side by side; while one is missing, those to choose it from. */
export function Compared({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const [first, second] = ["first", "second"].map((name) => (route.query.get(name) ?? "").trim().toLowerCase());
  const found = useLive(
    () => Promise.all([first, second].map(async (id) => (ID.test(id!) ? mesh.traces.getTrace({ name: `traces/${id}` }) : undefined))),
    [first, second],
  );
  return (
    <>
      <Panel title="Compare two traces" aside={<a href={to("traces")}>Search</a>}>
        <div class="filters">
          <Filter route={route} name="first" label="One" hint="its id" />
          <Filter route={route} name="second" label="The other" hint="its id" />
        </div>
        <Asked of={found}>
          {([one, other]) => (one && other ? <Both one={one} other={other} /> : <Choose known={one ?? other} route={route} />)}
        </Asked>
      </Panel>
    </>
  );
}

function Choose({ known, route }: { known: Trace | undefined; route: Route }): JSX.Element {
  const mesh = useMesh();
  const operation = known?.rootName ?? "";
  const found = useLive(
    async () => (await mesh.traces.listTraces({ operation, pageSize: LIKE, startTime: before(SINCE_SECONDS) })).traces,
    [operation],
  );
  const missing = ID.test(route.query.get("first") ?? "") ? "second" : "first";
  const query = Object.fromEntries(route.query);
  return (
    <Asked of={found}>
      {(traces) => (
        <Table
          label="Traces to choose from"
          rows={traces.filter((each) => each.name !== known?.name && (!known || each.rootName === operation))}
          keyOf={(row) => row.name}
          empty="There is no other trace of the kind."
          columns={[
            {
              title: "Trace",
              width: 16,
              cell: (row) => (
                <a href={to("traces", "", { ...query, [missing]: row.name.replace("traces/", "") })}>
                  {`Compare ${row.name.slice(7, 15)}`}
                </a>
              ),
            },
            { title: "Began", width: 18, cell: (row) => ago(row.startTime) },
            { title: "What", cell: (row) => row.rootName },
            { title: "Spans", width: 8, isFigure: true, cell: (row) => row.spanCount },
            {
              title: "Failed",
              width: 9,
              isFigure: true,
              cell: (row) => (row.errorCount ? <Mark mood="bad">{row.errorCount}</Mark> : 0),
            },
            { title: "Took", width: 11, isFigure: true, cell: (row) => took(row.duration) },
          ]}
        />
      )}
    </Asked>
  );
}

function Both({ one, other }: { one: Trace; other: Trace }): JSX.Element {
  return (
    <>
      {[one, other].map((each, index) => (
        <p key={index}>
          {index ? "The other: " : "One: "}
          <TraceLink trace={each.name}>{each.rootName}</TraceLink>, {when(each.startTime)}, took <b>{took(each.duration)}</b>,{" "}
          {each.spanCount} spans, <Mark mood={each.errorCount ? "bad" : "good"}>{each.errorCount} failed</Mark>
        </p>
      ))}
      <Table
        label="Steps"
        rows={compared(one, other)}
        keyOf={(row) => row.path.join("\n")}
        empty="Neither has a span."
        columns={[
          { title: "Step", cell: (row) => <Named row={row} /> },
          { title: "", width: 10, cell: (row) => <Newness row={row} /> },
          { title: "Spans", width: 12, isFigure: true, cell: ({ spans }) => (spans[0] === spans[1] ? spans[0] : spans.join(" → ")) },
          { title: "Failed", width: 12, isFigure: true, cell: (row) => <Failed row={row} /> },
          { title: "Own time", width: 12, isFigure: true, cell: (row) => (row.spans[0] ? span(row.own[0]) : "") },
          { title: "of the other", width: 13, isFigure: true, cell: (row) => (row.spans[1] ? span(row.own[1]) : "") },
          { title: "Change", width: 13, isFigure: true, cell: ({ own }) => `${own[1] < own[0] ? "−" : "+"}${span(Math.abs(own[1] - own[0]))}` },
        ]}
      />
    </>
  );
}

function Named({ row }: { row: Step }): JSX.Element {
  const text = row.path[row.path.length - 1] ?? "";
  const [service = ""] = text.split(" ", 1);
  return (
    <span title={row.path.join(" › ")} style={{ paddingLeft: `${(row.path.length - 1) * 10}px` }}>
      <i class={`dot ${colour(service)}`} /> {text}
    </span>
  );
}

function Newness({ row }: { row: Step }): JSX.Element {
  if (!row.spans[0]) return <Mark mood="warn">new</Mark>;
  return row.spans[1] ? <></> : <Mark mood="warn">gone</Mark>;
}

function Failed({ row: { errors } }: { row: Step }): JSX.Element {
  if (!errors[0] && !errors[1]) return <>0</>;
  return <Mark mood={errors[1] > errors[0] ? "bad" : "plain"}>{errors.join(" → ")}</Mark>;
}

/** Returns the steps of both, the largest change first. Steps are the same that have the same ancestors. */
export function compared(one: Trace, other: Trace): Step[] {
  const steps = new Map<string, Step>();
  [one, other].forEach((trace, side) => {
    const paths = pathsOf(trace.spans);
    for (const each of trace.spans) {
      const path = paths.get(each.spanId)!;
      const key = path.join("\n");
      const step = steps.get(key) ?? { path, spans: [0, 0], own: [0, 0], errors: [0, 0] };
      steps.set(key, step);
      step.spans[side]! += 1;
      step.own[side]! += ms(each.selfDuration);
      step.errors[side]! += each.status === Span_Status.ERROR ? 1 : 0;
    }
  });
  const change = ({ own }: Step) => Math.abs(own[1] - own[0]);
  return [...steps.values()].sort((a, b) => change(b) - change(a) || a.path.join("\n").localeCompare(b.path.join("\n")));
}

function pathsOf(spans: readonly Span[]): Map<string, string[]> {
  const byId = new Map(spans.map((each) => [each.spanId, each]));
  const paths = new Map<string, string[]>();
  for (const each of spans) {
    const chain: Span[] = [];
    const seen = new Set<string>();
    let at: Span | undefined = each;
    while (at && !paths.has(at.spanId) && !seen.has(at.spanId)) {
      seen.add(at.spanId);
      chain.push(at);
      at = byId.get(at.parentSpanId);
    }
    let path = at ? (paths.get(at.spanId) ?? []) : [];
    for (const link of chain.reverse()) {
      path = [...path, `${link.service} ${link.name}`];
      paths.set(link.spanId, path);
    }
  }
  return paths;
}
