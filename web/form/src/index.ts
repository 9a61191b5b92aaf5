// Draws a form, and reads what was filled in.

import { Members, GroupSet, ListSet, MapSet, UnionSet } from "./compound.ts";
import type { Control, Options, Scene, Wrong } from "./control.ts";
import { kindOf } from "./document.ts";
import type { FormDocument, FormField, Json, JsonObject } from "./document.ts";
import { make } from "./dom.ts";
import { Boxes, FileLine, Line, SecretLine, Select, YesNo } from "./simple.ts";
import { wordsIn } from "./languages.ts";
import { said } from "./words.ts";
import type { Words } from "./words.ts";

export type { Options } from "./control.ts";
export type { Condition, FormDocument, FormField, Json, JsonObject } from "./document.ts";
export { active, holds, isRequired } from "./conditions.ts";
export { putSecrets } from "./secrets.ts";
export type { SecretPlace } from "./secrets.ts";
export { LANGUAGES } from "./languages.ts";
export { ENGLISH } from "./words.ts";
export type { Words } from "./words.ts";

/** What a form may be drawn with. */
export interface Given {
  /** What is filled in already, by the API's names. */
  values?: JsonObject;
  /** Ids of secrets that are stored already: they may stay empty. */
  stored?: Iterable<string>;
  /** Answers with what can be chosen where only the vendor knows; `values` go by the ids of fields. */
  options?: (fieldId: string, values: JsonObject, search: string) => Promise<Options>;
  /** Words in the place of those that the form has in the language of the document. */
  words?: Partial<Words>;
  /** The largest file, in bytes. */
  fileBytes?: number;
}

/** One thing that is wrong with what was filled in, as the server says it. */
export interface Problem {
  /** A JSON Pointer into the values; empty: the whole. */
  pointer: string;
  /** The id of the field; empty: of none. */
  fieldId?: string;
  text: string;
}

/** What was read: the values by the API's names, and what is wrong with them. */
export interface Reading {
  values: JsonObject;
  problems: Problem[];
}

/** A form on the page. */
export interface DrawnForm {
  readonly element: HTMLElement;
  /** Reads what is filled in, and shows what is wrong with it. */
  read(): Promise<Reading>;
  /** Returns what is filled in so far, and shows nothing. */
  values(): Promise<JsonObject>;
  /** Shows what the server says is wrong, and puts the person there. */
  show(problems: readonly Problem[]): void;
  /** Shows what the server says is wrong, and leaves the person where they are. */
  mark(problems: readonly Problem[]): void;
  /** Empties what must not stay on the page: every secret. */
  forget(): void;
}

const MOST_FILE_BYTES = 2_000_000;
let forms = 0;

/** Draws a form. */
export function drawForm(document: FormDocument, given: Given = {}): DrawnForm {
  const words = { ...wordsIn(document.language), ...given.words };
  forms += 1;
  const prefix = `cbf${forms}`;
  let ids = 0;
  let members: Members | undefined;
  const valuesFor = (fieldId: string): JsonObject => {
    const source = document.optionSources?.find((each) => each.id === fieldId);
    const entries = Object.values(source?.inputs ?? {}).map((id) => [id, members?.find(id)?.value()] as const);
    return Object.fromEntries(entries.filter((entry): entry is readonly [string, Json] => entry[1] !== undefined));
  };
  const { options } = given;
  const scene: Scene = {
    words,
    keepsBlank: document.kind === "FORM_KIND_CONNECTION",
    stored: new Set(given.stored),
    fileBytes: given.fileBytes ?? MOST_FILE_BYTES,
    newId: () => `${prefix}-${(ids += 1)}`,
    draw: (field, value, required) => drawn(field, value, required, scene),
    options: options && ((fieldId, search) => options(fieldId, valuesFor(fieldId), search)),
    changed: () => members?.refresh(),
    constraints: document.constraints ?? [],
  };
  const summary = make("div", { class: "cbf-summary", role: "alert", tabindex: "-1", hidden: true });
  const element = make("div", { class: "cbf", lang: document.language || undefined }, summary);
  members = new Members(document.fields ?? [], given.values, scene, element);
  const all = members;

  const show = (found: readonly Wrong[], rest: readonly string[], moves = true): void => {
    all.clear();
    for (const { control, text } of found) control.show(`${control.label} ${text}`);
    const lines = [
      ...found.map(({ control, text }) => {
        const link = make("a", { href: `#${control.element.id || prefix}` }, `${control.label} ${text}`);
        link.addEventListener("click", (event) => {
          event.preventDefault();
          // On a tab that is closed nothing can have the focus.
          control.element.closest("details")?.setAttribute("open", "");
          control.focus();
        });
        return make("li", {}, link);
      }),
      ...rest.map((text) => make("li", {}, text)),
    ];
    const heading = lines.length === 1 ? words.summaryOne : said(words.summary, { count: lines.length });
    summary.replaceChildren(make("h2", {}, heading), make("ul", {}, ...lines));
    summary.hidden = lines.length === 0;
    if (lines.length > 0 && moves) summary.focus();
  };

  const tell = (problems: readonly Problem[], moves: boolean): void => {
    const found: Wrong[] = [];
    const rest: string[] = [];
    for (const { pointer, fieldId, text } of problems) {
      const steps = pointer
        .split("/")
        .slice(1)
        .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
      const control = (steps.length > 0 ? all.at(steps) : undefined) ?? (fieldId ? all.find(fieldId) : undefined);
      if (control) found.push({ control, pointer, text });
      else rest.push(text);
    }
    show(found, rest, moves);
  };

  return {
    element,
    async read(): Promise<Reading> {
      await all.ready();
      all.refresh();
      const wrong = all.wrong("");
      show(wrong, []);
      return {
        values: all.value(false),
        problems: wrong.map(({ control, pointer, text }) => ({ fieldId: control.field.id, pointer, text })),
      };
    },
    async values(): Promise<JsonObject> {
      await all.ready();
      all.refresh();
      return all.value(false);
    },
    show: (problems) => tell(problems, true),
    mark: (problems) => tell(problems, false),
    forget(): void {
      for (const input of element.querySelectorAll<HTMLInputElement | HTMLTextAreaElement>(
        'input[type="password"], .cbf-masked',
      )) {
        input.value = "";
      }
    },
  };
}

function drawn(field: FormField, value: Json | undefined, required: boolean, scene: Scene): Control {
  switch (kindOf(field)) {
    case "boolean":
      return new YesNo(field, scene, value, required);
    case "choice":
      return new Select(field, scene, value, required);
    case "choices":
      return new Boxes(field, scene, value, required);
    case "group":
      return new GroupSet(field, scene, value, required);
    case "list":
      return new ListSet(field, scene, value, required);
    case "map":
      return new MapSet(field, scene, value, required);
    case "union":
      return new UnionSet(field, scene, value, required);
    case "file":
      return new FileLine(field, scene, value, required);
    case "secret":
      return new SecretLine(field, scene, required);
    default:
      return new Line(field, scene, value, required);
  }
}
