// What a workspace sets for an integration: between the texts that are kept and the values of the form.

import type { FormField, Json, JsonObject } from "@cordboard/form";
import type { Settings } from "./calls.ts";

/** Returns what is set as values of the form, by the variables' names. */
export function valuesOf({ document, values }: Settings): JsonObject {
  const fields = new Map((document.fields ?? []).map((field) => [field.wireName ?? "", field]));
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, text]) => {
      const field = fields.get(name);
      return field === undefined ? [] : [[name, meant(field, text)]];
    }),
  );
}

/** Returns the ids of the fields whose secrets are stored. */
export function storedOf({ document, secrets }: Settings): string[] {
  return (document.fields ?? []).filter((field) => secrets.includes(field.wireName ?? "")).map((field) => field.id);
}

/** Parts what is to be set into what may be seen and what is secret; what is stored and was left empty stays. */
export function parted(
  { document, secrets }: Settings,
  input: JsonObject,
): { values: JsonObject; secretValues: JsonObject } {
  const values: JsonObject = {};
  const secretValues: JsonObject = {};
  for (const { type, wireName = "" } of document.fields ?? []) {
    const value = input[wireName];
    if (!type?.secret) {
      if (value !== undefined) values[wireName] = value;
    } else if (value !== undefined) secretValues[wireName] = value;
    else if (secrets.includes(wireName)) secretValues[wireName] = "";
  }
  return { values, secretValues };
}

/** Returns the value of a field that a text stands for. */
function meant(field: FormField, text: string): Json {
  const choices = field.type?.choice?.choices;
  const isText = choices
    ? choices.some(({ valueJson }) => valueJson === JSON.stringify(text))
    : ["text", "secret", "moment"].some((kind) => kind in (field.type ?? {}));
  if (isText) return text;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
