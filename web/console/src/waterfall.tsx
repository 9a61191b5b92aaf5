// The waterfall of a trace: what ran when, what waited for what, and where the time went.

import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Span_Status } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import type { Span, Trace } from "../gen/cordboard/telemetry/v1/trace_service_pb.ts";
import { LinksOf } from "./links.tsx";
import { Panel } from "./parts.tsx";
import { ms, span as spanned, took, when } from "./say.ts";
import { colour } from "./services.ts";
import { placed, unfolded } from "./spans.ts";
import type { Placed } from "./spans.ts";

const ROW = 26;
const SPARE = 15;

/** Draws a trace; a click or Enter shows a span's details. */
export function Waterfall({ trace }: { trace: Trace }): JSX.Element {
  const all = useMemo(() => placed(trace), [trace]);
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [chosen, setChosen] = useState(() => firstFailure(all) ?? all[0]);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const box = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => unfolded(all, closed), [all, closed]);
  const total = Math.max(...all.map((row) => row.start + row.length), 0.001);
  useLayoutEffect(() => setHeight(box.current?.clientHeight ?? 600), [all]);
  const at = rows.findIndex((row) => row.span.spanId === chosen?.span.spanId);
  const choose = (row: Placed | undefined) => {
    if (!row) return;
    setChosen(row);
    const y = rows.indexOf(row) * ROW;
    const element = box.current;
    if (element && (y < element.scrollTop || y > element.scrollTop + height - 2 * ROW)) element.scrollTop = y - height / 2;
  };
  // What is shown first may be far down.
  useLayoutEffect(() => {
    const y = rows.findIndex((row) => row === chosen) * ROW;
    const element = box.current;
    if (element && y > element.clientHeight - 2 * ROW) element.scrollTop = y - element.clientHeight / 2;
  }, [all]);
  const fold = (id: string, isClosed: boolean) => {
    const next = new Set(closed);
    if (isClosed) next.add(id);
    else next.delete(id);
    setClosed(next);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") choose(rows[at + 1]);
    else if (event.key === "ArrowUp") choose(rows[at - 1]);
    else if (event.key === "ArrowLeft" && chosen) fold(chosen.span.spanId, true);
    else if (event.key === "ArrowRight" && chosen) fold(chosen.span.spanId, false);
    else return;
    event.preventDefault();
  };
  const from = Math.max(0, Math.floor(top / ROW) - SPARE);
  const until = Math.min(rows.length, Math.ceil((top + height) / ROW) + SPARE);
  return (
    <div class="split">
      <div
        class="waterfall"
        ref={box}
        role="tree"
        aria-label="Spans"
        tabIndex={0}
        aria-activedescendant={at >= from && at < until ? `span-${chosen?.span.spanId}` : undefined}
        onKeyDown={press}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      >
        <div role="presentation" style={{ height: `${rows.length * ROW}px`, position: "relative" }}>
          {rows.slice(from, until).map((row, index) => (
            <Bar
              key={row.span.spanId}
              row={row}
              total={total}
              top={(from + index) * ROW}
              isChosen={row === chosen}
              isClosed={closed.has(row.span.spanId)}
              choose={() => choose(row)}
              fold={(isClosed) => fold(row.span.spanId, isClosed)}
            />
          ))}
        </div>
      </div>
      {chosen && <Details row={chosen} />}
    </div>
  );
}

function firstFailure(rows: readonly Placed[]): Placed | undefined {
  // The deepest: those above it failed because of it.
  const failed = rows.filter((row) => row.span.status === Span_Status.ERROR);
  return failed.sort((a, b) => b.depth - a.depth)[0];
}

function Bar(given: {
  row: Placed;
  total: number;
  top: number;
  isChosen: boolean;
  isClosed: boolean;
  choose: () => void;
  fold: (isClosed: boolean) => void;
}): JSX.Element {
  const { row, total } = given;
  const { span } = row;
  const isFailed = span.status === Span_Status.ERROR;
  const left = (row.start / total) * 100;
  const width = Math.max((row.length / total) * 100, 0.3);
  const isCritical = ms(span.criticalDuration) > 0;
  const notes = [isFailed && "failed", isCritical && "on the critical path"].filter(Boolean).join(", ");
  return (
    <div
      id={`span-${span.spanId}`}
      role="treeitem"
      aria-level={row.depth + 1}
      aria-selected={given.isChosen}
      aria-expanded={row.below ? !given.isClosed : undefined}
      class={`span ${given.isChosen ? "chosen" : ""}`}
      style={{ top: `${given.top}px` }}
      onClick={given.choose}
    >
      <span class="name" style={{ paddingLeft: `${row.depth * 12}px` }}>
        {row.below > 0 && (
          <span class="fold" aria-hidden="true" onClick={() => given.fold(!given.isClosed)}>
            {given.isClosed ? "▸" : "▾"}
          </span>
        )}
        <i class={`dot ${colour(span.service)}`} /> {span.service}{" "}
        <span class={isFailed ? "bad" : ""}>
          {isFailed && <span aria-hidden="true">✗ </span>}
          {span.name}
          {row.isOrphan && " (its parent is missing)"}
        </span>
      </span>
      <span class="lane">
        <i
          class={`bar ${colour(span.service)} ${isCritical ? "critical" : ""} ${row.isOutside ? "outside" : ""}`}
          style={{ left: `${Math.min(left, 99.7)}%`, width: `${Math.min(width, 100 - Math.min(left, 99.7))}%` }}
        />
      </span>
      <span class="figure">{spanned(row.length)}</span>
      {notes && <span class="unseen">{notes}</span>}
    </div>
  );
}

function Details({ row }: { row: Placed }): JSX.Element {
  const { span } = row;
  return (
    <Panel title={span.name} aside={<span class="soft">{span.service}</span>}>
      {span.status === Span_Status.ERROR && <p class="problem">{span.statusMessage || "It failed."}</p>}
      <dl>
        <Fact name="began">
          {when(span.startTime)}, {spanned(row.start)} after the trace
        </Fact>
        <Fact name="took">{took(span.duration)}</Fact>
        <Fact name="own time">{took(span.selfDuration)}</Fact>
        <Fact name="the trace waited">{took(span.criticalDuration) || "not for this"}</Fact>
        <Fact name="span">
          <code>{span.spanId}</code>
        </Fact>
        {Object.entries(span.attributes)
          .sort(([a], [b]) => a.localeCompare(b))
          .map(([name, value]) => (
            <Fact key={name} name={name}>
              {value}
            </Fact>
          ))}
      </dl>
      <LinksOf links={span.links} />
      {span.events.map((event, index) => (
        <div key={index}>
          <b>{event.name}</b> <span class="soft">{when(event.time)}</span>
          <dl>
            {Object.entries(event.attributes).map(([name, value]) => (
              <Fact key={name} name={name}>
                {value}
              </Fact>
            ))}
          </dl>
        </div>
      ))}
    </Panel>
  );
}

function Fact({ name, children }: { name: string; children: unknown }): JSX.Element {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children as string}</dd>
    </>
  );
}

/** Says where a trace's time went, service by service, along its critical path. */
export function whereItWent(spans: readonly Span[]): [service: string, milliseconds: number][] {
  const sums = new Map<string, number>();
  for (const span of spans) {
    const part = ms(span.criticalDuration);
    if (part > 0) sums.set(span.service, (sums.get(span.service) ?? 0) + part);
  }
  return [...sums].sort(([, a], [, b]) => b - a);
}
