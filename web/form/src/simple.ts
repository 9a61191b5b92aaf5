// Controls of single values.

import { defaultOf, keywordsOf, kindOf } from "./document.ts";
import type { Choice, FormField, Json } from "./document.ts";
import { Control } from "./control.ts";
import type { Scene, Wrong } from "./control.ts";
import { make } from "./dom.ts";
import { localMoment, outOfBounds, readInteger, readJson, readMoment, readNumber } from "./scalars.ts";
import type { Typed } from "./scalars.ts";
import { said } from "./words.ts";

const SEARCH_AFTER_MS = 300;
// A time may have an offset, for which browsers have no input.
const MOMENTS: ReadonlyMap<string, string> = new Map([
  ["date", "date"],
  ["date-time", "datetime-local"],
]);

/** One input under its label. */
abstract class Single<Input extends HTMLElement> extends Control {
  readonly element: HTMLElement;
  protected input: Input;
  private drawn = false;

  constructor(field: FormField, scene: Scene, required: boolean, input: Input) {
    super(field, scene, required);
    this.input = input;
    input.id = scene.newId();
    const label = make("label", { for: input.id }, ...this.labelled());
    this.element = make("div", { class: "cbf-field" }, label, this.help, input, this.problem);
    for (const event of ["input", "change"]) input.addEventListener(event, () => scene.changed());
    this.drawn = true;
    this.describe();
  }

  /** Reads what is filled in. */
  protected abstract read(): Typed;

  value(): Json | undefined {
    const { value } = this.read();
    return value === undefined && this.field.nullable && this.required ? null : value;
  }

  wrong(pointer: string): Wrong[] {
    const { problem } = this.read();
    if (problem) return [this.fault(pointer, problem)];
    const value = this.value();
    if (value === undefined) return this.missing(pointer);
    const bound = value === null ? "" : outOfBounds(this.field, value, this.scene.words);
    return bound ? [this.fault(pointer, bound)] : [];
  }

  focus(): void {
    this.input.focus();
  }

  /** Tells whether an empty text is a value here, and not the lack of one. */
  protected get keepsBlank(): boolean {
    return this.required && this.scene.keepsBlank && !keywordsOf(this.field).minLength;
  }

  override require(required: boolean): void {
    super.require(required);
    if (this.drawn) this.describe();
  }

  protected described(): HTMLElement {
    return this.input;
  }

  protected override describe(): void {
    super.describe();
    if (this.required) this.input.setAttribute("aria-required", "true");
    else this.input.removeAttribute("aria-required");
  }
}

/** Text, numbers, moments and JSON: what somebody types. */
export class Line extends Single<HTMLInputElement | HTMLTextAreaElement> {
  private readonly list: HTMLDataListElement | undefined;
  private readonly news: HTMLElement | undefined;
  private known = new Map<string, Json>();
  private asked = 0;

  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    super(field, scene, required, lineOf(field));
    const begin = value === undefined ? defaultOf(field) : value;
    if (begin !== undefined && begin !== null) this.input.value = textOf(field, begin);
    if (field.type.moment?.part === "date-time") this.hint(scene.words.localTime);
    if (kindOf(field) === "json") this.hint(scene.words.jsonText);
    if (field.optionSource && scene.options && this.input instanceof HTMLInputElement) {
      this.list = make("datalist", { id: scene.newId() });
      this.news = make("p", { class: "cbf-news", role: "status", id: scene.newId() });
      this.element.append(this.list, this.news);
      this.input.setAttribute("list", this.list.id);
      this.input.addEventListener("focus", () => void this.ask(), { once: true });
      let timer: number | undefined;
      this.input.addEventListener("input", () => {
        window.clearTimeout(timer);
        if (!this.known.has(this.input.value)) timer = window.setTimeout(() => void this.ask(), SEARCH_AFTER_MS);
      });
    }
  }

  protected read(): Typed {
    const { value } = this.input;
    const { words } = this.scene;
    const known = this.known.get(value);
    if (known !== undefined) return { value: known };
    switch (kindOf(this.field)) {
      case "integer":
        return readInteger(value, words);
      case "number":
        return readNumber(value, words);
      case "json":
        return readJson(value, this.field.type.json?.types ?? [], words);
      case "moment":
        return this.field.type.moment?.part === "date-time" ? readMoment(value, words) : value ? { value } : {};
      default:
        return value || this.keepsBlank ? { value } : {};
    }
  }

  private hint(text: string): void {
    const hint = make("p", { class: "cbf-help" }, text);
    this.input.before(hint);
  }

  private async ask(): Promise<void> {
    const { list, news, scene } = this;
    if (!list || !news || !scene.options) return;
    this.asked += 1;
    const turn = this.asked;
    news.textContent = scene.words.loading;
    const found = await scene.options(this.field.id, this.input.value).catch((error: unknown) => ({
      options: [],
      more: false,
      problem: error instanceof Error ? error.message : String(error),
    }));
    // Answers may come in another order than the questions went.
    if (turn !== this.asked) return;
    this.known = new Map(found.options.map((each) => [plain(each.value), each.value]));
    list.replaceChildren(
      ...found.options.map((each) =>
        make("option", { value: plain(each.value), label: each.label || plain(each.value) }),
      ),
    );
    news.textContent = found.problem || (found.more ? scene.words.more : "");
    scene.changed();
  }
}

/** A text that is never shown again. */
export class SecretLine extends Single<HTMLInputElement | HTMLTextAreaElement> {
  constructor(field: FormField, scene: Scene, required: boolean) {
    super(field, scene, required && !scene.stored.has(field.id), make("input", { type: "password", ...SECRET }));
    if (this.isKept) this.input.before(make("p", { class: "cbf-help" }, scene.words.kept));
    this.input.addEventListener("paste", (event) => this.pasted(event as ClipboardEvent));
  }

  override require(required: boolean): void {
    super.require(required && !this.isKept);
  }

  protected read(): Typed {
    const { value } = this.input;
    return value || this.keepsBlank ? { value } : {};
  }

  private get isKept(): boolean {
    return this.scene.stored.has(this.field.id);
  }

  /** A key of several lines would lose them in an input of one line: it gets an area, masked as well. */
  private pasted(event: ClipboardEvent): void {
    const text = event.clipboardData?.getData("text") ?? "";
    if (this.input instanceof HTMLTextAreaElement || !text.trim().includes("\n")) return;
    event.preventDefault();
    const area = make("textarea", { id: this.input.id, rows: "4", class: "cbf-masked", ...SECRET });
    area.value = text;
    area.addEventListener("input", () => this.scene.changed());
    this.input.replaceWith(area);
    this.input = area;
    this.describe();
    area.focus();
    this.scene.changed();
  }
}

/** Yes or no: a box where one of them is sure to be meant, a list where neither may be. */
export class YesNo extends Single<HTMLInputElement | HTMLSelectElement> {
  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    const begin = value ?? defaultOf(field);
    super(
      field,
      scene,
      required,
      begin === undefined || begin === null || field.nullable ? unsure(scene) : make("input", { type: "checkbox" }),
    );
    if (this.input instanceof HTMLSelectElement) this.input.value = typeof begin === "boolean" ? String(begin) : "";
    else {
      this.input.checked = begin === true;
      this.element.classList.add("cbf-box");
    }
  }

  protected read(): Typed {
    if (this.input instanceof HTMLInputElement) return { value: this.input.checked };
    return this.input.value ? { value: this.input.value === "true" } : {};
  }
}

/** One of a few values. */
export class Select extends Single<HTMLSelectElement> {
  private readonly choices: Choice[];

  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    super(field, scene, required, make("select"));
    this.choices = field.type.choice?.choices ?? [];
    const begin = JSON.stringify(value === undefined ? defaultOf(field) : value);
    const chosen = this.choices.findIndex((choice) => JSON.stringify(JSON.parse(choice.valueJson)) === begin);
    this.input.append(
      make("option", { value: "" }, required ? scene.words.choose : scene.words.none),
      // The value is the place in the list: texts of values may be empty, or alike.
      ...this.choices.map((choice, index) =>
        make("option", { value: String(index), selected: index === chosen }, labelOf(choice, scene)),
      ),
    );
    // What a form has no way to answer with must not keep it from being sent.
    if (chosen < 0 && required && this.choices.length === 1) this.input.value = "0";
  }

  protected read(): Typed {
    const choice = this.input.value ? this.choices[Number(this.input.value)] : undefined;
    return choice ? { value: JSON.parse(choice.valueJson) as Json } : {};
  }
}

/** Any number of a few values: boxes for some, a list for many. */
export class Boxes extends Control {
  readonly element: HTMLElement;
  private readonly choices: Choice[];
  private readonly boxes: HTMLInputElement[] = [];
  private readonly select: HTMLSelectElement | undefined;

  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    super(field, scene, required);
    this.choices = field.type.choices?.choices ?? [];
    const begin = value === undefined ? defaultOf(field) : value;
    const chosen = new Set(Array.isArray(begin) ? begin.map((each) => JSON.stringify(each)) : []);
    const isChosen = (choice: Choice): boolean => chosen.has(JSON.stringify(JSON.parse(choice.valueJson)));
    const legend = make("legend", {}, ...this.labelled());
    this.element = make("fieldset", { class: "cbf-boxes", id: scene.newId() }, legend, this.help, this.problem);
    if (this.choices.length > MOST_BOXES) {
      this.select = make("select", { multiple: true, size: "8", "aria-label": this.label });
      this.select.append(
        ...this.choices.map((choice, index) =>
          make("option", { value: String(index), selected: isChosen(choice) }, labelOf(choice, scene)),
        ),
      );
      this.element.append(this.select);
    }
    for (const choice of this.select ? [] : this.choices) {
      const box = make("input", { type: "checkbox", id: scene.newId() });
      box.checked = isChosen(choice);
      this.boxes.push(box);
      const label = make("label", { for: box.id }, labelOf(choice, scene));
      this.element.append(make("div", { class: "cbf-box" }, label, box));
    }
    this.element.addEventListener("change", () => scene.changed());
    this.describe();
  }

  value(): Json | undefined {
    const isOn = (_: Choice, index: number): boolean =>
      this.select ? Boolean(this.select.options[index]?.selected) : Boolean(this.boxes[index]?.checked);
    const found = this.choices.filter(isOn).map((choice) => JSON.parse(choice.valueJson) as Json);
    return found.length > 0 || this.required ? found : undefined;
  }

  wrong(pointer: string): Wrong[] {
    const value = this.value();
    const bound = value === undefined ? "" : outOfBounds(this.field, value, this.scene.words);
    return bound ? [this.fault(pointer, bound)] : [];
  }

  focus(): void {
    (this.select ?? this.boxes[0] ?? this.element).focus();
  }

  protected described(): HTMLElement {
    return this.element;
  }

  // A group of boxes has no `aria-invalid`; what is wrong with it describes it.
  protected override describe(): void {
    super.describe();
    this.element.removeAttribute("aria-invalid");
  }
}

/** Bytes. */
export class FileLine extends Single<HTMLInputElement> {
  private readonly begun: Typed;
  private held: Typed;
  private reading: Promise<void> = Promise.resolve();

  constructor(field: FormField, scene: Scene, value: Json | undefined, required: boolean) {
    const accept = field.type.file?.accept?.join(",");
    super(field, scene, required, make("input", { type: "file", accept: accept || undefined }));
    this.begun = typeof value === "string" ? { value } : {};
    this.held = this.begun;
    this.input.addEventListener("change", () => {
      this.reading = this.take(this.input.files?.[0]);
    });
  }

  override async ready(): Promise<void> {
    await this.reading;
  }

  protected read(): Typed {
    return this.held;
  }

  private async take(file: File | undefined): Promise<void> {
    const { words, fileBytes } = this.scene;
    const { accept = [], maxBytes = 0 } = this.field.type.file ?? {};
    this.held = this.begun;
    if (!file) return;
    if (!isAccepted(accept, file.type, file.name)) {
      this.held = { problem: said(words.fileKind, { kinds: accept.join(", ") }) };
      return;
    }
    if (maxBytes > 0 && file.size > maxBytes) {
      this.held = { problem: said(words.fileBytes, { bound: maxBytes }) };
      return;
    }
    if (file.size > fileBytes) {
      this.held = { problem: said(words.fileSize, { bound: Math.floor(fileBytes / 1_000_000) }) };
      return;
    }
    try {
      this.held = { value: base64(new Uint8Array(await file.arrayBuffer())) };
    } catch {
      this.held = { problem: words.fileRead };
    }
  }
}

/** Tells whether a file is one of those that a field takes; browsers let people pick others all the same. */
export function isAccepted(accept: readonly string[], type: string, name: string): boolean {
  const told = type === "application/octet-stream" ? "" : type.toLowerCase();
  return (
    accept.length === 0 ||
    accept.some((each) => {
      const kind = each.toLowerCase();
      if (kind.startsWith(".")) return name.toLowerCase().endsWith(kind);
      // A browser that knows no type of a file leaves it to the server.
      return told === "" || (kind.endsWith("/*") ? told.startsWith(kind.slice(0, -1)) : told === kind);
    })
  );
}

const MOST_BOXES = 20;
const SECRET = { autocomplete: "off", autocapitalize: "none", spellcheck: "false" } as const;
const SLICE = 0x8000;

function base64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let start = 0; start < bytes.length; start += SLICE) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + SLICE)));
  }
  return btoa(parts.join(""));
}

function unsure(scene: Scene): HTMLSelectElement {
  const { words } = scene;
  return make(
    "select",
    {},
    make("option", { value: "" }, words.none),
    make("option", { value: "true" }, words.yes),
    make("option", { value: "false" }, words.no),
  );
}

function lineOf(field: FormField): HTMLInputElement | HTMLTextAreaElement {
  const told = { placeholder: field.placeholder || undefined, spellcheck: "false" };
  switch (kindOf(field)) {
    case "integer":
      return make("input", { type: "text", inputmode: "numeric", ...told });
    case "number":
      return make("input", { type: "text", inputmode: "decimal", ...told });
    case "moment":
      return make("input", {
        type: MOMENTS.get(field.type.moment?.part ?? "") ?? "text",
        step: field.type.moment?.part === "date-time" ? "1" : undefined,
        ...told,
      });
    case "json":
      return make("textarea", { rows: "4", class: "cbf-code", ...told });
    default:
      return field.type.text?.multiline
        ? make("textarea", { rows: "4", placeholder: field.placeholder || undefined })
        : make("input", { type: "text", placeholder: field.placeholder || undefined });
  }
}

function textOf(field: FormField, value: Json): string {
  const kind = kindOf(field);
  if (kind === "json") return JSON.stringify(value, null, 2);
  if (kind === "moment" && field.type.moment?.part === "date-time") return localMoment(plain(value));
  return plain(value);
}

function labelOf(choice: Choice, scene: Scene): string {
  return choice.label || plain(JSON.parse(choice.valueJson) as Json) || scene.words.empty;
}

function plain(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
