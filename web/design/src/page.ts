// The page on which a person changes how forms look, and sees at once what customers will see.

import { drawForm } from "@cordboard/form";
import type { DrawnForm, FormDocument } from "@cordboard/form";
import { make } from "../../try/src/dom.ts";
import { finder } from "../../try/src/finder.ts";
import { Calls, Refused } from "./calls.ts";
import type { Finding, Listed, Opened, Part, Shown } from "./calls.ts";

// After the last key.
const PAUSE_MILLISECONDS = 350;
// The form of what customers set, which may have no fields yet.
const SETTINGS = "settings";

/** Reads the link, and takes the token out of the address, where others may read it. */
function arrival(): string {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  return given.get("token") ?? "";
}

class DesignPage {
  private readonly main = document.querySelector("main") ?? document.body;
  private readonly said = make("p", { role: "status", class: "quiet", id: "said" });
  private readonly save = action("Save", () => void this.saveAll());
  private readonly discard = action("Discard changes", () => void this.forget());
  private readonly forms = make("nav", { "aria-label": "Forms" });
  private readonly parts = make("nav", { "aria-label": "Parts of the form", id: "parts" });
  private readonly editing = make("section", { "aria-label": "What is said of it", id: "editor" });
  private readonly preview = make("section", { "aria-label": "Preview", id: "preview" });
  private readonly findings = make("section", { "aria-label": "Findings", id: "findings" });
  private file = "";
  private opened: Opened | undefined;
  private form = "";
  private part = "";
  private language = "";
  /** Counts what was picked: what was asked for before is not shown any more. */
  private turn = 0;
  private editor: DrawnForm | undefined;
  /** What was sent last, and what waits to be sent. */
  private last = "";
  private timer = 0;
  private sending: Promise<boolean> = Promise.resolve(true);

  constructor(private readonly calls: Calls) {}

  async start(): Promise<void> {
    const found = await this.asked(() => this.calls.definitions());
    if (!found) return;
    const first = found.find(({ problem }) => !problem);
    const { choice, problem } = definitionChoice(found, (file) => void this.turnTo(() => this.open(file)));
    document.title = "Designer";
    const bar = make("div", { class: "bar" }, choice, this.save, this.discard);
    const columns = make(
      "div",
      { class: "columns" },
      this.forms,
      make("div", {}, this.parts, this.editing),
      make("div", {}, this.preview, this.findings),
    );
    this.main.replaceChildren(make("h1", { tabindex: "-1" }, "Designer"), bar, ...problem, this.said, columns);
    if (first) await this.open(first.file);
    else this.say("None of the definitions can be opened.", true);
  }

  private async open(file: string): Promise<void> {
    const opened = await this.asked(() => this.calls.opened(file));
    if (!opened) return;
    this.file = file;
    this.opened = opened;
    this.mark(opened.changed);
    const entries = opened.forms.map(({ id, title, kind }) => ({
      id,
      title,
      text: kind === "action" ? "" : kind === "auth" ? "How people connect" : "Config variables",
    }));
    const find = finder(
      "Find a form",
      entries,
      ({ id }) => void this.turnTo(() => this.show(id)),
      (count, shown) => `${count}: the first ${shown} are shown`,
    );
    this.forms.replaceChildren(make("h2", {}, opened.title), find);
    const begin = opened.forms.find(({ kind }) => kind === "action") ?? opened.forms[0];
    await this.show(begin?.id ?? SETTINGS);
  }

  /** Goes somewhere else, when what was filled in has been sent. */
  private async turnTo(go: () => Promise<void>): Promise<void> {
    const turn = (this.turn += 1);
    await this.flush();
    if (turn === this.turn) await go();
  }

  private async show(form: string): Promise<void> {
    const turn = (this.turn += 1);
    this.form = form;
    this.part = "";
    this.language = "";
    this.editor = undefined;
    const shown = await this.refresh();
    void this.check();
    if (!shown || turn !== this.turn) return;
    const [first] = shown.parts;
    if (first) await this.edit(first.id);
    else this.editNothing();
  }

  /** Draws the preview and the list of parts again. */
  private async refresh(): Promise<Shown | undefined> {
    const { file, form } = this;
    const shown = await this.asked(() => this.calls.form(file, form, this.language));
    if (!shown || form !== this.form || file !== this.file) return undefined;
    this.mark(shown.changed);
    this.listParts(shown);
    this.drawPreview(shown);
    return shown;
  }

  private listParts({ parts }: Shown): void {
    const title = this.opened?.forms.find(({ id }) => id === this.form)?.title ?? this.form;
    const list = make("ul", { class: "entries" }, ...parts.map((part) => this.partRow(part)));
    const canAdd = !this.form.startsWith("action.");
    const add = action(this.form === SETTINGS ? "Add a variable" : "Add a field", () => void this.name());
    this.parts.replaceChildren(make("h2", {}, title), list, ...(canAdd ? [add] : []));
  }

  private partRow(part: Part): HTMLElement {
    const isHere = part.id === this.part;
    const button = make(
      "button",
      { type: "button", class: `entry depth-${Math.min(part.depth, 4)}`, "aria-current": isHere ? "true" : false },
      part.label,
    );
    if (part.depth > 0 || part.id !== "form") button.append(" ", make("code", {}, part.id));
    const marks = [part.said ? "changed here" : "", part.hidden ? "not drawn" : ""].filter(Boolean).join(", ");
    if (marks) button.append(make("span", { class: "quiet" }, marks));
    button.addEventListener("click", () => void this.pick(part.id));
    return make("li", {}, button);
  }

  private async pick(part: string): Promise<void> {
    const turn = (this.turn += 1);
    await this.flush();
    if (turn !== this.turn) return;
    await this.edit(part);
    if (turn === this.turn) this.editing.querySelector<HTMLElement>("h2")?.focus();
  }

  private async edit(part: string): Promise<void> {
    const { turn } = this;
    this.part = part;
    const { file, form } = this;
    const editor = await this.asked(() => this.calls.editor(file, form, part));
    const shown = editor && (await this.asked(() => this.calls.form(file, form, this.language)));
    if (!editor || !shown || turn !== this.turn) return;
    this.listParts(shown);
    const found = shown.parts.find(({ id }) => id === part);
    const drawn = drawForm(editor.document, { values: editor.values });
    const last = JSON.stringify(await drawn.values());
    if (turn !== this.turn) return;
    this.editor = drawn;
    this.last = last;
    const again = (): void => {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => void this.flush(), PAUSE_MILLISECONDS);
    };
    const host = make("div", {}, drawn.element);
    for (const event of ["input", "change", "click"]) host.addEventListener(event, again);
    const buttons = make("div", { class: "bar" });
    if (found?.moves) {
      buttons.append(action("Move up", () => void this.move(-1)), action("Move down", () => void this.move(1)));
    }
    if (found?.removable) buttons.append(action("Remove", () => void this.remove()));
    const heading = make("h2", { tabindex: "-1" }, found?.label ?? part);
    this.editing.replaceChildren(heading, make("p", { class: "quiet" }, editor.document.title ?? ""), buttons, host);
  }

  private editNothing(): void {
    this.part = "";
    this.editor = undefined;
    this.editing.replaceChildren(make("p", { class: "quiet" }, "There is nothing that customers set yet."));
  }

  /** Sends what was filled in, when it is something else than was sent last; false where it was refused. */
  private async flush(): Promise<boolean> {
    window.clearTimeout(this.timer);
    this.sending = this.sending.then(() => this.send());
    return await this.sending;
  }

  private async send(): Promise<boolean> {
    const { editor, file, form, part } = this;
    if (!editor) return true;
    const values = await editor.values();
    const text = JSON.stringify(values);
    if (text === this.last) return true;
    try {
      await this.calls.change(file, form, part, values);
    } catch (error) {
      const problems = error instanceof Refused ? error.problems : [{ pointer: "", text: String(error) }];
      editor.mark(problems);
      this.say("Not taken over: something is wrong.", true);
      return false;
    }
    this.last = text;
    editor.mark([]);
    this.say("");
    await this.refresh();
    void this.check();
    return true;
  }

  private async move(by: 1 | -1): Promise<void> {
    await this.flush();
    const { file, form, part } = this;
    const moved = await this.asked(async () => {
      await this.calls.move(file, form, part, by);
      return true;
    });
    if (!moved || part !== this.part) return;
    await this.refresh();
    await this.edit(part);
    void this.check();
    this.editing.querySelectorAll<HTMLElement>("button")[by < 0 ? 0 : 1]?.focus();
  }

  private async remove(): Promise<void> {
    const { file, form, part } = this;
    const removed = await this.asked(async () => {
      await this.calls.remove(file, form, part);
      return true;
    });
    if (!removed) return;
    this.editor = undefined;
    this.part = "";
    await this.show(form);
    this.parts.querySelector<HTMLElement>("button")?.focus();
  }

  /** Asks for the name of a new part. */
  private async name(): Promise<void> {
    const { file, form } = this;
    await this.flush();
    const turn = (this.turn += 1);
    const asked = await this.asked(() => this.calls.naming(form));
    if (!asked || turn !== this.turn) return;
    this.editor = undefined;
    this.part = "";
    const drawn = drawForm(asked.document);
    const host = make("form", { novalidate: true }, drawn.element, make("button", { type: "submit" }, "Add"));
    host.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.add(drawn, file, form);
    });
    this.editing.replaceChildren(make("h2", { tabindex: "-1" }, asked.document.title ?? ""), host);
    host.querySelector("input")?.focus();
  }

  private async add(drawn: DrawnForm, file: string, form: string): Promise<void> {
    const reading = await drawn.read();
    if (reading.problems.length > 0) return;
    try {
      const part = await this.calls.add(file, form, reading.values);
      await this.pick(part);
      void this.check();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      drawn.show(error.problems);
    }
  }

  private drawPreview({ document: shown, losses }: Shown): void {
    const open = this.preview.querySelector("details")?.open ?? false;
    const parts: Node[] = [make("h2", {}, "As customers see it")];
    if (shown) {
      const { languages = [] } = shown as { languages?: string[] };
      if (languages.length > 0 || this.language) parts.push(this.languageChoice(shown));
      parts.push(make("h3", {}, shown.title ?? ""));
      if (shown.description) parts.push(make("p", {}, shown.description));
      const nobody = { options: [], more: false, problem: "There is no connection here to ask with." };
      const host = make("div", { class: "page" }, drawForm(shown, { options: async () => nobody }).element);
      parts.push(host);
    }
    if (losses.length > 0) {
      const line = ({ target, text }: { target: string; text: string }): HTMLElement =>
        make("li", {}, target ? `${target}: ${text}` : text);
      const summary = make("summary", {}, `What is shown in another way (${losses.length})`);
      parts.push(make("details", { open }, summary, make("ul", {}, ...losses.map(line))));
    }
    this.preview.replaceChildren(...parts);
  }

  private languageChoice(shown: FormDocument): HTMLElement {
    const { languages: others = [] } = shown as { languages?: string[] };
    const select = make("select", { id: "language" }, make("option", { value: "" }, "the definition's own"));
    for (const each of others) select.append(make("option", { value: each, selected: each === this.language }, each));
    select.addEventListener("change", () => {
      this.language = select.value;
      void this.refresh().then(() => this.preview.querySelector<HTMLElement>("#language")?.focus());
    });
    return make("p", { class: "choice" }, make("label", { for: "language" }, "Language"), select);
  }

  /** Says what `cordboard check` finds now. */
  private async check(): Promise<void> {
    const { file } = this;
    const found = await this.asked(() => this.calls.findings(file));
    if (!found || file !== this.file) return;
    const line = ({ rule, field, text, line: at }: Finding): HTMLElement =>
      make("li", {}, make("strong", {}, rule), ` ${field} ${text}${at ? ` (line ${at})` : ""}`);
    const heading = make("h2", {}, "What cordboard check finds");
    const parts = found.length > 0 ? make("ul", {}, ...found.map(line)) : make("p", {}, "Nothing: all is well.");
    this.findings.replaceChildren(heading, parts);
  }

  private async saveAll(): Promise<void> {
    const { file } = this;
    if (!(await this.flush())) return;
    const saved = await this.asked(async () => {
      await this.calls.save(file);
      return true;
    });
    if (!saved) return;
    this.mark(false);
    this.say(`Saved into ${file}.`);
  }

  private async forget(): Promise<void> {
    window.clearTimeout(this.timer);
    this.editor = undefined;
    const { file } = this;
    const done = await this.asked(async () => {
      await this.calls.discard(file);
      return true;
    });
    if (!done) return;
    await this.open(file);
    this.say("The changes are discarded.");
  }

  private mark(changed: boolean): void {
    this.save.disabled = !changed;
    this.discard.disabled = !changed;
    document.title = changed ? "Designer (not saved)" : "Designer";
  }

  private say(text: string, isProblem = false): void {
    this.said.textContent = text;
    this.said.className = isProblem ? "problem" : "quiet";
  }

  /** Returns what was asked for, or nothing when it was refused, which is said then. */
  private async asked<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!this.said.isConnected) this.main.replaceChildren(make("h1", {}, "Designer"), this.said);
      this.say(`${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}`, true);
      return undefined;
    }
  }
}

function definitionChoice(
  found: readonly Listed[],
  open: (file: string) => void,
): { choice: HTMLElement; problem: HTMLElement[] } {
  const select = make("select", { id: "definition" });
  for (const { file, title, problem } of found) {
    select.append(make("option", { value: file, disabled: problem !== "" }, `${title} (${file})`));
  }
  const first = found.find(({ problem }) => !problem);
  if (first) select.value = first.file;
  select.addEventListener("change", () => open(select.value));
  const problems = found.filter(({ problem }) => problem);
  const list = problems.map(({ problem }) => make("p", { class: "problem" }, problem));
  const choice = make("p", { class: "choice" }, make("label", { for: "definition" }, "Definition"), select);
  return { choice, problem: list };
}

function action(text: string, act: () => void): HTMLButtonElement {
  const button = make("button", { type: "button", class: "act" }, text);
  button.addEventListener("click", act);
  return button;
}

void new DesignPage(new Calls(arrival())).start();
