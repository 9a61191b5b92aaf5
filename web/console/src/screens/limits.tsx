// Limits: how much of what vendors let be called a workspace has used, and who else draws on it.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { JSX } from "preact";
import { RateLimitScope } from "../../gen/cordboard/catalog/v1/definition_pb.ts";
import type { QuotaUse } from "../../gen/cordboard/proxy/v1/quota_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Asked, Filter, Mark, Panel, everything } from "../parts.tsx";
import type { Mood } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { count, last, ms, share, span } from "../say.ts";
import { Table } from "../table.tsx";
import { InWorkspace } from "../workspaces.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 3;

/** Shows the limits that a workspace draws on. */
export function Limits({ route }: { route: Route }): JSX.Element {
  return (
    <InWorkspace route={route} others={<Filter route={route} name="q" label="Integration has" />}>
      {(workspace) => <Of key={workspace} workspace={workspace} route={route} />}
    </InWorkspace>
  );
}

function Of({ workspace, route }: { workspace: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const parent = `workspaces/${workspace}`;
  const wanted = (route.query.get("q") ?? "").toLowerCase();
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.quotas.listQuotas({ parent, pageSize: PAGE, pageToken }),
        (page) => page.quotas,
      ),
    [workspace],
    EVERY_SECONDS,
  );
  return (
    <Panel title={`Limits that ${workspace} draws on`}>
      <Asked of={found}>
        {(rows) => (
          <Table
            label="Limits"
            rows={rows.filter((row) => row.integration.toLowerCase().includes(wanted))}
            keyOf={(row) => `${row.integration} ${row.owner} ${row.action} ${row.scope} ${ms(row.window)} ${row.limit}`}
            empty="Nothing of a vendor's limit was used within its window."
            columns={[
              {
                title: "Integration",
                cell: (row) => <a href={to("integrations", last(row.integration))}>{last(row.integration)}</a>,
              },
              { title: "Counted by", width: 30, cell: (row) => whose(row) },
              { title: "Action", cell: (row) => (row.action ? <code>{row.action}</code> : "all") },
              { title: "Limit", width: 20, isFigure: true, cell: (row) => `${count(row.limit)} in ${span(ms(row.window))}` },
              { title: "Used", width: 22, isFigure: true, cell: (row) => <Used row={row} /> },
              { title: "By this workspace", width: 18, isFigure: true, cell: (row) => count(row.ownUsed) },
              { title: "Vendor wants none for", width: 22, cell: (row) => <Held row={row} /> },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

function whose(row: QuotaUse): string {
  if (row.scope === RateLimitScope.APP) return "our app, over all workspaces";
  if (row.scope === RateLimitScope.WORKSPACE) return "workspace";
  return `connection ${last(row.owner)}`;
}

function Used({ row }: { row: QuotaUse }): JSX.Element {
  const part = Number(row.used) / Number(row.limit || 1n);
  const mood: Mood = part >= 1 ? "bad" : part >= 0.8 ? "warn" : "plain";
  return <Mark mood={mood}>{`${count(row.used)}, ${share(row.used, row.limit)}`}</Mark>;
}

function Held({ row }: { row: QuotaUse }): JSX.Element {
  const left = row.heldUntil ? timestampMs(row.heldUntil) - Date.now() : 0;
  return left > 0 ? <Mark mood="bad">{span(left)}</Mark> : <></>;
}
