// What a trace has to do with others: what its spans go back to, and what went on elsewhere.

import type { JSX } from "preact";
import { Span_Status } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import type { SpanLink, Trace } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import { Mark, Panel, TraceLink } from "./parts.tsx";
import { took, when } from "./say.ts";
import { colour } from "./services.ts";

const BACK: Record<string, string> = {
  submitted: "submitted by",
  attempt: "tried before in",
  replayed: "replayed by",
  taken: "came in with",
};
const ON: Record<string, string> = {
  submitted: "ran later in",
  attempt: "tried again in",
  replayed: "ran again in",
  taken: "was told in",
};

/** Lists the traces that this one goes back to, and those that go back to it; nothing where there are none. */
export function Links({ trace }: { trace: Trace }): JSX.Element | null {
  const back = trace.spans.flatMap((span) => span.links.map((link) => ({ span, link })));
  if (!back.length && !trace.linkedFrom.length) return null;
  return (
    <Panel title="Other traces of this story">
      <ul class="links">
        {back.map(({ span, link }) => (
          <li key={`${span.spanId}-${link.spanId}`}>
            ← {span.name} {BACK[link.relation] ?? "goes back to"} <TraceLink trace={link.trace} />
          </li>
        ))}
        {trace.linkedFrom.map((one) => (
          <li key={`${one.trace}-${one.spanId}`}>
            → {ON[one.relation] ?? "is followed by"} <TraceLink trace={one.trace} />{" "}
            <i class={`dot ${colour(one.service)}`} /> {one.service} {one.name}{" "}
            <span class="soft">
              {when(one.startTime)}, {took(one.duration)}
            </span>{" "}
            {one.status === Span_Status.ERROR && <Mark mood="bad">failed</Mark>}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

/** Names the traces that one span goes back to. */
export function LinksOf({ links }: { links: readonly SpanLink[] }): JSX.Element {
  return (
    <>
      {links.map((link) => (
        <p key={link.spanId}>
          {BACK[link.relation] ?? "goes back to"} <TraceLink trace={link.trace} />
        </p>
      ))}
    </>
  );
}
