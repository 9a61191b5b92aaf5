// What every control is: one field, drawn.

import type { Constraint, FormField, Json } from "./document.ts";
import type { Lookup } from "./conditions.ts";
import { describe, make } from "./dom.ts";
import { said } from "./words.ts";
import type { Words } from "./words.ts";

/** Something that is wrong, and the control that it is about. */
export interface Wrong {
  control: Control;
  pointer: string;
  text: string;
}

/** What can be chosen, as somebody who asked the vendor says it. */
export interface Options {
  options: { value: Json; label: string }[];
  /** There are others: a search may find them. */
  more: boolean;
  /** Why there are none; empty: nothing is wrong. */
  problem: string;
}

/** What the controls of one form have in common. */
export interface Scene {
  words: Words;
  /** An empty text counts as a value where a text is required: a password may be empty. */
  keepsBlank: boolean;
  /** Ids of secrets that are stored already. */
  stored: ReadonlySet<string>;
  /** The largest file, in bytes. */
  fileBytes: number;
  /** Returns an id that no other element of the page has. */
  newId(): string;
  /** Draws a field; `value` is what it begins with. */
  draw(field: FormField, value: Json | undefined, required: boolean): Control;
  /** Asks for what can be chosen in a field; undefined: nobody answers. */
  options: ((fieldId: string, search: string) => Promise<Options>) | undefined;
  /** Has the conditions looked at again. */
  changed(): void;
  /** What has to hold for several fields of an object at once. */
  constraints: readonly Constraint[];
}

/** One field, drawn. */
export abstract class Control {
  /** What is on the page. */
  abstract readonly element: HTMLElement;
  protected readonly help: HTMLElement | undefined;
  protected readonly problem: HTMLElement;
  private readonly mark: HTMLElement;
  private isRequired: boolean;

  constructor(
    readonly field: FormField,
    protected readonly scene: Scene,
    required: boolean,
  ) {
    this.isRequired = required;
    const { words } = scene;
    this.mark = make("span", { class: "cbf-mark" });
    const example = field.example ? said(words.example, { example: field.example }) : "";
    const help = [field.help, example].filter(Boolean).join(" ");
    this.help = help ? make("p", { class: "cbf-help", id: scene.newId() }, help) : undefined;
    this.problem = make("p", { class: "cbf-problem", id: scene.newId(), hidden: true });
    this.remark();
  }

  /** Returns the value that is filled in; undefined for none. */
  abstract value(): Json | undefined;

  /** Returns everything that is wrong here; `pointer` is the JSON Pointer of the value. */
  abstract wrong(pointer: string): Wrong[];

  /** Puts the person where they can change it. */
  abstract focus(): void;

  /** Returns what a reader names it by. */
  get label(): string {
    return this.field.label || this.field.wireName || this.field.key;
  }

  /** Returns the control of the value at the end of a way into this one, or the last one on it. */
  at(_steps: readonly string[]): Control {
    return this;
  }

  /** Returns the control of the field with this id, if it is drawn. */
  find(fieldId: string): Control | undefined {
    return this.field.id === fieldId ? this : undefined;
  }

  /** Looks at the conditions again. */
  refresh(): void {}

  /** Resolves when everything that is read in the background has been read. */
  async ready(): Promise<void> {}

  /** Says whether a value has to be here. */
  require(required: boolean): void {
    if (this.isRequired === required) return;
    this.isRequired = required;
    this.remark();
  }

  get required(): boolean {
    return this.isRequired;
  }

  /** Shows what is wrong; nothing, for an empty text. */
  show(text: string): void {
    this.problem.textContent = text;
    this.problem.hidden = !text;
    this.describe();
  }

  /** Takes back everything that was shown as wrong, here and within. */
  clear(): void {
    this.show("");
  }

  /** Returns the label's text with its marks. */
  protected labelled(): (Node | string)[] {
    return [this.label, " ", this.mark];
  }

  /** Returns what is wrong where a value has to be and is not. */
  protected missing(pointer: string): Wrong[] {
    return this.required ? [this.fault(pointer, this.scene.words.isRequired)] : [];
  }

  protected fault(pointer: string, text: string): Wrong {
    return { control: this, pointer, text };
  }

  /** Returns the element that help and problem describe. */
  protected abstract described(): HTMLElement;

  protected describe(): void {
    describe(this.described(), this.help, this.problem);
    const invalid = !this.problem.hidden;
    if (invalid) this.described().setAttribute("aria-invalid", "true");
    else this.described().removeAttribute("aria-invalid");
  }

  private remark(): void {
    const { words } = this.scene;
    const marks = [this.isRequired ? words.required : words.optional];
    if (this.field.deprecated) marks.push(words.deprecated);
    this.mark.textContent = `(${marks.join(", ")})`;
  }
}

/** Answers with the values of controls by the ids of their fields. */
export function valuesOf(controls: readonly Control[]): Lookup {
  return (id) => controls.find((control) => control.field.id === id)?.value();
}
