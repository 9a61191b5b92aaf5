// A table that draws only the rows that can be seen, so that a thousand of them scroll as smoothly as ten.

import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

const ROW = 33;
const SPARE = 12;

/** A column of a table. */
export interface Column<T> {
  title: string;
  cell: (row: T) => ComponentChildren;
  /** Figures stand to the right. */
  isFigure?: boolean;
  /** The part of the width, in `ch` units; without one it takes what is left. */
  width?: number;
}

// So many rows may be of any height: all of them are drawn.
const FEW = 200;

/** Draws rows of one height, which scroll within the page. */
export function Table<T>(given: {
  label: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  keyOf: (row: T) => string;
  empty: string;
  /** Whether long texts go on in the next line, where there are not too many rows for that. */
  wraps?: boolean;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [first, setFirst] = useState(0);
  const [seen, setSeen] = useState(30);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const watcher = new ResizeObserver(() => setSeen(Math.ceil(element.clientHeight / ROW)));
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);
  const { rows, columns, label } = given;
  if (rows.length === 0) return <p class="empty">{given.empty}</p>;
  const isWrapped = given.wraps === true && rows.length <= FEW;
  const from = isWrapped ? 0 : Math.max(0, Math.min(first, rows.length - seen) - SPARE);
  const until = isWrapped ? rows.length : Math.min(rows.length, first + seen + SPARE);
  return (
    <div
      class={isWrapped ? "table wraps" : "table"}
      ref={box}
      role="region"
      aria-label={label}
      tabIndex={0}
      onScroll={(event) => setFirst(Math.floor(event.currentTarget.scrollTop / ROW))}
    >
      <table aria-rowcount={rows.length + 1}>
        <colgroup>
          {columns.map((column) => (
            <col key={column.title} style={column.width ? { width: `${column.width}ch` } : {}} />
          ))}
        </colgroup>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.title} scope="col" class={column.isFigure ? "figure" : ""}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {from > 0 && <Gap rows={from} columns={columns.length} />}
          {rows.slice(from, until).map((row, index) => (
            <tr key={given.keyOf(row)} aria-rowindex={from + index + 2}>
              {columns.map((column) => (
                <td key={column.title} class={column.isFigure ? "figure" : ""}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          {until < rows.length && <Gap rows={rows.length - until} columns={columns.length} />}
        </tbody>
      </table>
    </div>
  );
}

function Gap({ rows, columns }: { rows: number; columns: number }): JSX.Element {
  return (
    <tr aria-hidden="true" class="gap" style={{ height: `${rows * ROW}px` }}>
      <td colSpan={columns} />
    </tr>
  );
}
