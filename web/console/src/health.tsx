// What the services of the mesh say of themselves. It is asked without a token: it has to be there when Auth is not.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { JSX } from "preact";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../gen/grpc/health/v1/health_pb.ts";
import { said, useLive } from "./live.ts";
import type { Live } from "./live.ts";
import { Mark, Panel } from "./parts.tsx";
import { unsampled } from "./unsampled.ts";

const SERVICES = ["auth", "catalog", "flags", "proxy", "telemetry", "uqi"];
const EVERY_SECONDS = 3;
const PATIENCE_MS = 4000;

/** Something that services miss, or services that do not answer. */
export interface Outage {
  what: string;
  services: string[];
  why: string;
}

/** Asks which services miss what they need. */
export function useOutages(): Live<Outage[]> {
  return useLive(outages, [], EVERY_SECONDS);
}

/** Shows which services miss what they need; nothing while all is well. */
export function Outages({ found }: { found: Live<Outage[]> }): JSX.Element | null {
  const rows = found.value ?? [];
  if (rows.length === 0) return null;
  return (
    <Panel title="The mesh itself">
      <ul class="plain">
        {rows.map((row) => (
          <li key={row.what + row.why}>
            <Mark mood="bad">{row.what}</Mark>, say {row.services.join(", ")}. {row.why}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

async function outages(): Promise<Outage[]> {
  const client = createClient(Health, createGrpcWebTransport({ baseUrl: location.origin }));
  const missing = new Map<string, string[]>();
  const silent = new Map<string, string[]>();
  const add = (to: Map<string, string[]>, key: string, service: string) => to.set(key, [...(to.get(key) ?? []), service]);
  const ask = async (service: string) => {
    // Envoy goes by the header: each service answers for itself.
    const headers = { "health-service": service, traceparent: unsampled() };
    try {
      const { statuses } = await client.list({}, { headers, timeoutMs: PATIENCE_MS });
      for (const [name, answer] of Object.entries(statuses))
        // The names of RPC services have dots; the others are what a service needs.
        if (name && !name.includes(".") && answer.status !== Status.SERVING) add(missing, name, service);
    } catch (error) {
      const isSlow = error instanceof ConnectError && error.code === Code.DeadlineExceeded;
      add(silent, isSlow ? "it says nothing" : said(error), service);
    }
  };
  await Promise.all(SERVICES.map(ask));
  const of = (services: string[]) => services.sort();
  const found: Outage[] = [];
  for (const [name, services] of missing) {
    const isDatabase = name === "database";
    found.push({
      what: `${name} does not answer`,
      services: of(services),
      why: isDatabase
        ? "What is in memory goes on; what may change something is refused. Look at PostgreSQL: nothing else needs a restart."
        : "What needs it is refused until it is back.",
    });
  }
  for (const [why, services] of silent)
    found.push({ what: "a service does not answer", services: [`Envoy of ${of(services).join(", ")}`], why: `${why}.` });
  return found.sort((a, b) => b.services.length - a.services.length);
}
