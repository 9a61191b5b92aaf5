// What is wrong now. Nothing here is red without a way to see why.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ComponentChildren, JSX } from "preact";
import { Outages, useOutages } from "../health.tsx";
import { said, useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import type { Mesh } from "../mesh.ts";
import { Asked, Mark, Panel, TraceLink } from "../parts.tsx";
import type { Mood } from "../parts.tsx";
import { to } from "../route.ts";
import { ago, before, count, last, ms, share, span, took, word } from "../say.ts";
import { Table } from "../table.tsx";
import { Connection_State } from "../../gen/cordboard/auth/v1/connection_service_pb.ts";
import type { Drift } from "../../gen/cordboard/catalog/v1/drift_service_pb.ts";
import { Breaker_Cause, Breaker_Override, Breaker_State } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import { AttentionItem_Kind, Severity } from "../../gen/cordboard/telemetry/v1/alert_service_pb.ts";
import { Dimension } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import type { Rate } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import type { Trace } from "../../gen/cordboard/telemetry/v1/trace_service_pb.ts";

const NOW_SECONDS = 3;
const SWEEP_SECONDS = 30;
const WINDOW_SECONDS = 300;
const MOST = 1000;
const MOST_WORKSPACES = 200;
const STALE_MS = 600_000;
// A hub says something to its edges every ten seconds.
const SILENT_MS = 45_000;
const RECENT_SECONDS = 3600;
const PATIENCE_MS = 10_000;
const DRIFT_SECONDS = 86_400;
const CERTIFICATE_SECONDS = 7200;
const GAUGES = ["cordboard.certificate.remaining", "cordboard.telemetry.items"];

/** One thing that is wrong. */
interface Item {
  key: string;
  mood: Mood;
  what: string;
  about: ComponentChildren;
  why: string;
  see: ComponentChildren;
}

/** What was found, and what could not be asked. */
interface Found {
  items: Item[];
  missing: string[];
}

/** Shows what is wrong, and the newest failures. */
export function Attention(): JSX.Element {
  const mesh = useMesh();
  const outages = useOutages();
  const now = useLive(() => current(mesh), [], NOW_SECONDS);
  const swept = useLive(() => sweep(mesh), [], SWEEP_SECONDS);
  const failures = useLive(
    async () => (await mesh.traces.listTraces({ errorsOnly: true, startTime: before(WINDOW_SECONDS) })).traces,
    [],
    NOW_SECONDS,
  );
  const items = [...(now.value?.items ?? []), ...(swept.value ?? [])];
  const isKnown = now.value !== undefined && swept.value !== undefined && outages.value !== undefined;
  const isWhole = !now.value?.missing.length && !outages.value?.length;
  return (
    <>
      <Outages found={outages} />
      <Panel title={items.length ? `${count(items.length)} to look at` : "To look at"}>
        <Asked of={now}>
          {() => (
            <Table
              label="What is wrong"
              wraps
              rows={items}
              keyOf={(row) => row.key}
              empty={!isKnown ? "Looking…" : isWhole ? "Nothing is wrong." : "Nothing else is known to be wrong."}
              columns={[
                { title: "What", width: 29, cell: (row) => <Mark mood={row.mood}>{row.what}</Mark> },
                { title: "Where", width: 25, cell: (row) => row.about },
                { title: "Why", cell: (row) => row.why },
                { title: "See", width: 20, cell: (row) => row.see },
              ]}
            />
          )}
        </Asked>
        {now.value?.missing.map((each) => (
          <p key={each} class="problem">
            {each}
          </p>
        ))}
        {swept.problem && <p class="problem">{swept.problem}</p>}
      </Panel>
      <Panel title="Newest failures" aside={<a href={to("traces", "", { errors: "1" })}>Search traces</a>}>
        <Asked of={failures}>{(traces) => <Failures traces={traces} />}</Asked>
      </Panel>
    </>
  );
}

function Failures({ traces }: { traces: readonly Trace[] }): JSX.Element {
  return (
    <Table
      label="Newest failures"
      rows={traces}
      keyOf={(row) => row.name}
      empty="No call failed in the last five minutes."
      columns={[
        { title: "Trace", width: 12, cell: (row) => <TraceLink trace={row.name} /> },
        { title: "When", width: 16, cell: (row) => ago(row.startTime) },
        { title: "What", cell: (row) => row.rootName },
        { title: "Through", cell: (row) => row.services.join(", ") },
        { title: "Failed", width: 9, isFigure: true, cell: (row) => row.errorCount },
        { title: "Took", width: 11, isFigure: true, cell: (row) => took(row.duration) },
      ]}
    />
  );
}

/** Asks for what the mesh knows as a whole: what one service cannot say hides nothing of the others. */
async function current(mesh: Mesh): Promise<Found> {
  const parts: [what: string, asked: Promise<Item[]>][] = [
    ["Alerts", alerts(mesh)],
    ["Breakers", breakers(mesh)],
    ["Figures of calls", rates(mesh)],
    ["Figures of services", gauges(mesh)],
    ["Edges", edges(mesh)],
    ["The hub", hub(mesh)],
    ["Rollouts", rollouts(mesh)],
  ];
  const found = await Promise.allSettled(parts.map(([, asked]) => asked));
  const items = found.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
  const missing = found.flatMap((each, index) =>
    each.status === "rejected" ? [`${parts[index]![0]} could not be asked for: ${said(each.reason)}`] : [],
  );
  return { items, missing };
}

const PATIENTLY = { timeoutMs: PATIENCE_MS };

/** Returns the alerts that fire; what else the mesh finds to need somebody is asked for below, with more about it. */
async function alerts(mesh: Mesh): Promise<Item[]> {
  const { items } = await mesh.alerts.listAttention({}, PATIENTLY);
  return items
    .filter((each) => each.kind === AttentionItem_Kind.ALERT && !each.silenced)
    .map((each) => {
      const { service = "", attributes = {}, errorsOnly = false } = each.search ?? {};
      const query = {
        service,
        integration: attributes["cordboard.integration"] ?? "",
        errors: errorsOnly ? "1" : "",
      };
      return {
        key: each.alert,
        mood: each.severity === Severity.PAGE ? "bad" : "warn",
        what: "alert fires",
        about: <Resource name={each.resource} />,
        why: `${each.summary}, since ${ago(each.startTime).replace(" ago", "")}`,
        see: (
          <>
            <a href={to("traces", "", query)}>Traces</a> <TraceLink trace={each.trace}>The alert's</TraceLink>
          </>
        ),
      };
    });
}

function Resource({ name }: { name: string }): JSX.Element {
  const [collection = "", id = ""] = name.split("/", 2);
  if (collection === "integrations") return <a href={to("integrations", id)}>{id}</a>;
  return collection === "edges" ? <a href={to("edges")}>{id}</a> : <>{id || "the mesh"}</>;
}

async function breakers(mesh: Mesh): Promise<Item[]> {
  const found = await mesh.proxy.listBreakers({ pageSize: MOST }, PATIENTLY);
  const items: Item[] = [];
  for (const each of found.breakers) {
    const isOverridden = each.override === Breaker_Override.OPEN || each.override === Breaker_Override.CLOSED;
    if (each.state === Breaker_State.CLOSED && !isOverridden) continue;
    const slug = last(each.integration);
    const state = word(Breaker_State, each.state);
    items.push({
      key: `breaker ${each.integration} ${each.host} ${each.action} ${each.connection} ${each.cause}`,
      mood: each.state === Breaker_State.OPEN ? "bad" : "warn",
      what: isOverridden ? `breaker held ${word(Breaker_Override, each.override)}` : `breaker ${state}`,
      about: <a href={to("integrations", slug)}>{[slug, each.host, each.action].filter(Boolean).join(" ")}</a>,
      why: `${word(Breaker_Cause, each.cause)}: ${each.failures} of ${each.calls} calls failed`,
      see: (
        <>
          <FailedTraces slug={slug} /> <a href={to("breakers", "", { q: slug })}>Breaker</a>
        </>
      ),
    });
  }
  return items;
}

async function rates(mesh: Mesh): Promise<Item[]> {
  const startTime = before(WINDOW_SECONDS);
  const [integrations, services] = await Promise.all([
    mesh.metrics.listRates({ pageSize: MOST, dimensions: [Dimension.INTEGRATION], startTime }, PATIENTLY),
    mesh.metrics.listRates({ pageSize: MOST, dimensions: [Dimension.SERVICE], startTime }, PATIENTLY),
  ]);
  const items: Item[] = [];
  for (const each of integrations.rates) if (each.errors > 0n) items.push(failing(each));
  for (const each of services.rates) {
    if (each.errors === 0n || !each.subject) continue;
    items.push({
      key: `service ${each.subject.service}`,
      mood: "bad",
      what: "service answers with errors",
      about: each.subject.service,
      why: reasons(each),
      see: <RateTraces rate={each} query={{ service: each.subject.service, errors: "1" }} />,
    });
  }
  return items;
}

async function gauges(mesh: Mesh): Promise<Item[]> {
  const { readings } = await mesh.metrics.listReadings({ pageSize: MOST, metrics: GAUGES }, PATIENTLY);
  const items: Item[] = [];
  for (const each of readings) {
    const isCertificate = each.metric === GAUGES[0];
    if (isCertificate && each.value < CERTIFICATE_SECONDS)
      items.push({
        key: `certificate ${each.service}`,
        mood: each.value < CERTIFICATE_SECONDS / 4 ? "bad" : "warn",
        what: "certificate ends soon",
        about: each.service,
        why: `in ${span(each.value * 1000)}`,
        see: <a href={to("traces", "", { service: each.service })}>Traces</a>,
      });
    const state = each.attributes["cordboard.state"] ?? "";
    if (!isCertificate && (state === "shed" || state === "failed") && each.highest > each.lowest)
      items.push({
        key: `spans ${state} ${each.service}`,
        mood: "warn",
        what: `spans ${state}`,
        about: "telemetry",
        why: `${count(each.highest - each.lowest)} in five minutes: traces have holes`,
        see: <a href={to("traces")}>Traces</a>,
      });
  }
  return items;
}

async function edges(mesh: Mesh): Promise<Item[]> {
  const found = await mesh.sync.listEdges({ pageSize: MOST }, PATIENTLY);
  const items: Item[] = [];
  for (const each of found.edges) {
    const stale = ms(each.staleness);
    const silent = each.acknowledgeTime ? Date.now() - timestampMs(each.acknowledgeTime) : 0;
    const isSilent = silent >= SILENT_MS;
    if (each.revokeTime || (each.acknowledgeTime && stale < STALE_MS && !isSilent && !each.lastError)) continue;
    items.push({
      key: each.name,
      mood: each.acknowledgeTime && stale < STALE_MS ? "warn" : "bad",
      what: !each.acknowledgeTime ? "edge never connected" : isSilent ? "edge is silent" : "edge is behind",
      about: last(each.name),
      why:
        each.lastError ||
        (!each.acknowledgeTime
          ? "it has not asked for anything yet"
          : isSilent
            ? `nothing was heard of it for ${span(silent)}`
            : `${span(stale)} behind`),
      see: <a href={to("edges")}>Edges</a>,
    });
  }
  return items;
}

/** Says of an edge whether it reaches the hub that it follows. */
async function hub(mesh: Mesh): Promise<Item[]> {
  const state = await mesh.sync.getSyncState({}, PATIENTLY);
  if (!state.hub || state.connected) return [];
  return [
    {
      key: "hub",
      mood: "bad",
      what: "hub is not reached",
      about: `this mesh is its edge ${state.edge}`,
      why: state.lastError || "it is being asked",
      see: <a href={to("edges")}>Edges</a>,
    },
  ];
}

async function rollouts(mesh: Mesh): Promise<Item[]> {
  const found = await mesh.rollouts.listRollouts({ pageSize: MOST }, PATIENTLY);
  const items: Item[] = [];
  for (const each of found.rollouts) {
    if (!each.lock) continue;
    items.push({
      key: each.name,
      mood: "bad",
      what: "rollout taken back",
      about: last(each.name),
      why: `its guard saw more ${each.lock.reason}`,
      see: <a href={to("flags", "", { rollout: last(each.name) })}>Rollout</a>,
    });
  }
  return items;
}

/** Asks for what changes slowly: drift, and workspace by workspace connections and jobs that need somebody. */
async function sweep(mesh: Mesh): Promise<Item[]> {
  const [{ workspaces }, { drifts }] = await Promise.all([
    mesh.workspaces.listWorkspaces({ pageSize: MOST_WORKSPACES }),
    mesh.drifts.listDrifts({ parent: "integrations/-", pageSize: MOST }),
  ]);
  const found: Item[] = drifting(drifts);
  const waiting = workspaces.map((each) => each.name);
  const worker = async () => {
    for (let parent = waiting.pop(); parent; parent = waiting.pop()) found.push(...(await inWorkspace(mesh, parent)));
  };
  await Promise.all([worker(), worker(), worker()]);
  return found.sort((a, b) => a.key.localeCompare(b.key));
}

async function inWorkspace(mesh: Mesh, parent: string): Promise<Item[]> {
  const [letters, connections, keys] = await Promise.all([
    mesh.deadLetters.listDeadLetters({ parent, pageSize: MOST }),
    mesh.connections.listConnections({ parent, pageSize: MOST }),
    mesh.apiKeys.listApiKeys({ parent, pageSize: MOST }),
  ]);
  const workspace = last(parent);
  const items: Item[] = [];
  const [newest] = letters.deadLetters;
  if (newest) {
    const more = letters.nextPageToken ? "more than " : "";
    items.push({
      key: `dead ${parent}`,
      mood: "bad",
      what: "dead letters",
      about: workspace,
      why: `${more}${count(letters.deadLetters.length)}; ${newest.job?.action}: ${newest.job?.errorReason}`,
      see: (
        <>
          <a href={to("jobs", "", { workspace, show: "dead" })}>Dead letters</a>{" "}
          <TraceLink trace={newest.job?.traceId ?? ""}>Trace</TraceLink>
        </>
      ),
    });
  }
  for (const each of connections.connections) {
    if (each.state !== Connection_State.RECONNECT_REQUIRED) continue;
    const query = { attribute: `cordboard.connection=${each.name}` };
    items.push({
      key: each.name,
      mood: "bad",
      what: "connection has to be renewed",
      about: `${workspace} ${last(each.name)}`,
      why: each.problem || "the vendor refuses its credentials",
      see: (
        <>
          <a href={to("traces", "", query)}>Traces</a> <a href={to("connections", "", { workspace })}>Connections</a>
        </>
      ),
    });
  }
  const since = before(RECENT_SECONDS).seconds;
  for (const each of keys.apiKeys) {
    // Whoever did not make it wants to know of it; whoever did has nothing to do.
    if (each.revokeTime || !each.lastUseTime || (each.createTime?.seconds ?? 0n) < since) continue;
    items.push({
      key: each.name,
      mood: "warn",
      what: "new API key is in use",
      about: `${workspace} ${each.displayName || last(each.name)}`,
      why: `made ${ago(each.createTime)} by ${each.creator}: should it be?`,
      see: <a href={to("keys", "", { workspace, caller: each.name })}>Its calls</a>,
    });
  }
  return items;
}

/** Says of each integration whose vendor was seen within a day to do otherwise than its definition says. */
function drifting(drifts: readonly Drift[]): Item[] {
  const bySlug = new Map<string, Drift[]>();
  const since = before(DRIFT_SECONDS).seconds;
  for (const each of drifts) {
    const slug = each.definitionVersion.split("/")[1] ?? "";
    if ((each.lastTime?.seconds ?? 0n) >= since) bySlug.set(slug, [...(bySlug.get(slug) ?? []), each]);
  }
  return [...bySlug].map(([slug, signs]) => {
    const [first] = signs;
    const others = signs.length > 1 ? `, and ${count(signs.length - 1)} more` : "";
    return {
      key: `drift ${slug}`,
      mood: "warn",
      what: "definition is behind",
      about: <a href={to("integrations", slug)}>{slug}</a>,
      why: `${first?.action}: ${first?.place} ${first?.rule}${others}`,
      see: <a href={to("integrations", slug)}>Drift</a>,
    };
  });
}

function failing(rate: Rate): Item {
  const slug = rate.subject?.integration ?? "";
  return {
    key: `integration ${slug}`,
    mood: "bad",
    what: "calls fail",
    about: slug ? <a href={to("integrations", slug)}>{slug}</a> : "before the integration was known",
    why: reasons(rate),
    see: <RateTraces rate={rate} query={slug ? { integration: slug, errors: "1" } : { errors: "1" }} />,
  };
}

function reasons(rate: Rate): string {
  const causes = Object.entries(rate.failures).sort(([, a], [, b]) => Number(b - a));
  const named = causes.slice(0, 2).map(([cause, calls]) => `${cause} ${count(calls)}`);
  return `${named.join(", ")}: ${share(rate.errors, rate.calls)} of ${count(rate.calls)} in five minutes`;
}

function FailedTraces({ slug }: { slug: string }): JSX.Element {
  return <a href={to("traces", "", { integration: slug, errors: "1" })}>Traces</a>;
}

function RateTraces({ rate, query }: { rate: Rate; query: Record<string, string> }): JSX.Element {
  const [failed] = rate.failedExemplars;
  return (
    <>
      <a href={to("traces", "", query)}>Traces</a>
      {failed && (
        <>
          {" "}
          <TraceLink trace={failed.trace}>Slowest one</TraceLink>
        </>
      )}
    </>
  );
}
