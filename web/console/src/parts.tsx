// What screens are made of.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { said } from "./live.ts";
import type { Live } from "./live.ts";
import { narrow, to } from "./route.ts";
import type { Route } from "./route.ts";

/** How something is: its look, beside the word that says it. */
export type Mood = "bad" | "warn" | "good" | "plain";

/** A word that is coloured by how things are; the word alone says it as well. */
export function Mark({ mood, children }: { mood: Mood; children: ComponentChildren }): JSX.Element {
  return <span class={`mark ${mood}`}>{children}</span>;
}

/** A part of a screen, under a heading. */
export function Panel(given: { title: string; aside?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  return (
    <section class="panel">
      <header>
        <h2>{given.title}</h2>
        {given.aside}
      </header>
      {given.children}
    </section>
  );
}

/** Shows what was asked for: it, or that it is on its way, or why it is not there. */
export function Asked<T>({ of, children }: { of: Live<T>; children: (value: T) => ComponentChildren }): JSX.Element {
  return (
    <>
      {of.problem && (
        <p class="problem" role="alert">
          {of.problem}
          {of.value !== undefined && " What is shown is older."}
        </p>
      )}
      {of.value !== undefined ? children(of.value) : !of.problem && <p class="empty">Asking the mesh…</p>}
    </>
  );
}

/** A link to a trace; nothing where there is none. */
export function TraceLink({ trace, children }: { trace: string; children?: ComponentChildren }): JSX.Element {
  const id = trace.replace(/^traces\//, "");
  return id ? <a href={to("traces", id)}>{children ?? id.slice(0, 8)}</a> : <>{children}</>;
}

/** A field that narrows the screen down; what is in it is in the address. */
export function Filter(given: { route: Route; name: string; label: string; hint?: string }): JSX.Element {
  const now = given.route.query.get(given.name) ?? "";
  const timer = useRef(0);
  return (
    <label class="filter">
      {given.label}
      <input
        key={now}
        type="search"
        defaultValue={now}
        placeholder={given.hint ?? ""}
        onInput={(event) => {
          const { value } = event.currentTarget;
          clearTimeout(timer.current);
          timer.current = window.setTimeout(() => narrow(given.route, { [given.name]: value }), 400);
        }}
      />
    </label>
  );
}

/** A choice that narrows the screen down. */
export function Choice(given: {
  route: Route;
  name: string;
  label: string;
  choices: readonly (readonly [value: string, label: string])[];
}): JSX.Element {
  const now = given.route.query.get(given.name) ?? given.choices[0]?.[0] ?? "";
  return (
    <label class="filter">
      {given.label}
      <select value={now} onChange={(event) => narrow(given.route, { [given.name]: event.currentTarget.value })}>
        {given.choices.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Something that can be done: a button, and a dialog that asks before it is done. */
export function Act(given: {
  label: string;
  /** What will happen, in a sentence. */
  asks: string;
  /** What has to be typed in before it can be done. */
  typed?: string;
  /** Whether to ask why. */
  reason?: "optional" | "required";
  isDangerous?: boolean;
  /** Does it; the text that it returns is said. */
  act: (reason: string) => Promise<string | void>;
  children?: ComponentChildren;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isOpen, setOpen] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [typed, setTyped] = useState("");
  const [reason, setReason] = useState("");
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
  }, [isOpen]);
  const close = () => {
    setOpen(false);
    setTyped("");
    setReason("");
    setProblem("");
  };
  const go = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const done = await given.act(reason);
      announce(done || `${given.label}: done`);
      close();
    } catch (error) {
      setProblem(said(error));
    } finally {
      setBusy(false);
    }
  };
  const isReady = (!given.typed || typed === given.typed) && (given.reason !== "required" || reason.trim() !== "");
  return (
    <>
      <button type="button" class={given.isDangerous ? "danger" : ""} onClick={() => setOpen(true)}>
        {given.label}
      </button>
      {isOpen && (
        <dialog ref={dialog} onClose={close} aria-label={given.label}>
          <form onSubmit={go}>
            <h2>{given.label}</h2>
            <p>{given.asks}</p>
            {given.children}
            {given.typed && (
              <label>
                Type <b>{given.typed}</b> to confirm
                <input value={typed} autocomplete="off" onInput={(event) => setTyped(event.currentTarget.value)} />
              </label>
            )}
            {given.reason && (
              <label>
                {given.reason === "required" ? "Why, for the journal" : "Why, for the journal (may stay empty)"}
                <input value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
              </label>
            )}
            {problem && (
              <p class="problem" role="alert">
                {problem}
              </p>
            )}
            <div class="row">
              <button type="submit" class={given.isDangerous ? "danger" : "main"} disabled={!isReady || isBusy}>
                {given.label}
              </button>
              <button type="button" onClick={close}>
                Leave it
              </button>
            </div>
          </form>
        </dialog>
      )}
    </>
  );
}

let timer = 0;

/** Says for a moment what was done, to readers of screens too. */
export function announce(text: string): void {
  const place = document.getElementById("said");
  if (!place) return;
  place.textContent = text;
  clearTimeout(timer);
  timer = window.setTimeout(() => (place.textContent = ""), 8000);
}

/** Returns what is wanted of every page of a list, as much as is worth showing. */
export async function everything<P extends { nextPageToken: string }, T>(
  ask: (pageToken: string) => Promise<P>,
  items: (page: P) => readonly T[],
  most = 10_000,
): Promise<T[]> {
  const found: T[] = [];
  let token = "";
  do {
    const page = await ask(token);
    found.push(...items(page));
    token = page.nextPageToken;
  } while (token && found.length < most);
  return found;
}
