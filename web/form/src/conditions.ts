// When a field counts. The server evaluates the same predicates, and has the last word.

import { defaultOf } from "./document.ts";
import type { Compare, Condition, FormField, Json } from "./document.ts";

/** Answers with a field's value by its id; undefined for none. */
export type Lookup = (fieldId: string) => Json | undefined;

/** Tells whether a condition holds. Nothing holds of a value that is absent, null or empty text. */
export function holds(condition: Condition, value: Lookup): boolean {
  if (condition.all) return (condition.all.conditions ?? []).every((part) => holds(part, value));
  if (condition.any) return (condition.any.conditions ?? []).some((part) => holds(part, value));
  if (condition.not) return !holds(condition.not, value);
  return condition.compare ? compares(condition.compare, value(condition.compare.fieldId)) : true;
}

/** Returns the values of the fields of one object that count, defaults included, by the fields' ids. */
export function counting(fields: readonly FormField[], values: Lookup): Map<string, Json> {
  const found = new Map<string, Json>();
  for (const field of fields) {
    const value = values(field.id) ?? defaultOf(field);
    if (value !== undefined) found.set(field.id, value);
  }
  // In the order of the fields: one that does not count takes with it what hangs on it.
  for (const field of fields) {
    if (field.activeWhen && !holds(field.activeWhen, (id) => found.get(id))) found.delete(field.id);
  }
  return found;
}

/** Returns the ids of the fields of one object that count. */
export function active(fields: readonly FormField[], values: Lookup): Set<string> {
  const found = counting(fields, values);
  const lookup: Lookup = (id) => found.get(id);
  return new Set(
    fields.filter((field) => !field.activeWhen || holds(field.activeWhen, lookup)).map((field) => field.id),
  );
}

/** Tells whether a field has to be there, where the object it is in is there. */
export function isRequired(field: FormField, value: Lookup): boolean {
  return Boolean(field.required) || (field.requiredWhen !== undefined && holds(field.requiredWhen, value));
}

function compares(compare: Compare, found: Json | undefined): boolean {
  if (found === undefined || found === null || found === "") return false;
  const values = (compare.valuesJson ?? []).map((text) => JSON.parse(text) as Json);
  const least = values[0];
  switch (compare.operator) {
    case "COMPARE_OPERATOR_PRESENT":
      return true;
    case "COMPARE_OPERATOR_IN":
      return values.some((each) => each === found);
    default:
      if (typeof found !== "number" || typeof least !== "number") return false;
  }
  switch (compare.operator) {
    case "COMPARE_OPERATOR_LESS":
      return found < least;
    case "COMPARE_OPERATOR_LESS_OR_EQUAL":
      return found <= least;
    case "COMPARE_OPERATOR_GREATER":
      return found > least;
    case "COMPARE_OPERATOR_GREATER_OR_EQUAL":
      return found >= least;
    default:
      return false;
  }
}
