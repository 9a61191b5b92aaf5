// Integrations: all of them with their health, and one of them with everything that belongs to it.

import type { JSX } from "preact";
import { Criticality } from "../../gen/cordboard/catalog/v1/definition_pb.ts";
import type { InventoryEntry } from "../../gen/cordboard/catalog/v1/governance_service_pb.ts";
import { VersionState } from "../../gen/cordboard/catalog/v1/lifecycle_pb.ts";
import { Breaker_State } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import type { Breaker } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import { Dimension } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import type { Rate } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import type { Mesh } from "../mesh.ts";
import { Asked, Choice, Filter, Mark, Panel, everything } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { before, count, last, share, took, when, word } from "../say.ts";
import { Table } from "../table.tsx";
import { OneIntegration } from "./integration.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 5;
const SINCE = [
  ["300", "five minutes"],
  ["3600", "an hour"],
  ["86400", "a day"],
] as const;

interface Row {
  entry: InventoryEntry;
  rate: Rate | undefined;
  breaker: Breaker | undefined;
}

/** Shows one integration where the address names one, and all otherwise. */
export function Integrations({ route }: { route: Route }): JSX.Element {
  return route.id ? <OneIntegration slug={route.id} route={route} /> : <All route={route} />;
}

function All({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const since = route.query.get("since") ?? SINCE[0][0];
  const found = useLive(() => rows(mesh, Number(since)), [since], EVERY_SECONDS);
  const wanted = (route.query.get("q") ?? "").toLowerCase();
  return (
    <Panel title="All integrations">
      <div class="filters">
        <Filter route={route} name="q" label="Name, owner or host has" />
        <Choice route={route} name="since" label="Figures of" choices={SINCE} />
      </div>
      <Asked of={found}>
        {(all) => (
          <Table
            label="Integrations"
            rows={all.filter(({ entry }) => textOf(entry).includes(wanted))}
            keyOf={({ entry }) => entry.integration?.name ?? ""}
            empty="No integration fits."
            columns={[
              { title: "Integration", cell: ({ entry }) => <Name entry={entry} /> },
              { title: "Owner", cell: ({ entry }) => entry.integration?.owner },
              { title: "Matters", width: 11, cell: ({ entry }) => word(Criticality, entry.integration?.criticality ?? 0) },
              { title: "State", width: 11, cell: ({ entry }) => word(VersionState, entry.integration?.state ?? 0) },
              { title: "Versions in use", width: 16, cell: ({ entry }) => inUse(entry) },
              { title: "Calls", width: 9, isFigure: true, cell: ({ rate }) => count(rate?.calls ?? 0n) },
              { title: "Failed", width: 9, isFigure: true, cell: (row) => <Failed row={row} /> },
              { title: "p95", width: 10, isFigure: true, cell: ({ rate }) => took(rate?.p95) },
              { title: "Breaker", width: 10, cell: ({ breaker }) => <State breaker={breaker} /> },
              { title: "Next review", width: 16, cell: ({ entry }) => <Due entry={entry} /> },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

async function rows(mesh: Mesh, since: number): Promise<Row[]> {
  const startTime = before(since);
  const dimensions = [Dimension.INTEGRATION];
  const [entries, rates, breakers] = await Promise.all([
    everything(
      (pageToken) => mesh.governance.listInventory({ pageSize: PAGE, pageToken }),
      (page) => page.entries,
    ),
    everything(
      (pageToken) => mesh.metrics.listRates({ pageSize: PAGE, pageToken, dimensions, startTime }),
      (page) => page.rates,
    ),
    mesh.proxy.listBreakers({ pageSize: PAGE }),
  ]);
  const rated = new Map(rates.map((rate) => [rate.subject?.integration ?? "", rate]));
  const worst = new Map<string, Breaker>();
  for (const each of breakers.breakers) {
    const before = worst.get(each.integration);
    if (!before || severity(each) > severity(before)) worst.set(each.integration, each);
  }
  return entries.map((entry) => {
    const name = entry.integration?.name ?? "";
    return { entry, rate: rated.get(last(name)), breaker: worst.get(name) };
  });
}

function severity(breaker: Breaker): number {
  return [0, 1, 3, 2][breaker.state] ?? 0;
}

function textOf(entry: InventoryEntry): string {
  const { integration, hosts } = entry;
  return [integration?.name, integration?.title, integration?.owner, ...hosts].join(" ").toLowerCase();
}

function inUse(entry: InventoryEntry): string {
  const versions = entry.versions.filter((each) => each.pinnedWorkspaces || each.callingWorkspaces);
  return versions.map((each) => each.version).join(", ") || (entry.integration?.activeVersion ?? "");
}

function Name({ entry }: { entry: InventoryEntry }): JSX.Element {
  const slug = last(entry.integration?.name ?? "");
  return <a href={to("integrations", slug)}>{entry.integration?.title || slug}</a>;
}

function Failed({ row }: { row: Row }): JSX.Element {
  const { rate } = row;
  if (!rate || rate.errors === 0n) return <>0</>;
  const query = { integration: last(row.entry.integration?.name ?? ""), errors: "1" };
  return (
    <a href={to("traces", "", query)}>
      <Mark mood="bad">{share(rate.errors, rate.calls)}</Mark>
    </a>
  );
}

function State({ breaker }: { breaker: Breaker | undefined }): JSX.Element {
  if (!breaker) return <span class="soft">none</span>;
  const mood = breaker.state === Breaker_State.OPEN ? "bad" : breaker.state === Breaker_State.CLOSED ? "good" : "warn";
  return <Mark mood={mood}>{word(Breaker_State, breaker.state)}</Mark>;
}

function Due({ entry }: { entry: InventoryEntry }): JSX.Element {
  const due = entry.reviewDueTime;
  if (!due) return <span class="soft">none</span>;
  const isOver = Number(due.seconds) * 1000 < Date.now();
  return isOver ? <Mark mood="warn">was {when(due)}</Mark> : <>{when(due)}</>;
}
