// Traces: search, one trace, and who calls whom.

import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ExportTraceRequest_Format } from "../../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import type { Trace } from "../../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import { CallGraph } from "../call-graph.tsx";
import { Compared } from "../comparison.tsx";
import { Links } from "../links.tsx";
import { said, useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Asked, Choice, Filter, Mark, Panel, TraceLink, announce } from "../parts.tsx";
import { narrow, to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, before, count, ms, span, took, when } from "../say.ts";
import { colour } from "../services.ts";
import { Table } from "../table.tsx";
import { Waterfall, whereItWent } from "../waterfall.tsx";
import { LinesOfTrace } from "./logs.tsx";

const PAGE = 100;
const EVERY_SECONDS = 5;
const SINCE = [
  ["3600", "the last hour"],
  ["300", "the last five minutes"],
  ["86400", "the last day"],
  ["604800", "the last week"],
] as const;

/** Shows one trace where the address names one, and a search otherwise. */
export function Traces({ route }: { route: Route }): JSX.Element {
  if (route.id) return <OneTrace id={route.id} />;
  return route.query.get("view") === "compare" ? <Compared route={route} /> : <Search route={route} />;
}

function Search({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const { query } = route;
  const [older, setOlder] = useState<Trace[]>([]);
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const asked = query.toString();
  const request = {
    pageSize: PAGE,
    service: query.get("service") ?? "",
    operation: query.get("operation") ?? "",
    attributes: attributesOf(query),
    errorsOnly: query.get("errors") === "1",
    startTime: before(Number(query.get("since") ?? SINCE[0][0])),
    ...(query.get("slower") ? { minDuration: millis(query.get("slower")!) } : {}),
  };
  const found = useLive(
    async (signal) => {
      const page = await mesh.traces.listTraces(request, { signal });
      setOlder([]);
      setToken(page.nextPageToken);
      return { page, request };
    },
    [asked],
    older.length ? 0 : EVERY_SECONDS,
  );
  const more = async () => {
    try {
      const page = await mesh.traces.listTraces({ ...found.value!.request, pageToken: token });
      setOlder([...older, ...page.traces]);
      setToken(page.nextPageToken);
    } catch (error) {
      setProblem(said(error));
    }
  };
  return (
    <>
      <Panel title="Search" aside={<a href={to("traces", "", { view: "graph" })}>Who calls whom</a>}>
        <div class="filters">
          <Filter route={route} name="service" label="Service" hint="proxy" />
          <Filter route={route} name="operation" label="Operation has" hint="Execute" />
          <Filter route={route} name="integration" label="Integration" />
          <Filter route={route} name="workspace" label="Workspace" />
          <Filter route={route} name="attribute" label="Attribute" hint="name=value" />
          <Filter route={route} name="slower" label="Slower than (ms)" />
          <Choice route={route} name="since" label="Since" choices={SINCE} />
          <label class="check">
            <input
              type="checkbox"
              checked={request.errorsOnly}
              onChange={(event) => narrow(route, { errors: event.currentTarget.checked ? "1" : "" })}
            />{" "}
            failed only
          </label>
        </div>
        {query.get("view") === "graph" ? (
          <CallGraph since={Number(query.get("since") ?? SINCE[0][0])} />
        ) : (
          <Asked of={found}>
            {({ page }) => (
              <>
                <Table
                  label="Traces"
                  rows={[...page.traces, ...older]}
                  keyOf={(row) => row.name}
                  empty="No trace has a span that fits."
                  columns={[
                    { title: "Trace", width: 11, cell: (row) => <TraceLink trace={row.name} /> },
                    { title: "Began", width: 18, cell: (row) => <Began trace={row} /> },
                    { title: "What", cell: (row) => row.rootName },
                    { title: "Through", cell: (row) => row.services.join(", ") },
                    { title: "Spans", width: 8, isFigure: true, cell: (row) => row.spanCount },
                    { title: "Failed", width: 8, isFigure: true, cell: (row) => <Failed trace={row} /> },
                    { title: "Took", width: 11, isFigure: true, cell: (row) => took(row.duration) },
                  ]}
                />
                {token && (
                  <button type="button" onClick={() => void more()}>
                    Older ones
                  </button>
                )}
                {problem && <p class="problem">{problem}</p>}
              </>
            )}
          </Asked>
        )}
      </Panel>
    </>
  );
}

function attributesOf(query: URLSearchParams): Record<string, string> {
  const found: Record<string, string> = {};
  const integration = query.get("integration");
  const workspace = query.get("workspace");
  const [name, value] = (query.get("attribute") ?? "").split("=", 2);
  if (integration) found["cordboard.integration"] = integration;
  if (workspace) found["cordboard.workspace"] = workspace;
  if (name && value) found[name] = value;
  return found;
}

function millis(text: string): { seconds: bigint; nanos: number } {
  const given = Math.max(0, Number(text) || 0);
  return { seconds: BigInt(Math.floor(given / 1000)), nanos: Math.round((given % 1000) * 1e6) };
}

function Began({ trace }: { trace: Trace }): JSX.Element {
  const time = trace.startTime;
  return <span title={time ? timestampDate(time).toISOString() : ""}>{ago(time)}</span>;
}

function Failed({ trace }: { trace: Trace }): JSX.Element {
  return trace.errorCount ? <Mark mood="bad">{trace.errorCount}</Mark> : <>0</>;
}

function OneTrace({ id }: { id: string }): JSX.Element {
  const mesh = useMesh();
  // Spans come in over some seconds: a trace that is still arriving is asked for again, for a while.
  const [isYoung, setYoung] = useState(true);
  const trace = useLive(
    async () => {
      const found = await mesh.traces.getTrace({ name: `traces/${id}` });
      const ended = (found.startTime ? timestampDate(found.startTime).getTime() : 0) + ms(found.duration);
      setYoung(Date.now() - ended < 15_000);
      return found;
    },
    [id],
    isYoung ? 2 : 0,
  );
  return (
    <Asked of={trace}>
      {(found) => (
        <>
          <Panel
            title={found.rootName}
            aside={
              <span>
                <code>{id}</code> <a href={to("traces", "", { view: "compare", second: id })}>Compare</a>{" "}
                <Download id={id} format={ExportTraceRequest_Format.PERFETTO} label="For Perfetto" />{" "}
                <Download id={id} format={ExportTraceRequest_Format.OTLP} label="As OTLP" />
              </span>
            }
          >
            <p>
              {when(found.startTime)} · {took(found.duration)} · {count(found.spanCount)} spans ·{" "}
              <Mark mood={found.errorCount ? "bad" : "good"}>{found.errorCount} failed</Mark> · its time went into{" "}
              {whereItWent(found.spans).map(([service, part]) => (
                <span key={service} class="part">
                  <i class={`dot ${colour(service)}`} /> {service} {span(part)}
                </span>
              ))}
            </p>
          </Panel>
          <Links trace={found} />
          <Waterfall key={found.spans.length} trace={found} />
          <LinesOfTrace id={id} isYoung={isYoung} />
        </>
      )}
    </Asked>
  );
}

function Download(given: { id: string; format: ExportTraceRequest_Format; label: string }): JSX.Element {
  const mesh = useMesh();
  const save = async () => {
    try {
      const { data, contentType } = await mesh.traces.exportTrace({ name: `traces/${given.id}`, format: given.format });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([new Uint8Array(data)], { type: contentType }));
      link.download = `${given.id}.json`;
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      announce(said(error));
    }
  };
  return (
    <button type="button" onClick={() => void save()}>
      {given.label}
    </button>
  );
}
