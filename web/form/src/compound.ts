// Controls of values that hold others.

import { active, counting, holds, isRequired } from "./conditions.ts";
import { Control, valuesOf } from "./control.ts";
import type { Scene, Wrong } from "./control.ts";
import { defaultOf, emptyObject, isObject, kindOf } from "./document.ts";
import type { Choice, Condition, Constraint, FormField, Json, JsonObject } from "./document.ts";
import { make } from "./dom.ts";
import { outOfBounds, typesOf } from "./scalars.ts";
import { said } from "./words.ts";
import type { Words } from "./words.ts";

/** The fields of one object, each shown while it counts. */
export class Members {
  readonly controls: Control[];
  private readonly begun: JsonObject;
  private readonly isConditional: boolean;
  /** What is asked of several fields at once, each with the case in which it is. */
  private readonly notes: { element: HTMLElement; when: Condition | undefined }[];

  constructor(
    private readonly fields: readonly FormField[],
    value: Json | undefined,
    scene: Scene,
    host: HTMLElement,
    objectId = "",
  ) {
    this.begun = isObject(value) ? value : emptyObject();
    this.notes = scene.constraints
      .filter((each) => (each.objectId ?? "") === objectId)
      .map((each) => ({ element: note(each, fields, scene.words), when: each.when }));
    host.append(...this.notes.map(({ element }) => element));
    this.isConditional =
      fields.some((field) => field.activeWhen || field.requiredWhen) || this.notes.some(({ when }) => when);
    const drawn = fields.filter((field) => !field.hidden || (field.required && field.defaultJson === undefined));
    this.controls = drawn.map((field) => scene.draw(field, own(this.begun, nameOf(field)), Boolean(field.required)));
    arrange(this.controls, host, scene.newId());
    this.refresh();
  }

  /** Shows what counts, and marks what has to be there. */
  refresh(): void {
    for (const control of this.controls) control.refresh();
    if (!this.isConditional) return;
    const lookup = valuesOf(this.controls);
    const shown = active(this.fields, lookup);
    const values = counting(this.fields, lookup);
    for (const control of this.controls) {
      control.element.hidden = !shown.has(control.field.id);
      control.require(isRequired(control.field, (id) => values.get(id)));
    }
    for (const { element, when } of this.notes) {
      element.hidden = when !== undefined && !holds(when, (id) => values.get(id));
    }
  }

  /** Returns the members that count and have a value, by the API's names. */
  value(isOpen: boolean): JsonObject {
    const found = emptyObject();
    for (const control of this.shown) {
      const value = control.value();
      if (value !== undefined) found[nameOf(control.field)] = value;
    }
    // What is not drawn stays as it came.
    const known = new Set(this.controls.map((control) => nameOf(control.field)));
    const hidden = new Set(this.fields.map(nameOf));
    for (const [name, value] of Object.entries(this.begun)) {
      if (!known.has(name) && (isOpen || hidden.has(name))) found[name] = value;
    }
    return found;
  }

  wrong(pointer: string): Wrong[] {
    return this.shown.flatMap((control) => control.wrong(`${pointer}/${escaped(nameOf(control.field))}`));
  }

  at(steps: readonly string[]): Control | undefined {
    const control = this.controls.find((each) => nameOf(each.field) === steps[0]);
    return control?.at(steps.slice(1));
  }

  find(fieldId: string): Control | undefined {
    for (const control of this.controls) {
      const found = control.find(fieldId);
      if (found) return found;
    }
    return undefined;
  }

  clear(): void {
    for (const control of this.controls) control.clear();
  }

  async ready(): Promise<void> {
    await Promise.all(this.shown.map((control) => control.ready()));
  }

  private get shown(): Control[] {
    return this.controls.filter((control) => !control.element.hidden);
  }
}

/** Says what has to hold for several fields of an object at once. */
function note(constraint: Constraint, fields: readonly FormField[], words: Words): HTMLElement {
  const labels = new Map(fields.map((field) => [field.id, field.label || field.wireName || field.key]));
  const groups = (constraint.groups ?? []).map((group) =>
    (group.fieldIds ?? []).map((id) => labels.get(id) ?? id).join(words.and),
  );
  const word = COUNTS.get(constraint.count ?? "") ?? "atLeastOne";
  return make("p", { class: "cbf-note" }, said(words[word], { groups: groups.join("; ") }));
}

const COUNTS: ReadonlyMap<string, keyof Words> = new Map([
  ["CONSTRAINT_COUNT_EXACTLY_ONE", "exactlyOne"],
  ["CONSTRAINT_COUNT_AT_MOST_ONE", "atMostOne"],
  ["CONSTRAINT_COUNT_ALL", "allOfThem"],
]);

/** Puts controls where they stand: on tabs, under headings, side by side. */
function arrange(controls: readonly Control[], host: HTMLElement, name: string): void {
  const places = new Map<string, HTMLElement>();
  const place = (key: string, parent: HTMLElement, make: () => HTMLElement): HTMLElement => {
    const found = places.get(key) ?? make();
    if (!places.has(key)) parent.append(found);
    places.set(key, found);
    return found;
  };
  let tabs: HTMLElement | undefined;
  let row: { parent: HTMLElement; columns: number; element: HTMLElement } | undefined;
  for (const { field, element } of controls) {
    const { tab = "", section = "", columns = 0 } = field;
    let parent = host;
    if (tab) {
      tabs ??= host.appendChild(make("div", { class: "cbf-tabs" }));
      // One of a name is open at a time, which browsers see to; the first one is at the start.
      const isFirst = tabs.childElementCount === 0;
      parent = place(`tab ${tab}`, tabs, () =>
        make("details", { class: "cbf-tab", name, open: isFirst }, make("summary", {}, tab)),
      );
    }
    if (section) {
      const legend = (): HTMLElement => make("fieldset", { class: "cbf-section" }, make("legend", {}, section));
      parent = place(`${tab} section ${section}`, parent, legend);
    }
    if (columns < 2) {
      row = undefined;
      parent.append(element);
      continue;
    }
    if (row?.parent !== parent || row.columns !== columns) {
      const beside = make("div", { class: `cbf-columns cbf-columns-${String(columns)}` });
      row = { parent, columns, element: parent.appendChild(beside) };
    }
    row.element.append(element);
  }
}

/** What has a legend and a body. */
abstract class Fieldset extends Control {
  readonly element: HTMLFieldSetElement;
  protected readonly body = make("div", { class: "cbf-body" });

  constructor(field: FormField, scene: Scene, required: boolean) {
    super(field, scene, required);
    const legend = make("legend", {}, ...this.labelled());
    this.element = make(
      "fieldset",
      { class: "cbf-group", id: scene.newId(), tabindex: "-1" },
      legend,
      this.help,
      this.problem,
      this.body,
    );
    this.describe();
  }

  focus(): void {
    const first = this.element.querySelector<HTMLElement>("input:not([hidden]), select, textarea, button");
    (first ?? this.element).focus();
  }

  protected described(): HTMLElement {
    return this.element;
  }

  protected override describe(): void {
    super.describe();
    this.element.removeAttribute("aria-invalid");
  }
}

/** An object with fields of its own. One that may be left out is drawn when somebody means to fill it in. */
export class GroupSet extends Fieldset {
  private readonly box: HTMLInputElement | undefined;
  private members: Members | undefined;

  constructor(
    field: FormField,
    scene: Scene,
    private readonly begun: Json | undefined,
    required: boolean,
  ) {
    super(field, scene, required);
    if (required) this.open();
    else {
      this.box = make("input", { type: "checkbox", id: scene.newId() });
      const label = make("label", { for: this.box.id }, said(scene.words.include, { label: this.label }));
      this.body.before(make("div", { class: "cbf-box" }, label, this.box));
      this.box.checked = isObject(begun);
      this.box.addEventListener("change", () => {
        this.open();
        scene.changed();
      });
      this.open();
    }
  }

  value(): Json | undefined {
    if (this.isOpen && this.members) return this.members.value(Boolean(this.field.type.group?.open));
    return this.field.nullable && this.required ? null : undefined;
  }

  wrong(pointer: string): Wrong[] {
    if (this.isOpen && this.members) return this.members.wrong(pointer);
    return this.value() === undefined ? this.missing(pointer) : [];
  }

  override at(steps: readonly string[]): Control {
    return (this.isOpen && this.members?.at(steps)) || this;
  }

  override find(fieldId: string): Control | undefined {
    return super.find(fieldId) ?? this.members?.find(fieldId);
  }

  override refresh(): void {
    if (this.isOpen) this.members?.refresh();
  }

  override clear(): void {
    super.clear();
    this.members?.clear();
  }

  override async ready(): Promise<void> {
    await this.members?.ready();
  }

  private get isOpen(): boolean {
    return this.box === undefined || this.box.checked;
  }

  private open(): void {
    this.body.hidden = !this.isOpen;
    if (!this.isOpen) return;
    const { id, type } = this.field;
    this.members ??= new Members(type.group?.fields ?? [], this.begun, this.scene, this.body, id);
  }
}

/** A value in a list or a map, that can be taken out again. */
interface Row {
  element: HTMLElement;
  control: Control;
  name?: HTMLInputElement;
}

/** Values of one kind, one below the other. */
abstract class Rows extends Fieldset {
  protected rows: Row[] = [];
  private readonly add: HTMLButtonElement;
  protected readonly list = make("ol", { class: "cbf-rows" });

  constructor(
    field: FormField,
    scene: Scene,
    required: boolean,
    private readonly item: FormField,
  ) {
    super(field, scene, required);
    this.add = make("button", { type: "button", class: "cbf-add" }, said(scene.words.add, { label: this.label }));
    this.add.addEventListener("click", () => {
      const row = this.append(undefined, "");
      (row.name ?? row.control).focus();
      scene.changed();
    });
    this.body.append(this.list, this.add);
  }

  wrong(pointer: string): Wrong[] {
    const value = this.value();
    const bound = value === undefined || value === null ? "" : outOfBounds(this.field, value, this.scene.words);
    const found = this.rows.flatMap((row, index) => row.control.wrong(`${pointer}/${this.step(row, index)}`));
    return bound ? [this.fault(pointer, bound), ...found] : found;
  }

  override at(steps: readonly string[]): Control {
    const row = this.rows.find((each, index) => this.step(each, index) === escaped(steps[0] ?? ""));
    return row ? row.control.at(steps.slice(1)) : this;
  }

  override find(fieldId: string): Control | undefined {
    if (super.find(fieldId)) return this;
    for (const row of this.rows) {
      const found = row.control.find(fieldId);
      if (found) return found;
    }
    return undefined;
  }

  override refresh(): void {
    for (const row of this.rows) row.control.refresh();
  }

  override clear(): void {
    super.clear();
    for (const row of this.rows) row.control.clear();
  }

  override async ready(): Promise<void> {
    await Promise.all(this.rows.map((row) => row.control.ready()));
  }

  /** Returns the step of a row in a JSON Pointer. */
  protected abstract step(row: Row, index: number): string;

  /** Makes what stands before the value of a row. */
  protected heading(_name: string): HTMLInputElement | undefined {
    return undefined;
  }

  protected append(value: Json | undefined, name: string): Row {
    const { words } = this.scene;
    const label = this.item.label || this.label;
    const control = this.scene.draw({ ...this.item, label }, value, true);
    const heading = this.heading(name);
    const remove = make("button", { type: "button", class: "cbf-remove" }, said(words.remove, { label }));
    const element = make("li", {}, heading && this.headed(heading), control.element, remove);
    const row: Row = heading ? { element, control, name: heading } : { element, control };
    remove.addEventListener("click", () => {
      const index = this.rows.indexOf(row);
      this.rows.splice(index, 1);
      element.remove();
      // Whoever took it out with the keyboard stays near.
      const next = this.rows[Math.min(index, this.rows.length - 1)];
      (next ? next.control : this.add).focus();
      this.scene.changed();
    });
    this.rows.push(row);
    this.list.append(element);
    return row;
  }

  private headed(heading: HTMLInputElement): HTMLElement {
    return make("div", { class: "cbf-field" }, make("label", { for: heading.id }, this.scene.words.name), heading);
  }
}

/** A list. */
export class ListSet extends Rows {
  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    super(field, scene, required, field.type.list?.item ?? ANYTHING);
    const begin = value === undefined ? defaultOf(field) : value;
    for (const each of Array.isArray(begin) ? begin : []) this.append(each, "");
  }

  value(): Json | undefined {
    const found = this.rows.map((row) => row.control.value()).filter((value) => value !== undefined);
    return found.length > 0 || this.required ? found : undefined;
  }

  protected step(_: Row, index: number): string {
    return String(index);
  }
}

/** An object with free names. */
export class MapSet extends Rows {
  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    super(field, scene, required, field.type.map?.value ?? ANYTHING);
    const begin = value === undefined ? defaultOf(field) : value;
    for (const [name, each] of Object.entries(isObject(begin) ? begin : {})) this.append(each, name);
  }

  value(): Json | undefined {
    const found = emptyObject();
    for (const row of this.rows) {
      const value = row.control.value();
      if (value !== undefined && row.name) found[row.name.value] = value;
    }
    return Object.keys(found).length > 0 || this.required ? found : undefined;
  }

  override wrong(pointer: string): Wrong[] {
    const { words } = this.scene;
    const names = this.rows.map((row) => row.name?.value ?? "");
    if (names.includes("")) return [this.fault(pointer, words.entryName)];
    if (new Set(names).size < names.length) return [this.fault(pointer, words.twice)];
    return super.wrong(pointer);
  }

  protected step(row: Row): string {
    return escaped(row.name?.value ?? "");
  }

  protected override heading(name: string): HTMLInputElement {
    const input = make("input", { type: "text", id: this.scene.newId(), spellcheck: "false" });
    input.value = name;
    input.addEventListener("input", () => this.scene.changed());
    return input;
  }
}

/** A value of one of several shapes. */
export class UnionSet extends Fieldset {
  private readonly select: HTMLSelectElement;
  private readonly variants: FormField[];
  private chosen: Control | undefined;

  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    super(field, scene, required);
    this.variants = field.type.union?.variants ?? [];
    const begin = value === undefined ? defaultOf(field) : value;
    const fitting = begin === undefined ? -1 : this.variants.findIndex((variant) => fits(variant, begin));
    const id = scene.newId();
    this.select = make(
      "select",
      { id },
      make("option", { value: "" }, required ? scene.words.choose : scene.words.none),
      ...this.variants.map((variant, index) => make("option", { value: String(index) }, variant.label || variant.key)),
    );
    const label = make("label", { for: id }, said(scene.words.kind, { label: this.label }));
    this.body.before(make("div", { class: "cbf-field" }, label, this.select));
    if (fitting >= 0) this.select.value = String(fitting);
    else if (required && this.variants.length === 1) this.select.value = "0";
    this.choose(begin);
    this.select.addEventListener("change", () => {
      this.choose(undefined);
      scene.changed();
    });
  }

  value(): Json | undefined {
    return this.chosen ? this.chosen.value() : this.field.nullable && this.required ? null : undefined;
  }

  wrong(pointer: string): Wrong[] {
    if (this.chosen) return this.chosen.wrong(pointer);
    return this.value() === undefined ? this.missing(pointer) : [];
  }

  override at(steps: readonly string[]): Control {
    return this.chosen ? this.chosen.at(steps) : this;
  }

  override find(fieldId: string): Control | undefined {
    return super.find(fieldId) ?? this.chosen?.find(fieldId);
  }

  override refresh(): void {
    this.chosen?.refresh();
  }

  override clear(): void {
    super.clear();
    this.chosen?.clear();
  }

  override async ready(): Promise<void> {
    await this.chosen?.ready();
  }

  private choose(value: Json | undefined): void {
    const variant = this.select.value ? this.variants[Number(this.select.value)] : undefined;
    this.chosen = variant && this.scene.draw(variant, value, true);
    this.body.replaceChildren(...(this.chosen ? [this.chosen.element] : []));
  }
}

const ANYTHING: FormField = { id: "", key: "item", type: { json: {} } };
const SHAPES: ReadonlyMap<string, (value: Json) => boolean> = new Map([
  ["text", (value: Json) => typeof value === "string"],
  ["secret", (value: Json) => typeof value === "string"],
  ["moment", (value: Json) => typeof value === "string"],
  ["file", (value: Json) => typeof value === "string"],
  ["boolean", (value: Json) => typeof value === "boolean"],
  ["integer", (value: Json) => Number.isInteger(value)],
  ["number", (value: Json) => typeof value === "number"],
  ["list", (value: Json) => Array.isArray(value)],
  ["choices", (value: Json) => Array.isArray(value)],
  ["map", isObject],
  ["group", isObject],
]);

/** Tells whether a value may be meant to be this variant, by its shape, its names and its fixed values. */
function fits(variant: FormField, value: Json): boolean {
  if (value === null) return Boolean(variant.nullable);
  const { type } = variant;
  const kind = kindOf(variant);
  if (kind === "choice") return hasChoice(type.choice?.choices, value);
  if (kind === "union") return (type.union?.variants ?? []).some((each) => fits(each, value));
  if (kind === "json")
    return !type.json?.types?.length || typesOf(value).some((each) => type.json?.types?.includes(each));
  if (!(SHAPES.get(kind)?.(value) ?? true)) return false;
  if (Array.isArray(value)) {
    const { item } = type.list ?? {};
    return value.every((each) =>
      item ? fits(item, each) : kind !== "choices" || hasChoice(type.choices?.choices, each),
    );
  }
  if (!isObject(value)) return true;
  if (kind === "map") return Object.values(value).every((each) => fits(type.map?.value ?? ANYTHING, each));
  if (kind !== "group") return true;
  const fields = new Map((type.group?.fields ?? []).map((field) => [nameOf(field), field]));
  const complete = [...fields].every(
    ([name, field]) => !field.required || field.defaultJson !== undefined || Object.hasOwn(value, name),
  );
  return (
    complete &&
    Object.entries(value).every(([name, each]) => {
      const field = fields.get(name);
      return field ? fits(field, each) : Boolean(type.group?.open);
    })
  );
}

function hasChoice(choices: readonly Choice[] | undefined, value: Json): boolean {
  return (choices ?? []).some((choice) => JSON.parse(choice.valueJson) === value);
}

function nameOf(field: FormField): string {
  return field.wireName ?? field.key;
}

function own(value: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

function escaped(step: string): string {
  return step.replaceAll("~", "~0").replaceAll("/", "~1");
}
