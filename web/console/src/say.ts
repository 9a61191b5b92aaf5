// Figures, times and names as people read them.

import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate, timestampFromDate, timestampMs } from "@bufbuild/protobuf/wkt";

/** Returns a duration in milliseconds. */
export function ms(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1000 + duration.nanos / 1e6 : 0;
}

/** Says how long something takes. */
export function span(milliseconds: number): string {
  if (milliseconds < 1) return `${milliseconds.toFixed(2)} ms`;
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${milliseconds.toFixed(0)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(2)} s`;
  const minutes = milliseconds / 60_000;
  if (minutes < 60) return `${minutes.toFixed(0)} min`;
  return minutes < 2880 ? `${(minutes / 60).toFixed(1)} h` : `${(minutes / 1440).toFixed(0)} d`;
}

/** Says a duration of the mesh. */
export function took(duration: Duration | undefined): string {
  return duration ? span(ms(duration)) : "";
}

/** Says when something was or will be. */
export function when(time: Timestamp | undefined): string {
  if (!time) return "";
  const date = timestampDate(time);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}

/** Says how long ago something was. */
export function ago(time: Timestamp | undefined): string {
  if (!time) return "";
  const past = Date.now() - timestampMs(time);
  return past < 0 ? `in ${span(-past)}` : past < 1000 ? "now" : `${span(past)} ago`;
}

/** Returns the time so many seconds ago. */
export function before(seconds: number): Timestamp {
  return timestampFromDate(new Date(Date.now() - seconds * 1000));
}

/** Returns the last part of a resource's name. */
export function last(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/** Says an enum's value: `HALF_OPEN` is `half open`. */
export function word(names: Record<number, string>, value: number): string {
  const name = names[value] ?? "";
  return name === "UNSPECIFIED" ? "" : name.toLowerCase().replaceAll("_", " ");
}

const WHOLE = new Intl.NumberFormat();

/** Says a count. */
export function count(value: bigint | number): string {
  return WHOLE.format(value);
}

const FINE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });

/** Says a cost. */
export function units(value: number): string {
  return value > 0 && value < 0.01 ? "< 0.01" : FINE.format(value);
}

/** Says a share. */
export function share(part: bigint | number, whole: bigint | number): string {
  const all = Number(whole);
  if (all === 0) return "0 %";
  const percent = (Number(part) / all) * 100;
  return `${percent > 0 && percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

/** Says how much data. */
export function bytes(value: bigint | number): string {
  let left = Number(value);
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (left < 1000) return `${left < 10 && unit !== "B" ? left.toFixed(1) : left.toFixed(0)} ${unit}`;
    left /= 1000;
  }
  return `${left.toFixed(1)} TB`;
}
