// The canonical form document as JSON (the proto3 JSON of cordboard.uqi.v1.FormDocument), as far as it is drawn.

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | JsonObject;

/** A JSON object. */
export type JsonObject = { [name: string]: Json };

/** One form, whole. */
export interface FormDocument {
  name?: string;
  kind?: string;
  title?: string;
  description?: string;
  /** The language of the texts: a BCP 47 tag; absent: nobody said it. */
  language?: string;
  fields?: FormField[];
  constraints?: Constraint[];
  optionSources?: OptionSource[];
}

/** One thing to fill in. */
export interface FormField {
  id: string;
  key: string;
  wireName?: string;
  type: FieldType;
  label?: string;
  help?: string;
  placeholder?: string;
  example?: string;
  required?: boolean;
  requiredWhen?: Condition;
  activeWhen?: Condition;
  nullable?: boolean;
  deprecated?: boolean;
  hidden?: boolean;
  defaultJson?: string;
  section?: string;
  /** The tab that it stands on. */
  tab?: string;
  /** How many fields stand side by side where it stands. */
  columns?: number;
  optionSource?: string;
  residualSchemaJson?: string;
}

/** What a field takes: one of these. */
export interface FieldType {
  text?: { multiline?: boolean };
  number?: object;
  integer?: object;
  boolean?: object;
  moment?: { part: string };
  choice?: { choices?: Choice[] };
  choices?: { choices?: Choice[] };
  group?: { fields?: FormField[]; open?: boolean };
  list?: { item: FormField };
  map?: { value: FormField };
  union?: { variants?: FormField[]; discriminator?: string };
  file?: { accept?: string[]; maxBytes?: number };
  secret?: object;
  json?: { types?: string[] };
}

/** A value that can be chosen. */
export interface Choice {
  valueJson: string;
  label?: string;
}

/** A predicate over fields: one of these. */
export interface Condition {
  all?: { conditions?: Condition[] };
  any?: { conditions?: Condition[] };
  not?: Condition;
  compare?: Compare;
}

/** A look at one field. */
export interface Compare {
  fieldId: string;
  operator: string;
  valuesJson?: string[];
}

/** How many groups of fields of one object have to be there whole. */
export interface Constraint {
  objectId?: string;
  groups?: { fieldIds?: string[] }[];
  count?: string;
  /** It is asked in this case; absent: always. */
  when?: Condition;
}

/** Where the choices of a field come from. */
export interface OptionSource {
  id: string;
  inputs?: { [property: string]: string };
  searchProperty?: string;
}

/** Returns the name of a field's type, such as `text`; `json` for one that is not known. */
export function kindOf(field: FormField): keyof FieldType {
  const known = Object.keys(field.type ?? {})[0] as keyof FieldType | undefined;
  return known !== undefined && KINDS.has(known) ? known : "json";
}

/** Returns a field's default; undefined where there is none. */
export function defaultOf(field: FormField): Json | undefined {
  return field.defaultJson === undefined ? undefined : (JSON.parse(field.defaultJson) as Json);
}

/** Returns the JSON Schema keywords that a field's type does not say. */
export function keywordsOf(field: FormField): JsonObject {
  return field.residualSchemaJson ? (JSON.parse(field.residualSchemaJson) as JsonObject) : {};
}

/** Tells whether a value is an object and no list. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns an object without a prototype: an API may have a property of any name, `__proto__` too. */
export function emptyObject(): JsonObject {
  return Object.create(null) as JsonObject;
}

const KINDS: ReadonlySet<string> = new Set([
  "text",
  "number",
  "integer",
  "boolean",
  "moment",
  "choice",
  "choices",
  "group",
  "list",
  "map",
  "union",
  "file",
  "secret",
  "json",
]);
