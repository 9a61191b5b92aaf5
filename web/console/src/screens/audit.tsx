// The journals: who did what, service by service, and whether they are whole.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { AuditEntry, VerifyAuditResponse } from "../../gen/cordboard/common/v1/audit_service_pb.ts";
import { said, useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Asked, Choice, Filter, Mark, Panel, TraceLink, everything } from "../parts.tsx";
import type { Route } from "../route.ts";
import { count, when } from "../say.ts";
import { Table } from "../table.tsx";
import { useWorkspaces } from "../workspaces.tsx";

const PAGE = 1000;
const MOST = 20_000;
const SERVICES = [
  ["auth", "Auth"],
  ["catalog", "Catalog"],
  ["flags", "Flags"],
  ["proxy", "Proxy"],
] as const;

/** Shows one chain of one service's journal, newest first. */
export function Audit({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const workspaces = useWorkspaces();
  const service = route.query.get("service") ?? SERVICES[0][0];
  const chain = route.query.get("chain") ?? "";
  const actionPrefix = route.query.get("action") ?? "";
  const [chosen, setChosen] = useState("");
  // Each service keeps a journal of its own: Envoy goes by the header.
  const headers = { "audit-service": service };
  const found = useLive(
    async () => {
      const entries = await everything(
        (pageToken) => mesh.audit.listAuditEntries({ chain, actionPrefix, pageSize: PAGE, pageToken }, { headers }),
        (page) => page.entries,
        MOST,
      );
      return entries.reverse();
    },
    [service, chain, actionPrefix],
    30,
  );
  const chains = [["", "of no workspace"] as const, ...(workspaces.value ?? []).map((id) => [id, id] as const)];
  return (
    <>
      <Panel title="Journal" aside={<Verify key={service} service={service} />}>
        <div class="filters">
          <Choice route={route} name="service" label="Of" choices={SERVICES} />
          <Choice route={route} name="chain" label="Chain" choices={chains} />
          <Filter route={route} name="action" label="Action begins with" hint="auth.connection." />
        </div>
        <Asked of={found}>
          {(rows) => (
            <>
              <Table
                label="Journal"
                rows={rows}
                keyOf={(row) => String(row.sequence)}
                empty="There is no such entry."
                columns={[
                  {
                    title: "No.",
                    width: 9,
                    isFigure: true,
                    cell: (row) => (
                      <button
                        type="button"
                        aria-label={`Entry ${row.sequence}`}
                        onClick={() => setChosen(String(row.sequence))}
                      >
                        {String(row.sequence)}
                      </button>
                    ),
                  },
                  { title: "When", width: 22, cell: (row) => when(row.time) },
                  { title: "Who", cell: (row) => row.actor },
                  { title: "Did what", cell: (row) => row.action },
                  { title: "To what", cell: (row) => row.resource },
                  {
                    title: "Outcome",
                    width: 20,
                    cell: (row) => <Mark mood={row.outcome === "ok" ? "plain" : "bad"}>{row.outcome}</Mark>,
                  },
                ]}
              />
              {rows.length >= MOST && <p class="empty">Older entries are left out: `cordboard audit export` has all.</p>}
              <Entry entry={rows.find((row) => String(row.sequence) === chosen)} />
            </>
          )}
        </Asked>
      </Panel>
    </>
  );
}

function Entry({ entry }: { entry: AuditEntry | undefined }): JSX.Element | null {
  if (!entry) return null;
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(entry.body) as Record<string, unknown>;
  } catch {
    // It is shown as it is.
  }
  return (
    <section aria-label="Entry" class="letter">
      <h3>
        {`Entry ${entry.sequence}`}{" "}
        {typeof body.trace_id === "string" && <TraceLink trace={body.trace_id}>its trace</TraceLink>}
      </h3>
      <pre tabIndex={0}>{Object.keys(body).length ? JSON.stringify(body, null, 2) : entry.body}</pre>
    </section>
  );
}

function Verify({ service }: { service: string }): JSX.Element {
  const mesh = useMesh();
  const [found, setFound] = useState<VerifyAuditResponse>();
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const verify = async () => {
    setBusy(true);
    setProblem("");
    try {
      setFound(await mesh.audit.verifyAudit({}, { headers: { "audit-service": service }, timeoutMs: 600_000 }));
    } catch (error) {
      setProblem(said(error));
    } finally {
      setBusy(false);
    }
  };
  const [broken] = found?.breaks ?? [];
  return (
    <span role="status">
      {found && !broken && (
        <Mark mood="good">{`whole: ${count(found.entryCount)} entries in ${count(found.chainCount)} chains`}</Mark>
      )}
      {broken && (
        <Mark mood="bad">{`entry ${broken.sequence} of ${broken.chain || "no workspace"} is ${broken.problem}`}</Mark>
      )}
      {problem && <Mark mood="bad">{problem}</Mark>}{" "}
      <button type="button" disabled={isBusy} onClick={() => void verify()}>
        Verify
      </button>
    </span>
  );
}
