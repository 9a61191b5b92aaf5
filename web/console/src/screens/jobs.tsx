// Jobs, and those that nothing will repeat: look, correct, replay, discard.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { DeadLetter } from "../../gen/cordboard/proxy/v1/dead_letter_service_pb.ts";
import { Job_State } from "../../gen/cordboard/proxy/v1/job_service_pb.ts";
import type { Job } from "../../gen/cordboard/proxy/v1/job_service_pb.ts";
import { said, useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Choice, Filter, Mark, Panel, TraceLink, announce } from "../parts.tsx";
import type { Mood } from "../parts.tsx";
import { narrow, to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, count, last, word } from "../say.ts";
import { Table } from "../table.tsx";
import { InWorkspace } from "../workspaces.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 5;
const SHOW = [
  ["dead", "dead letters"],
  ["jobs", "all jobs"],
] as const;
const MOODS: Partial<Record<Job_State, Mood>> = {
  [Job_State.DEAD]: "bad",
  [Job_State.SUCCEEDED]: "good",
  [Job_State.WAITING]: "warn",
};

/** Shows a workspace's jobs or its dead letters. */
export function Jobs({ route }: { route: Route }): JSX.Element {
  const show = route.query.get("show") ?? SHOW[0][0];
  return (
    <InWorkspace route={route} others={<Choice route={route} name="show" label="Show" choices={SHOW} />}>
      {(workspace) =>
        show === "jobs" ? (
          <AllJobs workspace={workspace} />
        ) : (
          <DeadLetters key={workspace} workspace={workspace} route={route} />
        )
      }
    </InWorkspace>
  );
}

function AllJobs({ workspace }: { workspace: string }): JSX.Element {
  const mesh = useMesh();
  const parent = `workspaces/${workspace}`;
  const found = useLive(() => mesh.jobs.listJobs({ parent, pageSize: PAGE }), [workspace], EVERY_SECONDS);
  return (
    <Panel title="Jobs">
      <Asked of={found}>
        {(page) => (
          <Table
            label="Jobs"
            rows={page.jobs}
            keyOf={(row) => row.name}
            empty="There are no jobs."
            columns={[
              { title: "Job", width: 28, cell: (row) => <code>{last(row.name)}</code> },
              { title: "State", width: 11, cell: (row) => <State job={row} /> },
              { title: "Action", cell: (row) => row.action },
              { title: "Connection", width: 18, cell: (row) => last(row.connection) },
              { title: "Tries", width: 8, isFigure: true, cell: (row) => `${row.attempts}/${row.maxAttempts}` },
              { title: "Why", width: 22, cell: (row) => row.errorReason },
              { title: "Made", width: 14, cell: (row) => ago(row.createTime) },
              { title: "Trace", width: 10, cell: (row) => <TraceLink trace={row.traceId || row.submitTraceId} /> },
              {
                title: "Do",
                width: 12,
                cell: (row) =>
                  row.state === Job_State.QUEUED || row.state === Job_State.WAITING ? (
                    <Act
                      label="Cancel"
                      asks="It will not run."
                      isDangerous
                      act={async () => {
                        await mesh.jobs.cancelJob({ name: row.name });
                        found.again();
                      }}
                    />
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

function State({ job }: { job: Job }): JSX.Element {
  return <Mark mood={MOODS[job.state] ?? "plain"}>{word(Job_State, job.state)}</Mark>;
}

function DeadLetters({ workspace, route }: { workspace: string; route: Route }): JSX.Element {
  const mesh = useMesh();
  const parent = `workspaces/${workspace}`;
  const filter = { action: route.query.get("action") ?? "", errorReason: route.query.get("reason") ?? "" };
  const key = [workspace, filter.action, filter.errorReason];
  const found = useLive(() => mesh.deadLetters.listDeadLetters({ parent, pageSize: PAGE, filter }), key, EVERY_SECONDS);
  const chosen = route.query.get("letter") ?? "";
  const replay = async (force: boolean) => {
    const done = await mesh.deadLetters.replayDeadLetters({ parent, filter, limit: PAGE, force });
    found.again();
    const doubted = done.inDoubtCount ? `; ${count(done.inDoubtCount)} are in doubt and stay` : "";
    return `${count(done.jobs.length)} replayed${doubted}`;
  };
  return (
    <Panel title="Dead letters">
      <Asked of={found}>
        {(page) => (
          <>
            <div class="filters">
              <Filter route={route} name="action" label="Action" />
              <Filter route={route} name="reason" label="Reason" hint="VENDOR_ERROR" />
              <Act
                label="Replay all that are shown"
                asks={`Runs ${count(page.deadLetters.length)} jobs again. Those that the vendor may have done already stay.`}
                act={() => replay(false)}
              />
              <Act
                label="Discard all that are shown"
                asks="They are never done. That cannot be taken back."
                typed={workspace}
                isDangerous
                act={async () => {
                  const done = await mesh.deadLetters.discardDeadLetters({ parent, filter });
                  found.again();
                  return `${count(done.discardedCount)} discarded`;
                }}
              />
            </div>
            <Table
              label="Dead letters"
              rows={page.deadLetters}
              keyOf={(row) => row.name}
              empty="There are none."
              columns={[
                {
                  title: "Letter",
                  width: 28,
                  cell: (row) => (
                    <a href={to("jobs", "", { ...Object.fromEntries(route.query), letter: last(row.name) })}>
                      <code>{last(row.name)}</code>
                    </a>
                  ),
                },
                { title: "Action", cell: (row) => row.job?.action },
                { title: "Connection", width: 16, cell: (row) => last(row.job?.connection ?? "") },
                { title: "Why", width: 20, cell: (row) => <Mark mood="bad">{row.job?.errorReason}</Mark> },
                { title: "", width: 10, cell: (row) => (row.inDoubt ? <Mark mood="warn">in doubt</Mark> : "") },
                { title: "Tries", width: 7, isFigure: true, cell: (row) => row.job?.attempts },
                { title: "Since", width: 14, cell: (row) => ago(row.job?.endTime) },
                { title: "Trace", width: 10, cell: (row) => <TraceLink trace={row.job?.traceId ?? ""} /> },
              ]}
            />
            {chosen && <Letter key={chosen} name={`${parent}/deadLetters/${chosen}`} done={found.again} route={route} />}
          </>
        )}
      </Asked>
    </Panel>
  );
}

function Letter({ name, done, route }: { name: string; done: () => void; route: Route }): JSX.Element {
  const mesh = useMesh();
  const found = useLive(() => mesh.deadLetters.getDeadLetter({ name }), [name]);
  const close = () => {
    narrow(route, { letter: "" });
    done();
  };
  return (
    <section class="letter" aria-label="Dead letter">
      <Asked of={found}>
        {(letter) => (
          <>
            <h3>{letter.job?.action}</h3>
            <p class="problem">{letter.job?.errorMessage || letter.job?.errorReason}</p>
            {letter.inDoubt && (
              <p>
                <Mark mood="warn">The vendor may have done it already:</Mark> look there before you replay it.
              </p>
            )}
            <Input letter={letter} changed={found.again} />
            <div class="row">
              <Act
                label="Replay"
                asks={letter.inDoubt ? "Runs it again, though the vendor may have done it already." : "Runs it again."}
                {...(letter.inDoubt ? { typed: "again" } : {})}
                isDangerous={letter.inDoubt}
                act={async () => {
                  const parent = name.slice(0, name.indexOf("/deadLetters/"));
                  const made = await mesh.deadLetters.replayDeadLetters({ parent, name, force: letter.inDoubt });
                  close();
                  return `replayed as ${last(made.jobs[0] ?? "nothing")}`;
                }}
              />
              <Act
                label="Discard"
                asks="It is never done. That cannot be taken back."
                isDangerous
                act={async () => {
                  const parent = name.slice(0, name.indexOf("/deadLetters/"));
                  await mesh.deadLetters.discardDeadLetters({ parent, name });
                  close();
                  return "discarded";
                }}
              />
              <button type="button" onClick={close}>
                Close
              </button>
            </div>
          </>
        )}
      </Asked>
    </section>
  );
}

function Input({ letter, changed }: { letter: DeadLetter; changed: () => void }): JSX.Element {
  const mesh = useMesh();
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  useEffect(() => setText(pretty(letter.inputJson)), [letter.etag]);
  const save = async () => {
    try {
      JSON.parse(text);
      await mesh.deadLetters.editDeadLetter({ name: letter.name, inputJson: text, etag: letter.etag });
      setProblem("");
      announce("input changed");
      changed();
    } catch (error) {
      setProblem(said(error));
    }
  };
  const isChanged = text !== pretty(letter.inputJson);
  return (
    <>
      <label class="wide">
        Input
        <textarea
          rows={Math.min(16, text.split("\n").length + 1)}
          value={text}
          spellcheck={false}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <button type="button" class="main" disabled={!isChanged} onClick={() => void save()}>
        Keep the change
      </button>
    </>
  );
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
