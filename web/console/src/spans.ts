// A trace as a tree: which span is below which, where it lies in time, and what can be seen of it.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Span, Trace } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import { ms } from "./say.ts";

/** A span in its place. */
export interface Placed {
  span: Span;
  depth: number;
  /** How many spans are below it, at any depth. */
  below: number;
  /** Milliseconds after the trace's start. */
  start: number;
  length: number;
  /** The span that it names as its parent never came. */
  isOrphan: boolean;
  /** It began before its parent, or ended after it. */
  isOutside: boolean;
}

/** Returns the spans of a trace in the order of a tree, parents first. */
export function placed(trace: Trace): Placed[] {
  const known = new Set(trace.spans.map((span) => span.spanId));
  const children = new Map<string, Span[]>();
  for (const span of trace.spans) {
    const parent = known.has(span.parentSpanId) && span.parentSpanId !== span.spanId ? span.parentSpanId : "";
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const began = Math.min(...trace.spans.map(startOf));
  const found: Placed[] = [];
  const seen = new Set<string>();
  const place = (span: Span, depth: number, parent: Placed | undefined): void => {
    if (seen.has(span.spanId)) return;
    seen.add(span.spanId);
    const start = startOf(span) - began;
    const length = ms(span.duration);
    const isOutside = parent !== undefined && (start < parent.start - 1 || start + length > parent.start + parent.length + 1);
    const isOrphan = parent === undefined && span.parentSpanId !== "";
    const here: Placed = { span, depth, below: 0, start, length, isOrphan, isOutside };
    const index = found.push(here);
    for (const child of children.get(span.spanId) ?? []) place(child, depth + 1, here);
    here.below = found.length - index;
  };
  for (const root of children.get("") ?? []) place(root, 0, undefined);
  return found;
}

/** Returns what is left when the spans below closed ones are not shown. */
export function unfolded(rows: readonly Placed[], closed: ReadonlySet<string>): Placed[] {
  const found: Placed[] = [];
  for (let index = 0; index < rows.length; index += 1) {
    const row = rows[index]!;
    found.push(row);
    if (closed.has(row.span.spanId)) index += row.below;
  }
  return found;
}

function startOf(span: Span): number {
  // A double holds microseconds of today's times: finer than a bar on a screen.
  return span.startTime ? timestampMs(span.startTime) + (span.startTime.nanos % 1_000_000) / 1e6 : 0;
}
