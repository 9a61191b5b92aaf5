// Connections of a workspace: which have to be renewed, when credentials end, and which are no longer wanted.

import type { JSX } from "preact";
import { Connection_State } from "../../gen/cordboard/auth/v1/connection_service_pb.ts";
import type { Connection } from "../../gen/cordboard/auth/v1/connection_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Filter, Mark, Panel, everything } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, last, when, word } from "../say.ts";
import { Table } from "../table.tsx";
import { InWorkspace } from "../workspaces.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 5;

/** Shows the connections of a workspace. */
export function Connections({ route }: { route: Route }): JSX.Element {
  return (
    <InWorkspace route={route} others={<Filter route={route} name="q" label="Name or integration has" />}>
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
        (pageToken) => mesh.connections.listConnections({ parent, pageSize: PAGE, pageToken }),
        (page) => page.connections,
      ),
    [workspace],
    EVERY_SECONDS,
  );
  return (
    <Panel title={`Connections of ${workspace}`}>
      <Asked of={found}>
        {(rows) => (
          <Table
            label="Connections"
            rows={rows.filter((row) => `${row.name} ${row.integration}`.toLowerCase().includes(wanted))}
            keyOf={(row) => row.name}
            empty="There are none."
            columns={[
              { title: "Connection", cell: (row) => row.displayName || last(row.name) },
              {
                title: "Integration",
                cell: (row) => <a href={to("integrations", last(row.integration))}>{last(row.integration)}</a>,
              },
              { title: "Environment", width: 14, cell: (row) => row.environment },
              { title: "By", width: 16, cell: (row) => row.authScheme },
              { title: "State", width: 20, cell: (row) => <State row={row} /> },
              { title: "Problem", cell: (row) => row.problem },
              { title: "Credential ends", width: 16, cell: (row) => ago(row.credentialExpireTime) },
              { title: "Changed", width: 18, cell: (row) => when(row.updateTime) },
              {
                title: "See",
                width: 9,
                cell: (row) => <a href={to("traces", "", { attribute: `cordboard.connection=${row.name}` })}>Traces</a>,
              },
              {
                title: "Do",
                width: 11,
                cell: (row) => (
                  <Act
                    label="Delete"
                    asks="Its credentials are shredded, and revoked where the vendor can do so. Calls by it end."
                    typed={last(row.name)}
                    isDangerous
                    act={async () => {
                      await mesh.connections.deleteConnection({ name: row.name });
                      found.again();
                    }}
                  />
                ),
              },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

function State({ row }: { row: Connection }): JSX.Element {
  const mood = row.state === Connection_State.READY ? "good" : row.state === Connection_State.UNVERIFIED ? "warn" : "bad";
  return <Mark mood={mood}>{word(Connection_State, row.state)}</Mark>;
}
