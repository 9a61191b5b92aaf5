// Keys and calls of a workspace: who may call, who did, and how to end a key that is in foreign hands.

import type { JSX } from "preact";
import type { ApiKey } from "../../gen/cordboard/auth/v1/api_key_service_pb.ts";
import { SigningKey_State } from "../../gen/cordboard/auth/v1/token_service_pb.ts";
import type { SigningKey } from "../../gen/cordboard/auth/v1/token_service_pb.ts";
import { Role } from "../../gen/cordboard/common/v1/options_pb.ts";
import { Call_Outcome } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import type { Call } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Filter, Mark, Panel, TraceLink, everything } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, count, last, took, when, word } from "../say.ts";
import { Table } from "../table.tsx";
import { InWorkspace } from "../workspaces.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 5;

/** Shows keys and calls of a workspace, and the keys that sign tokens. */
export function Keys({ route }: { route: Route }): JSX.Element {
  return (
    <>
      <InWorkspace route={route} others={<Filter route={route} name="caller" label="Caller has" />}>
        {(workspace) => (
          <>
            <ApiKeys key={`keys ${workspace}`} workspace={workspace} />
            <Calls key={`calls ${workspace}`} workspace={workspace} route={route} />
          </>
        )}
      </InWorkspace>
      <SigningKeys />
    </>
  );
}

function ApiKeys({ workspace }: { workspace: string }): JSX.Element {
  const mesh = useMesh();
  const parent = `workspaces/${workspace}`;
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.apiKeys.listApiKeys({ parent, pageSize: PAGE, pageToken }),
        (page) => page.apiKeys,
      ),
    [workspace],
    EVERY_SECONDS,
  );
  return (
    <Panel title={`API keys of ${workspace}`}>
      <Asked of={found}>
        {(rows) => (
          <Table
            label="API keys"
            wraps
            rows={rows}
            keyOf={(row) => row.name}
            empty="There are none."
            columns={[
              { title: "Key", width: 17, cell: (row) => <code>{last(row.name)}</code> },
              { title: "Called", width: 14, cell: (row) => row.displayName },
              { title: "For", width: 11, cell: (row) => row.environment },
              { title: "May", width: 9, cell: (row) => row.roles.map((role) => word(Role, role)).join(", ") },
              { title: "Made", width: 14, cell: (row) => `${ago(row.createTime)} by ${row.creator}` },
              { title: "Used", width: 11, cell: (row) => ago(row.lastUseTime) || "never" },
              { title: "State", width: 9, cell: (row) => <State row={row} /> },
              {
                title: "See",
                width: 10,
                cell: (row) => <a href={to("keys", "", { workspace, caller: row.name })}>Its calls</a>,
              },
              {
                title: "Do",
                width: 12,
                cell: (row) =>
                  row.revokeTime ? (
                    ""
                  ) : (
                    <Act
                      label="Revoke"
                      asks="Every service refuses it within five seconds. It cannot be taken back."
                      typed={last(row.name)}
                      reason="required"
                      isDangerous
                      act={async (reason) => {
                        await mesh.apiKeys.revokeApiKey({ name: row.name, reason });
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

function State({ row }: { row: ApiKey }): JSX.Element {
  if (row.revokeTime) return <span class="soft">revoked {ago(row.revokeTime)}</span>;
  if (row.expireTime && ago(row.expireTime).endsWith("ago")) return <span class="soft">ended</span>;
  return <Mark mood="good">{row.expireTime ? `ends ${ago(row.expireTime)}` : "good"}</Mark>;
}

function Calls({ workspace, route }: { workspace: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const wanted = (route.query.get("caller") ?? "").toLowerCase();
  const found = useLive(
    async () => (await mesh.proxy.listCalls({ parent: `workspaces/${workspace}`, pageSize: PAGE })).calls,
    [workspace],
    EVERY_SECONDS,
  );
  return (
    <Panel title={`Calls of ${workspace}`}>
      <Asked of={found}>
        {(calls) => {
          const rows = calls.filter((each) => each.caller.toLowerCase().includes(wanted));
          return (
            <>
              <p class="soft">
                {count(rows.length)} of the newest {count(calls.length)} calls, by {callers(rows)}
              </p>
              <Table
                label="Calls"
                rows={rows}
                keyOf={(row) => row.name}
                empty="No call fits."
                columns={[
                  { title: "When", width: 14, cell: (row) => when(row.createTime) },
                  { title: "Caller", width: 30, cell: (row) => <span title={row.caller}>{bare(row.caller)}</span> },
                  { title: "Connection", cell: (row) => last(row.connection) },
                  { title: "Action", cell: (row) => <code>{row.action}</code> },
                  { title: "Outcome", width: 24, cell: (row) => <Outcome row={row} /> },
                  { title: "Took", width: 10, isFigure: true, cell: (row) => took(row.duration) },
                  { title: "Trace", width: 11, cell: (row) => <TraceLink trace={row.traceId} /> },
                ]}
              />
            </>
          );
        }}
      </Asked>
    </Panel>
  );
}

/** Returns a caller's name as it is within its workspace. */
function bare(caller: string): string {
  return caller.replace(/^workspaces\/[^/]+\//, "");
}

function callers(rows: readonly Call[]): string {
  const sums = new Map<string, number>();
  for (const each of rows) sums.set(each.caller, (sums.get(each.caller) ?? 0) + 1);
  const named = [...sums].sort(([, a], [, b]) => b - a).map(([caller, calls]) => `${bare(caller)} ${count(calls)}`);
  return named.slice(0, 5).join(", ") || "nobody";
}

function Outcome({ row }: { row: Call }): JSX.Element {
  const status = row.vendorStatus ? ` ${row.vendorStatus}` : "";
  if (row.outcome === Call_Outcome.OK) return <>ok{status}</>;
  return <Mark mood="bad">{`${row.errorReason || word(Call_Outcome, row.outcome)}${status}`}</Mark>;
}

function SigningKeys(): JSX.Element {
  const mesh = useMesh();
  const found = useLive(async () => (await mesh.tokens.listSigningKeys({})).signingKeys, [], 15);
  return (
    <Panel title="Keys that sign tokens">
      <Asked of={found}>
        {(rows) => (
          <Table
            label="Keys that sign tokens"
            rows={rows}
            keyOf={(row) => row.name}
            empty="There is none yet."
            columns={[
              { title: "Key", cell: (row) => <code>{last(row.name)}</code> },
              { title: "What it does", width: 30, cell: (row) => DOES[row.state] },
              { title: "Made", width: 16, cell: (row) => ago(row.createTime) },
              { title: "Leaves", width: 18, cell: (row) => ago(row.expireTime) },
              { title: "Do", width: 11, cell: (row) => <RevokeSigning row={row} done={found.again} /> },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

const DOES: Record<number, string> = {
  [SigningKey_State.PUBLISHED]: "known, and does not sign yet",
  [SigningKey_State.SIGNING]: "signs",
  [SigningKey_State.VERIFYING]: "only checks what it signed",
};

function RevokeSigning({ row, done }: { row: SigningKey; done: () => void }): JSX.Element {
  const mesh = useMesh();
  return (
    <Act
      label="Revoke"
      asks="What it signed is refused at once, and the next key signs in its place. You are asked for a token of yours again."
      typed={last(row.name)}
      reason="required"
      isDangerous
      act={async (reason) => {
        await mesh.tokens.revokeSigningKey({ name: row.name, reason });
        done();
      }}
    />
  );
}
