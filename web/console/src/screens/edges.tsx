// Edges: the meshes that follow this one, how far behind they are, and what went wrong there last.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { JSX } from "preact";
import type { Edge } from "../../gen/cordboard/catalog/v1/sync_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Mark, Panel, everything } from "../parts.tsx";
import { ago, last, ms, took } from "../say.ts";
import { Table } from "../table.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 5;
const STALE_MS = 600_000;
const SILENT_MS = 45_000;

/** Shows the edges. */
export function Edges(): JSX.Element {
  const mesh = useMesh();
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.sync.listEdges({ pageSize: PAGE, pageToken }),
        (page) => page.edges,
      ),
    [],
    EVERY_SECONDS,
  );
  return (
    <>
      <OwnHub />
      <Panel title="Edges">
        <p class="soft">
          An edge that is silent goes on with what it has. Why it does not reach this mesh stands on its own console, under
          Attention.
        </p>
        <Asked of={found}>
          {(rows) => (
            <Table
              label="Edges"
              rows={rows}
              keyOf={(row) => row.name}
              empty="No mesh follows this one. `cordboard edges register` lets one."
              columns={[
                { title: "Edge", cell: (row) => `${last(row.name)}${row.title ? ` (${row.title})` : ""}` },
                { title: "State", width: 16, cell: (row) => <State edge={row} /> },
                { title: "Has", width: 14, isFigure: true, cell: (row) => `${row.sequence} of ${row.targetSequence}` },
                { title: "Behind", width: 11, isFigure: true, cell: (row) => (row.acknowledgeTime ? took(row.staleness) : "") },
                { title: "Last heard", width: 14, cell: (row) => ago(row.acknowledgeTime) },
                { title: "Release", width: 11, cell: (row) => row.release },
                { title: "Cannot", cell: (row) => row.missingCapabilities.join(", ") },
                { title: "Last error", cell: (row) => (row.lastError ? <Mark mood="bad">{row.lastError}</Mark> : "") },
                {
                  title: "Do",
                  width: 11,
                  cell: (row) =>
                    row.revokeTime ? (
                      ""
                    ) : (
                      <Act
                        label="Revoke"
                        asks="It gets nothing more, and has to be registered anew. What it has goes on working there."
                        typed={last(row.name)}
                        isDangerous
                        act={async () => {
                          await mesh.sync.revokeEdge({ name: row.name });
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
    </>
  );
}

/** Shows the hub that this mesh follows; nothing where it follows none. */
function OwnHub(): JSX.Element | null {
  const mesh = useMesh();
  const found = useLive(() => mesh.sync.getSyncState({}), [], EVERY_SECONDS);
  const state = found.value;
  if (!state?.hub) return null;
  return (
    <Panel title="The hub of this mesh">
      <p>
        {state.connected ? <Mark mood="good">reached</Mark> : <Mark mood="bad">not reached</Mark>}, as its edge{" "}
        <b>{state.edge}</b>. This mesh has change {String(state.sequence)} of {String(state.targetSequence)}
        {state.age && `, and was last known to have everything ${took(state.age)} ago`}.
      </p>
      {state.lastError && <p class="problem">{state.lastError}</p>}
    </Panel>
  );
}

function State({ edge }: { edge: Edge }): JSX.Element {
  if (edge.revokeTime) return <span class="soft">revoked</span>;
  if (!edge.acknowledgeTime) return <Mark mood="bad">never connected</Mark>;
  if (ms(edge.staleness) >= STALE_MS) return <Mark mood="bad">behind</Mark>;
  if (Date.now() - timestampMs(edge.acknowledgeTime) >= SILENT_MS) return <Mark mood="warn">silent</Mark>;
  return <Mark mood="good">current</Mark>;
}
