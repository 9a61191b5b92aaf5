// Text that somebody typed becomes a value, or a word on what is wrong with it.

import { keywordsOf, kindOf } from "./document.ts";
import type { FormField, Json } from "./document.ts";
import { said } from "./words.ts";
import type { Words } from "./words.ts";

/** What a control holds: a value, undefined for none, or what is wrong with what was typed. */
export interface Typed {
  value?: Json;
  problem?: string;
}

const INTEGER = /^[+-]?\d{1,40}(\.0{1,20})?$/;
const NUMBER = /^[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,5})?$/;

/** Reads a whole number. */
export function readInteger(text: string, words: Words): Typed {
  const trimmed = text.trim();
  if (!trimmed) return {};
  if (!INTEGER.test(trimmed)) return { problem: words.wholeNumber };
  const value = Number(trimmed);
  return Number.isSafeInteger(value) ? { value: value === 0 ? 0 : value } : { problem: words.tooLarge };
}

/** Reads a number. */
export function readNumber(text: string, words: Words): Typed {
  const trimmed = text.trim();
  if (!trimmed) return {};
  if (!NUMBER.test(trimmed)) return { problem: words.number };
  const value = Number(trimmed);
  return Number.isFinite(value) ? { value } : { problem: words.tooLarge };
}

/** Reads JSON text of one of the types; any, where there are none. */
export function readJson(text: string, types: readonly string[], words: Words): Typed {
  if (!text.trim()) return {};
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    // Where text is allowed, what is no JSON is meant as text.
    return types.length === 0 || types.includes("string") ? { value: text } : { problem: words.json };
  }
  return types.length === 0 || typesOf(value).some((type) => types.includes(type))
    ? { value }
    : { problem: said(words.jsonType, { types: types.join(", ") }) };
}

/** Reads what an input of type `datetime-local` holds, as an RFC 3339 moment in UTC. */
export function readMoment(text: string, words: Words): Typed {
  if (!text) return {};
  const value = new Date(text);
  return Number.isNaN(value.getTime())
    ? { problem: words.moment }
    : { value: value.toISOString().replace(/\.000Z$/, "Z") };
}

/** Returns a moment as an input of type `datetime-local` takes it. */
export function localMoment(value: string): string {
  const moment = new Date(value);
  if (Number.isNaN(moment.getTime())) return "";
  const shifted = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}

/** Returns what is wrong with a value by the bounds of its field; empty where nothing is. */
export function outOfBounds(field: FormField, value: Json, words: Words): string {
  const { minLength, maxLength, minimum, maximum, exclusiveMinimum, exclusiveMaximum } = keywordsOf(field);
  if (typeof value === "string" && kindOf(field) !== "file") {
    // Characters as JSON Schema counts them: code points.
    const length = [...value].length;
    if (typeof minLength === "number" && length < minLength) return said(words.longer, { bound: minLength });
    if (typeof maxLength === "number" && length > maxLength) return said(words.shorter, { bound: maxLength });
  }
  if (typeof value === "number") {
    if (typeof minimum === "number" && value < minimum) return said(words.least, { bound: minimum });
    if (typeof maximum === "number" && value > maximum) return said(words.most, { bound: maximum });
    if (typeof exclusiveMinimum === "number" && value <= exclusiveMinimum)
      return said(words.above, { bound: exclusiveMinimum });
    if (typeof exclusiveMaximum === "number" && value >= exclusiveMaximum)
      return said(words.below, { bound: exclusiveMaximum });
  }
  if (Array.isArray(value)) {
    const { minItems, maxItems } = keywordsOf(field);
    if (typeof minItems === "number" && value.length < minItems) return said(words.fewItems, { bound: minItems });
    if (typeof maxItems === "number" && value.length > maxItems) return said(words.manyItems, { bound: maxItems });
  }
  return "";
}

/** Returns the JSON Schema types of a value. */
export function typesOf(value: Json): string[] {
  if (value === null) return ["null"];
  if (Array.isArray(value)) return ["array"];
  if (typeof value === "number") return Number.isInteger(value) ? ["integer", "number"] : ["number"];
  return [typeof value];
}
