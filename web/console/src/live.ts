// What is shown stays current: it is asked for again and again, more rarely while the mesh does not answer, and not at
// all while nobody looks.

import { ConnectError } from "@connectrpc/connect";
import { useEffect, useRef, useState } from "preact/hooks";

const LONGEST_MS = 60_000;

/** Something that was asked for. */
export interface Live<T> {
  /** The newest answer; undefined until there is one. */
  value: T | undefined;
  /** Why the newest attempt failed; empty: it did not. */
  problem: string;
  /** Asks again at once. */
  again: () => void;
}

/** Says in the mesh's words what went wrong. */
export function said(error: unknown): string {
  return error instanceof ConnectError ? error.rawMessage : error instanceof Error ? error.message : String(error);
}

/** Asks now and then, every so many seconds, until the screen is left or `of` changes; with 0 seconds once. */
export function useLive<T>(ask: (signal: AbortSignal) => Promise<T>, of: readonly unknown[], seconds = 0): Live<T> {
  const [value, setValue] = useState<T>();
  const [problem, setProblem] = useState("");
  const [asked, setAsked] = useState(0);
  const key = JSON.stringify(of);
  const shown = useRef(key);
  // A screen may change it while it waits.
  const pace = useRef(seconds);
  pace.current = seconds;
  useEffect(() => {
    const ended = new AbortController();
    let timer = 0;
    let failed = 0;
    if (shown.current !== key) {
      // What belonged to something else must not stand there as if it were this.
      shown.current = key;
      setValue(undefined);
      setProblem("");
    }
    const turn = async () => {
      try {
        const found = await ask(ended.signal);
        if (ended.signal.aborted) return;
        failed = 0;
        setValue(() => found);
        setProblem("");
      } catch (error) {
        if (ended.signal.aborted) return;
        failed += 1;
        setProblem(said(error));
      }
      const pause = Math.min(LONGEST_MS, (pace.current || 5) * 1000 * 2 ** Math.min(failed, 5));
      // Not all pages of all operators at the same moment.
      if (pace.current || failed) timer = window.setTimeout(idle, pause * (0.9 + Math.random() * 0.2));
    };
    const idle = () => {
      if (!pace.current && !failed) return;
      if (!document.hidden) return void turn();
      document.addEventListener("visibilitychange", () => void turn(), { once: true, signal: ended.signal });
    };
    void turn();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [key, asked]);
  return { value, problem, again: () => setAsked(asked + 1) };
}
