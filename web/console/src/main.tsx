// The console: signs a person in, and shows the screen that the address names.

import type { ComponentType, JSX } from "preact";
import { render } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { said } from "./live.ts";
import { Outages, useOutages } from "./health.tsx";
import { MeshProvider, connected } from "./mesh.ts";
import { to, useRoute } from "./route.ts";
import type { Route } from "./route.ts";
import { Attention } from "./screens/attention.tsx";
import { Audit } from "./screens/audit.tsx";
import { Breakers } from "./screens/breakers.tsx";
import { Connections } from "./screens/connections.tsx";
import { Edges } from "./screens/edges.tsx";
import { Experiments } from "./screens/experiments.tsx";
import { Flags } from "./screens/flags.tsx";
import { Integrations } from "./screens/integrations.tsx";
import { Jobs } from "./screens/jobs.tsx";
import { Keys } from "./screens/keys.tsx";
import { Limits } from "./screens/limits.tsx";
import { Logs } from "./screens/logs.tsx";
import { Traces } from "./screens/traces.tsx";
import { Usage } from "./screens/usage.tsx";
import { Session } from "./session.ts";

/** The screens, in the order of the menu. */
const SCREENS: readonly (readonly [id: string, title: string, screen: ComponentType<{ route: Route }>])[] = [
  ["attention", "Attention", Attention],
  ["traces", "Traces", Traces],
  ["logs", "Logs", Logs],
  ["integrations", "Integrations", Integrations],
  ["jobs", "Jobs", Jobs],
  ["breakers", "Breakers", Breakers],
  ["edges", "Edges", Edges],
  ["flags", "Flags and rollouts", Flags],
  ["experiments", "Experiments", Experiments],
  ["connections", "Connections", Connections],
  ["keys", "Keys and calls", Keys],
  ["limits", "Limits", Limits],
  ["audit", "Audit", Audit],
  ["usage", "Usage", Usage],
];

function Console({ session }: { session: Session }): JSX.Element {
  const [who, setWho] = useState<string>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    session.onEnd = () => setWho("");
    session.start().then(setWho, (error) => setProblem(said(error)));
  }, []);
  if (problem) return <Gate heading="The mesh does not answer" text={problem} />;
  if (who === undefined) return <Gate heading="Cordboard" text="Asking who you are…" />;
  return who ? <Shell session={session} who={who} /> : <SignIn session={session} />;
}

function Gate({ heading, text }: { heading: string; text: string }): JSX.Element {
  const outages = useOutages();
  return (
    <main class="gate">
      <h1>{heading}</h1>
      <p role="status">{text}</p>
      <Outages found={outages} />
    </main>
  );
}

function SignIn({ session }: { session: Session }): JSX.Element {
  const [problem, setProblem] = useState("");
  return (
    <main class="gate">
      <h1>Cordboard</h1>
      <p>Operators sign in to see the mesh.</p>
      <button type="button" class="main" onClick={() => session.begin().catch((error) => setProblem(said(error)))}>
        Sign in
      </button>
      {problem && (
        <p class="problem" role="alert">
          {problem}. <code>cordboard console</code> lets you in where you run it.
        </p>
      )}
    </main>
  );
}

function Shell({ session, who }: { session: Session; who: string }): JSX.Element {
  const route = useRoute();
  const mesh = useMemo(() => connected(session), [session]);
  const [id, title, Screen] = SCREENS.find(([each]) => each === route.screen) ?? SCREENS[0]!;
  useEffect(() => {
    document.title = `${title} · Cordboard`;
  }, [title]);
  return (
    <MeshProvider value={mesh}>
      <a class="skip" href="#screen" onClick={skip}>
        Skip the menu
      </a>
      <nav aria-label="Screens">
        <p class="brand">Cordboard</p>
        <ul>
          {SCREENS.map(([each, name]) => (
            <li key={each}>
              <a href={to(each)} aria-current={each === id ? "page" : undefined}>
                {name}
              </a>
            </li>
          ))}
        </ul>
        <form class="jump" role="search" onSubmit={jump}>
          <label>
            Trace
            <input name="trace" placeholder="its id" autocomplete="off" spellcheck={false} />
          </label>
        </form>
        <p class="who">{who}</p>
        <button type="button" onClick={() => void session.end()}>
          Sign out
        </button>
      </nav>
      <main id="screen" tabIndex={-1}>
        <h1>{title}</h1>
        <p id="said" role="status" />
        <Screen key={`${id}/${route.id}`} route={route} />
      </main>
    </MeshProvider>
  );
}

function skip(event: Event): void {
  // The address says which screen is shown: the link must not change it.
  event.preventDefault();
  document.getElementById("screen")?.focus();
}

function jump(event: SubmitEvent): void {
  event.preventDefault();
  const asked = new FormData(event.target as HTMLFormElement).get("trace");
  const id = String(asked ?? "").trim().replace(/^traces\//, "").toLowerCase();
  if (/^[0-9a-f]{32}$/.test(id)) location.hash = to("traces", id);
}

render(<Console session={new Session()} />, document.body);
