// One integration: its health by action, what it can do, its forms, its versions and what changed between them.

import { toJson } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { drawForm } from "@cordboard/form";
import type { FormDocument } from "@cordboard/form";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { DefinitionVersion } from "../../gen/cordboard/catalog/v1/catalog_service_pb.ts";
import { DriftKind } from "../../gen/cordboard/catalog/v1/drift_service_pb.ts";
import { DefinitionChange_Kind, Incompatibility_Direction } from "../../gen/cordboard/catalog/v1/governance_service_pb.ts";
import { VersionState } from "../../gen/cordboard/catalog/v1/lifecycle_pb.ts";
import { Dimension } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import type { Rate } from "../../gen/cordboard/telemetry/v1/metrics_service_pb.ts";
import { FormDocumentSchema } from "../../gen/cordboard/uqi/v1/form_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Filter, Mark, Panel, TraceLink, everything } from "../parts.tsx";
import { narrow, to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, before, count, last, share, took, when, word } from "../say.ts";
import { Table } from "../table.tsx";
import { RolloutTable } from "./flags.tsx";

const PAGE = 1000;
const HOUR = 3600;
const DAY = 86_400;
const QUARTER_MS = 91 * 86_400_000;

/** Shows an integration. */
export function OneIntegration({ slug, route }: { slug: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const name = `integrations/${slug}`;
  const found = useLive(() => mesh.catalog.getIntegration({ name }), [slug], 15);
  return (
    <Asked of={found}>
      {(integration) => (
        <>
          <Panel
            title={integration.title || slug}
            aside={
              <span>
                <a href={to("traces", "", { integration: slug })}>Traces</a>{" "}
                <a href={to("breakers", "", { q: slug })}>Breakers</a>{" "}
                <a href={to("flags", "", { q: slug })}>Flags and rollouts</a>
              </span>
            }
          >
            <p>{integration.description}</p>
            <p>
              {integration.owner ? `owned by ${integration.owner}` : "owned by nobody"} · version{" "}
              <b>{integration.activeVersion}</b> · {word(VersionState, integration.state)} ·{" "}
              {count(integration.actionCount)} actions · signs in by {integration.authSchemes.join(", ") || "nothing"}{" "}
              <Review name={name} done={found.again} />
            </p>
          </Panel>
          <Health slug={slug} />
          <DeadLetters slug={slug} />
          <Rollouts slug={slug} />
          <Changes slug={slug} />
          <Drifts slug={slug} />
          {route.query.get("form") ? <FormPreview name={route.query.get("form")!} route={route} /> : null}
          <Actions slug={slug} route={route} />
          <Versions slug={slug} route={route} />
        </>
      )}
    </Asked>
  );
}

function Review({ name, done }: { name: string; done: () => void }): JSX.Element {
  const mesh = useMesh();
  const [due, setDue] = useState(() => new Date(Date.now() + QUARTER_MS).toISOString().slice(0, 10));
  return (
    <Act
      label="Record a review"
      asks="Notes that somebody has looked at this integration."
      reason="optional"
      act={async (note) => {
        await mesh.governance.recordReview({ integration: name, note, dueTime: timestampFromDate(new Date(due)) });
        done();
      }}
    >
      <label>
        The next look is due
        <input type="date" required value={due} onInput={(event) => setDue(event.currentTarget.value)} />
      </label>
    </Act>
  );
}

function Health({ slug }: { slug: string }): JSX.Element {
  const mesh = useMesh();
  const rates = useLive(
    async () => {
      const dimensions = [Dimension.ACTION, Dimension.VERSION, Dimension.VARIANT];
      const request = { pageSize: PAGE, dimensions, filter: { integration: slug }, startTime: before(HOUR) };
      return (await mesh.metrics.listRates(request)).rates;
    },
    [slug],
    5,
  );
  return (
    <Panel title="Health of the last hour">
      <Asked of={rates}>
        {(rows) => (
          <Table
            label="Health by action"
            wraps
            rows={rows}
            keyOf={(row) => `${row.subject?.action} ${row.subject?.version} ${row.subject?.variant}`}
            empty="Nobody called it in the last hour."
            columns={[
              { title: "Action", cell: (row) => row.subject?.action },
              { title: "Version", width: 11, cell: (row) => row.subject?.version },
              { title: "Variant", width: 12, cell: (row) => row.subject?.variant },
              { title: "Calls", width: 9, isFigure: true, cell: (row) => count(row.calls) },
              {
                title: "Failed",
                width: 9,
                isFigure: true,
                cell: (row) =>
                  row.errors > 0n ? (
                    <TraceLink trace={row.failedExemplars[0]?.trace ?? ""}>
                      <Mark mood="bad">{share(row.errors, row.calls)}</Mark>
                    </TraceLink>
                  ) : (
                    0
                  ),
              },
              { title: "Why not", cell: (row) => causes(row) },
              { title: "p50", width: 10, isFigure: true, cell: (row) => took(row.p50) },
              { title: "p95", width: 10, isFigure: true, cell: (row) => took(row.p95) },
              {
                title: "Longest",
                width: 10,
                isFigure: true,
                cell: (row) => (
                  <TraceLink trace={row.slowExemplars[0]?.trace ?? ""}>{took(row.longest) || "none"}</TraceLink>
                ),
              },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

/** Says why calls did not go well: what failed, and what was refused because of that. */
function causes(rate: Rate): string {
  const sorted = Object.entries(rate.failures).sort(([, a], [, b]) => Number(b - a));
  return sorted.map(([cause, calls]) => `${cause} ${count(calls)}`).join(", ");
}

/** Says how many dead letters wait; nothing where none does. */
function DeadLetters({ slug }: { slug: string }): JSX.Element | null {
  const mesh = useMesh();
  const found = useLive(
    async () => {
      const { readings } = await mesh.metrics.listReadings({ pageSize: PAGE, metrics: ["cordboard.dead_letters"] });
      return readings.find((each) => each.attributes["cordboard.integration"] === slug)?.value ?? 0;
    },
    [slug],
    15,
  );
  if (!found.value) return null;
  return (
    <Panel title="Dead letters" aside={<a href={to("jobs")}>Jobs and dead letters</a>}>
      <p>
        <Mark mood="warn">{count(found.value)}</Mark> of its jobs failed for good and wait for somebody.
      </p>
    </Panel>
  );
}

/** Shows how far its versions and actions are rolled out; nothing where no rollout decides. */
function Rollouts({ slug }: { slug: string }): JSX.Element | null {
  const mesh = useMesh();
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.rollouts.listRollouts({ pageSize: PAGE, pageToken }),
        (page) => page.rollouts.filter((rollout) => decides(rollout, slug)),
      ),
    [slug],
    15,
  );
  if (!found.value?.length) return null;
  return (
    <Panel title="How far it is rolled out">
      <RolloutTable rows={found.value} />
    </Panel>
  );
}

/** Shows what decides who gets it and was changed within a day: what fails since then may fail because of that. */
function Changes({ slug }: { slug: string }): JSX.Element | null {
  const mesh = useMesh();
  const found = useLive(
    () =>
      everything(
        (pageToken) => mesh.flags.listFlags({ pageSize: PAGE, pageToken }),
        (page) => page.flags.filter((flag) => decides(flag, slug)),
      ),
    [slug],
    15,
  );
  const since = before(DAY).seconds;
  const rows = (found.value ?? []).filter((flag) => (flag.updateTime?.seconds ?? 0n) >= since);
  if (rows.length === 0) return null;
  rows.sort((a, b) => Number((b.updateTime?.seconds ?? 0n) - (a.updateTime?.seconds ?? 0n)));
  return (
    <Panel title="Changed within a day">
      <Table
        label="Changed within a day"
        rows={rows}
        keyOf={(row) => row.name}
        empty=""
        columns={[
          { title: "Flag", cell: (row) => <a href={to("flags", "", { flag: last(row.name) })}>{last(row.name)}</a> },
          { title: "What it decides", cell: (row) => row.description || DECIDES[last(row.name).split(".", 1)[0] ?? ""] },
          { title: "When", width: 16, cell: (row) => ago(row.updateTime) },
          { title: "Revision", width: 10, isFigure: true, cell: (row) => String(row.revision) },
          { title: "State", width: 10, cell: (row) => (row.killed ? <Mark mood="bad">killed</Mark> : "on") },
        ]}
      />
    </Panel>
  );
}

const DECIDES: Record<string, string> = {
  integration: "who may use it",
  version: "who gets which version",
  action: "who may use an action",
};

function decides({ name }: { name: string }, slug: string): boolean {
  const [kind = "", ...rest] = last(name).split(".");
  return kind in DECIDES && rest[0] === slug;
}

function Drifts({ slug }: { slug: string }): JSX.Element | null {
  const mesh = useMesh();
  const request = { parent: `integrations/${slug}`, pageSize: PAGE };
  const found = useLive(async () => (await mesh.drifts.listDrifts(request)).drifts, [slug], 15);
  if (found.value?.length === 0) return null;
  return (
    <Panel title="Where the vendor is not as the definition says">
      <Asked of={found}>
        {(rows) => (
          <Table
            label="Drift"
            rows={rows}
            keyOf={(row) => [row.definitionVersion, row.action, row.kind, row.place, row.rule, row.edge].join(" ")}
            empty="Nothing was seen."
            columns={[
              { title: "Action", cell: (row) => <code>{row.action}</code> },
              { title: "Version", width: 11, cell: (row) => last(row.definitionVersion) },
              { title: "What", width: 13, cell: (row) => word(DriftKind, row.kind) },
              { title: "Where", cell: (row) => <code>{row.place}</code> },
              { title: "Rule", cell: (row) => row.rule },
              { title: "Answers", width: 12, cell: (row) => `${count(row.answers)} of ${count(row.answersLookedAt)}` },
              { title: "Last", width: 16, cell: (row) => ago(row.lastTime) },
              {
                title: "Seen by",
                width: 14,
                cell: (row) => (row.edge ? last(row.edge) : <TraceLink trace={row.traceId}>a call here</TraceLink>),
              },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

function Actions({ slug, route }: { slug: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const parent = `integrations/${slug}`;
  const query = route.query.get("action") ?? "";
  const actions = useLive(
    () =>
      everything(
        (pageToken) => mesh.catalog.listActions({ parent, query, pageSize: PAGE, pageToken }),
        (page) => page.actions,
      ),
    [slug, query],
  );
  const forms = useLive(
    async () => new Set((await mesh.forms.listForms({ parent, pageSize: PAGE })).forms.map((form) => form.name)),
    [slug],
  );
  const form = (id: string) => `${parent}/forms/action.${id}`;
  return (
    <Panel title="Actions">
      <div class="filters">
        <Filter route={route} name="action" label="Find" />
      </div>
      <Asked of={actions}>
        {(rows) => (
          <Table
            label="Actions"
            rows={rows}
            keyOf={(row) => row.id}
            empty="No action fits."
            columns={[
              { title: "Action", cell: (row) => <code>{row.id}</code> },
              { title: "What it does", cell: (row) => row.title },
              { title: "Request", cell: (row) => <code>{`${row.method} ${row.path}`}</code> },
              { title: "", width: 12, cell: (row) => (row.deprecated ? <Mark mood="warn">deprecated</Mark> : "") },
              {
                title: "Form",
                width: 9,
                cell: (row) =>
                  forms.value?.has(form(row.id)) ? (
                    <a href={to("integrations", slug, { form: form(row.id) })} aria-label={`Form of ${row.id}`}>
                      Form
                    </a>
                  ) : (
                    ""
                  ),
              },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

function FormPreview({ name, route }: { name: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const place = useRef<HTMLDivElement>(null);
  const found = useLive(async () => toJson(FormDocumentSchema, await mesh.forms.getFormDocument({ name })), [name]);
  useEffect(() => {
    if (found.value) place.current?.replaceChildren(drawForm(found.value as unknown as FormDocument).element);
  }, [found.value]);
  return (
    <Panel
      title={`Form of ${last(name).replace("action.", "")}`}
      aside={
        <button type="button" onClick={() => narrow(route, { form: "" })}>
          Close
        </button>
      }
    >
      <Asked of={found}>{() => <div class="form" ref={place} />}</Asked>
    </Panel>
  );
}

function Versions({ slug, route }: { slug: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const parent = `integrations/${slug}`;
  const found = useLive(
    async () => (await mesh.catalog.listDefinitionVersions({ parent, pageSize: 100 })).definitionVersions,
    [slug],
    15,
  );
  const move = async (row: DefinitionVersion, state: VersionState, reason: string) => {
    await mesh.governance.transitionDefinitionVersion({ name: row.name, etag: row.etag, state, reason });
    found.again();
  };
  return (
    <Panel title="Versions">
      <Asked of={found}>
        {(rows) => (
          <>
            <Table
              label="Versions"
              rows={rows}
              keyOf={(row) => row.name}
              empty="There is none."
              columns={[
                { title: "Version", width: 12, cell: (row) => (row.active ? <b>{last(row.name)}</b> : last(row.name)) },
                { title: "State", width: 12, cell: (row) => word(VersionState, row.state) },
                { title: "Since", width: 22, cell: (row) => when(row.createTime) },
                { title: "By", cell: (row) => row.creator },
                { title: "Why", cell: (row) => row.reason },
                {
                  title: "Compare",
                  width: 14,
                  cell: (row) => {
                    const old = rows[rows.indexOf(row) + 1];
                    const versions = { old: old ? last(old.name) : "", new: last(row.name) };
                    return old ? (
                      <a href={to("integrations", slug, versions)}>{`with ${last(old.name)}`}</a>
                    ) : (
                      <span class="soft">the first</span>
                    );
                  },
                },
                {
                  title: "Do",
                  width: 26,
                  cell: (row) => (
                    <span class="acts">
                      {row.state === VersionState.STAGED || row.state === VersionState.DEPRECATED ? (
                        <Act
                          label="Activate"
                          asks={`Makes ${last(row.name)} the version that everybody gets who has not pinned another one.`}
                          reason="optional"
                          act={(reason) => move(row, VersionState.ACTIVE, reason)}
                        />
                      ) : null}
                      {row.state === VersionState.ACTIVE || row.state === VersionState.STAGED ? (
                        <Act
                          label="Deprecate"
                          asks={`Tells whoever uses ${last(row.name)} to leave it. Their calls go on.`}
                          reason="optional"
                          act={(reason) => move(row, VersionState.DEPRECATED, reason)}
                        />
                      ) : null}
                      {row.state === VersionState.DEPRECATED ? (
                        <Act
                          label="Retire"
                          asks="Calls of this version end. That cannot be taken back."
                          typed={last(row.name)}
                          reason="required"
                          isDangerous
                          act={(reason) => move(row, VersionState.RETIRED, reason)}
                        />
                      ) : null}
                    </span>
                  ),
                },
              ]}
            />
            {route.query.get("old") ? (
              <Difference slug={slug} old={route.query.get("old")!} new={route.query.get("new") ?? ""} />
            ) : null}
          </>
        )}
      </Asked>
    </Panel>
  );
}

function Difference(given: { slug: string; old: string; new: string }): JSX.Element {
  const mesh = useMesh();
  const request = { parent: `integrations/${given.slug}`, oldVersion: given.old, newVersion: given.new };
  const found = useLive(() => mesh.governance.diffDefinitionVersions(request), [given.slug, given.old, given.new]);
  return (
    <Asked of={found}>
      {(difference) => (
        <section aria-label="Difference">
          <h3>{`From ${given.old} to ${given.new}`}</h3>
          <p>
            <Mark mood={difference.backward ? "good" : "bad"}>
              {difference.backward ? "Whoever uses the old one can use the new one." : "It breaks who uses the old one."}
            </Mark>
          </p>
          <ul>
            {difference.incompatibilities.map((each, index) => (
              <li key={index}>
                <b>{word(Incompatibility_Direction, each.direction)}</b> <code>{each.field}</code>: {each.description}
              </li>
            ))}
          </ul>
          <Table
            label="Changes"
            rows={difference.changes}
            keyOf={(row) => `${row.field} ${row.kind}`}
            empty="They are the same."
            columns={[
              { title: "", width: 10, cell: (row) => word(DefinitionChange_Kind, row.kind) },
              { title: "Field", cell: (row) => <code>{row.field}</code> },
              { title: "Was", cell: (row) => <code title={row.oldValue}>{row.oldValue}</code> },
              { title: "Is", cell: (row) => <code title={row.newValue}>{row.newValue}</code> },
            ]}
          />
        </section>
      )}
    </Asked>
  );
}
