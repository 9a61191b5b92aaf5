// Secrets that were bound: the server takes them and does not send them back.

import { isObject } from "./document.ts";
import type { Json, JsonObject } from "./document.ts";

/** Where a secret goes, as BindForm says it: JSON Pointers. */
export interface SecretPlace {
  pointer: string;
  submittedPointer?: string;
}

/** Puts the secrets of the submitted values where they go in the input that the server made of them. */
export function putSecrets(input: JsonObject, places: readonly SecretPlace[], values: JsonObject): JsonObject {
  for (const { pointer, submittedPointer = pointer } of places) {
    const steps = stepsOf(pointer);
    const last = steps.pop();
    const parent = at(input, steps);
    const secret = at(values, stepsOf(submittedPointer));
    // What is there already is null: nothing else is ever written over.
    if (last === undefined || at(parent, [last]) !== null || secret === undefined) continue;
    if (Array.isArray(parent)) parent[Number(last)] = secret;
    else if (isObject(parent)) parent[last] = secret;
  }
  return input;
}

function stepsOf(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function at(value: Json | undefined, steps: readonly string[]): Json | undefined {
  let found = value;
  for (const step of steps) {
    const holder: Json[] | JsonObject | undefined = Array.isArray(found) || isObject(found) ? found : undefined;
    if (holder === undefined || !Object.hasOwn(holder, step)) return undefined;
    found = (holder as JsonObject)[step];
  }
  return found;
}
