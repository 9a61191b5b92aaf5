// The mesh's RPCs, over gRPC-Web through Envoy.

import { createClient } from "@connectrpc/connect";
import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { ApiKeyService } from "../gen/cordboard/auth/v1/api_key_service_pb.ts";
import { ConnectionService } from "../gen/cordboard/auth/v1/connection_service_pb.ts";
import { TokenService } from "../gen/cordboard/auth/v1/token_service_pb.ts";
import { WorkspaceService } from "../gen/cordboard/auth/v1/workspace_service_pb.ts";
import { CatalogService } from "../gen/cordboard/catalog/v1/catalog_service_pb.ts";
import { DriftService } from "../gen/cordboard/catalog/v1/drift_service_pb.ts";
import { GovernanceService } from "../gen/cordboard/catalog/v1/governance_service_pb.ts";
import { SyncService } from "../gen/cordboard/catalog/v1/sync_service_pb.ts";
import { AuditService } from "../gen/cordboard/common/v1/audit_service_pb.ts";
import { ChoiceService } from "../gen/cordboard/flags/v1/choice_service_pb.ts";
import { ExperimentService } from "../gen/cordboard/flags/v1/experiment_service_pb.ts";
import { FlagService } from "../gen/cordboard/flags/v1/flag_service_pb.ts";
import { RolloutService } from "../gen/cordboard/flags/v1/rollout_service_pb.ts";
import { BreakerService } from "../gen/cordboard/proxy/v1/breaker_service_pb.ts";
import { DeadLetterService } from "../gen/cordboard/proxy/v1/dead_letter_service_pb.ts";
import { JobService } from "../gen/cordboard/proxy/v1/job_service_pb.ts";
import { ProxyService } from "../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import { QuotaService } from "../gen/cordboard/proxy/v1/quota_service_pb.ts";
import { AlertService } from "../gen/cordboard/telemetry/v1/alert_service_pb.ts";
import { LogService } from "../gen/cordboard/telemetry/v1/log_service_pb.ts";
import { MetricsService } from "../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import { TraceService } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import { FormService } from "../gen/cordboard/uqi/v1/form_service_pb.ts";
import type { Session } from "./session.ts";

/** The services. */
export type Mesh = ReturnType<typeof meshOf>;

/** Returns the services as the person of a session reaches them. */
export function connected(session: Session): Mesh {
  return meshOf(
    createGrpcWebTransport({
      baseUrl: location.origin,
      interceptors: [session.interceptor],
      useBinaryFormat: true,
      defaultTimeoutMs: 30_000,
    }),
  );
}

function meshOf(transport: Transport) {
  return {
    apiKeys: createClient(ApiKeyService, transport),
    tokens: createClient(TokenService, transport),
    workspaces: createClient(WorkspaceService, transport),
    connections: createClient(ConnectionService, transport),
    catalog: createClient(CatalogService, transport),
    drifts: createClient(DriftService, transport),
    governance: createClient(GovernanceService, transport),
    sync: createClient(SyncService, transport),
    audit: createClient(AuditService, transport),
    experiments: createClient(ExperimentService, transport),
    flags: createClient(FlagService, transport),
    choices: createClient(ChoiceService, transport),
    rollouts: createClient(RolloutService, transport),
    breakers: createClient(BreakerService, transport),
    deadLetters: createClient(DeadLetterService, transport),
    jobs: createClient(JobService, transport),
    proxy: createClient(ProxyService, transport),
    quotas: createClient(QuotaService, transport),
    alerts: createClient(AlertService, transport),
    logs: createClient(LogService, transport),
    metrics: createClient(MetricsService, transport),
    traces: createClient(TraceService, transport),
    forms: createClient(FormService, transport),
  };
}

const Context = createContext<Mesh | undefined>(undefined);

/** Gives the services to what is drawn within it. */
export const MeshProvider = Context.Provider;

/** Returns the services. */
export function useMesh(): Mesh {
  const mesh = useContext(Context);
  if (!mesh) throw new Error("nobody is signed in");
  return mesh;
}
