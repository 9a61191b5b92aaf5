// Log lines: a search in what all processes said, and what was said while a trace ran.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { LogLine_Severity as Severity } from "../../gen/cordboard/telemetry/v1/log_service_pb.ts";
import type { LogLine } from "../../gen/cordboard/telemetry/v1/log_service_pb.ts";
import { said, useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Asked, Choice, Filter, Mark, Panel, TraceLink } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { before, when, word } from "../say.ts";
import { Table } from "../table.tsx";

const PAGE = 200;
const EVERY_SECONDS = 5;
const SINCE = [
  ["3600", "the last hour"],
  ["300", "the last five minutes"],
  ["86400", "the last day"],
  ["604800", "the last week"],
] as const;
const SEVERITIES = [
  ["0", "all"],
  [String(Severity.INFO), "info and graver"],
  [String(Severity.WARN), "warnings and errors"],
  [String(Severity.ERROR), "errors"],
] as const;

/** Shows the lines that fit. */
export function Logs({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const { query } = route;
  const [older, setOlder] = useState<LogLine[]>([]);
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const request = {
    pageSize: PAGE,
    service: query.get("service") ?? "",
    text: query.get("text") ?? "",
    minSeverity: Number(query.get("severity") ?? 0) as Severity,
    startTime: before(Number(query.get("since") ?? SINCE[0][0])),
  };
  const found = useLive(
    async (signal) => {
      const page = await mesh.logs.listLogLines(request, { signal });
      setOlder([]);
      setToken(page.nextPageToken);
      return { page, request };
    },
    [query.toString()],
    older.length ? 0 : EVERY_SECONDS,
  );
  const more = async () => {
    try {
      const page = await mesh.logs.listLogLines({ ...found.value!.request, pageToken: token });
      setOlder([...older, ...page.lines]);
      setToken(page.nextPageToken);
    } catch (error) {
      setProblem(said(error));
    }
  };
  return (
    <Panel title="Search">
      <div class="filters">
        <Filter route={route} name="service" label="Service" hint="proxy" />
        <Filter route={route} name="text" label="Says" />
        <Choice route={route} name="severity" label="Severity" choices={SEVERITIES} />
        <Choice route={route} name="since" label="Since" choices={SINCE} />
      </div>
      <Asked of={found}>
        {({ page }) => (
          <>
            <Lines label="Log lines" rows={[...page.lines, ...older]} empty="No line fits." hasTrace />
            {token && (
              <button type="button" onClick={() => void more()}>
                Older ones
              </button>
            )}
            {problem && <p class="problem">{problem}</p>}
          </>
        )}
      </Asked>
    </Panel>
  );
}

/** Shows what was said while a trace ran; nothing where nothing was. */
export function LinesOfTrace({ id, isYoung }: { id: string; isYoung: boolean }): JSX.Element | null {
  const mesh = useMesh();
  const found = useLive(
    async () => (await mesh.logs.listLogLines({ pageSize: 1000, trace: `traces/${id}` })).lines.reverse(),
    [id],
    isYoung ? 2 : 0,
  );
  if (found.value?.length === 0) return null;
  return (
    <Panel title="What was logged" aside={<a href={to("logs")}>All lines</a>}>
      <Asked of={found}>{(lines) => <Lines label="Log lines of the trace" rows={lines} empty="" />}</Asked>
    </Panel>
  );
}

function Lines(given: { label: string; rows: readonly LogLine[]; empty: string; hasTrace?: boolean }): JSX.Element {
  return (
    <Table
      label={given.label}
      wraps
      rows={given.rows}
      keyOf={(row) => [row.time?.seconds, row.time?.nanos, row.service, row.event, fields(row)].join(" ")}
      empty={given.empty}
      columns={[
        { title: "When", width: 20, cell: (row) => when(row.time) },
        { title: "Service", width: 11, cell: (row) => row.service },
        { title: "Severity", width: 10, cell: (row) => <Grave severity={row.severity} /> },
        { title: "What", cell: (row) => row.event },
        { title: "Fields", cell: (row) => <code title={fields(row)}>{fields(row)}</code> },
        ...(given.hasTrace
          ? [{ title: "Trace", width: 11, cell: (row: LogLine) => <TraceLink trace={row.trace} /> }]
          : []),
      ]}
    />
  );
}

function Grave({ severity }: { severity: Severity }): JSX.Element {
  const name = word(Severity, severity);
  if (severity < Severity.WARN) return <>{name}</>;
  return <Mark mood={severity === Severity.WARN ? "warn" : "bad"}>{name}</Mark>;
}

function fields(line: LogLine): string {
  return Object.entries(line.attributes)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}
