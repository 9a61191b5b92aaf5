// The page on which a person picks an action, fills in its form, and calls it.

import { drawForm } from "@cordboard/form";
import type { DrawnForm, FormDocument, Json, JsonObject } from "@cordboard/form";
import { Calls, Refused } from "./calls.ts";
import type { Connection, Entry, Outcome } from "./calls.ts";
import { switches } from "./choices.ts";
import { make } from "./dom.ts";
import { finder } from "./finder.ts";
import { LANGUAGE, say } from "./say.ts";
import { parted, storedOf, valuesOf } from "./settings.ts";
import { tree } from "./tree.ts";

/** What a link says: a token, and where to begin. */
interface Arrival {
  token: string;
  integration: string;
  connection: string;
  action: string;
  /** Whether to begin with the settings. */
  settings: boolean;
}

/** Reads the link, and takes it out of the address, where others may read it. */
function arrival(): Arrival {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  const said = (name: string): string => given.get(name) ?? "";
  return {
    token: said("token"),
    integration: said("integration"),
    connection: said("connection"),
    action: said("action"),
    settings: said("settings") !== "",
  };
}

const POLL_MILLISECONDS = 2000;

class TryPage {
  private readonly main = document.querySelector("main") ?? document.body;
  private turn = 0;

  constructor(private readonly from: Arrival) {}

  async start(): Promise<void> {
    if (!this.from.token) return this.over();
    let calls: Calls;
    try {
      calls = await Calls.begin(this.from.token);
    } catch (error) {
      return error instanceof Refused ? this.over() : this.broken(error);
    }
    const { integration, action } = this.from;
    if (!integration) return await (this.from.settings ? this.choose(calls) : this.pickIntegration(calls));
    const entry = { id: integration, title: integration, text: "" };
    await (this.from.settings ? this.set(calls, entry) : this.pickAction(calls, entry, action));
  }

  private async pickIntegration(calls: Calls): Promise<void> {
    const found = await this.asked(() => calls.integrations());
    if (!found) return;
    const { environment, workspace } = calls;
    this.show(say("Try an action"), [
      make("p", {}, say("In {environment} of {workspace}.", { environment, workspace })),
      finder(say("Find an integration"), found, (entry) => void this.pickAction(calls, entry), firstShown),
      ...this.ofAdmins(calls),
      this.leave(calls),
    ]);
  }

  /** Lets an administrator switch integrations on and off for the workspace. */
  private async choose(calls: Calls): Promise<void> {
    const found = await this.asked(() => calls.choices());
    if (!found) return;
    const { environment, workspace } = calls;
    const result = make("section", { "aria-label": say("What came of it") });
    const failed = (error: unknown): void => {
      result.replaceChildren(
        ...(error === undefined ? [] : refused(error, say("Nothing was changed"), say("The choice was refused"))),
      );
      result.querySelector<HTMLElement>("h2")?.focus();
    };
    this.show(say("What the workspace uses"), [
      make("p", {}, say("In {environment} of {workspace}. It holds for everybody there.", { environment, workspace })),
      found.length > 0
        ? switches(found, (...chosen) => calls.choose(...chosen), failed)
        : make("p", {}, say("There is nothing to switch.")),
      result,
      this.back(say("Its integrations"), () => this.pickIntegration(calls)),
      this.leave(calls),
    ]);
  }

  private ofAdmins(calls: Calls): HTMLElement[] {
    return calls.isAdmin ? [this.back(say("Switch integrations"), () => this.choose(calls))] : [];
  }

  private async pickAction(calls: Calls, integration: Entry, action = ""): Promise<void> {
    const found = await this.asked(() =>
      Promise.all([calls.forms(integration.id), calls.connections(integration.id)]),
    );
    if (!found) return;
    const [{ actions, hasSettings }, connections] = found;
    const wanted = actions.find((entry) => entry.id === action);
    if (wanted) return await this.fillIn(calls, integration, wanted, connections);
    this.show(say("Actions of {title}", { title: integration.title }), [
      finder(
        say("Find an action"),
        actions,
        (entry) => void this.fillIn(calls, integration, entry, connections),
        firstShown,
      ),
      ...(hasSettings && calls.isAdmin ? [this.back(say("Settings"), () => this.set(calls, integration))] : []),
      ...this.ofAdmins(calls),
      this.back(say("Connect an account"), () => this.connect(calls, integration)),
      this.back(say("Another integration"), () => this.pickIntegration(calls)),
      this.leave(calls),
    ]);
  }

  private async fillIn(
    calls: Calls,
    integration: Entry,
    action: Entry,
    connections: readonly Connection[],
  ): Promise<void> {
    const document = await this.asked(() => calls.form(integration.id, action.id));
    if (!document) return;
    const choice = connectionChoice(connections, this.from.connection);
    const version = String((document as { version?: string }).version ?? "");
    const about = { integration: integration.id, action: action.id, version };
    const drawn = drawForm(document, {
      options: async (fieldId, values, search) =>
        choice.value
          ? await calls.options(choice.value, about, { fieldId, values, search })
          : { options: [], more: false, problem: say("There is no connection to ask with.") },
    });
    const form = make("form", { novalidate: true });
    const button = make("button", { type: "submit" }, say("Call"));
    const result = make("section", { "aria-label": say("Answer") });
    button.disabled = connections.length === 0;
    const connect = this.back(say("Connect an account"), () => this.connect(calls, integration));
    form.append(...connectionRow(choice, connections, integration, connect), drawn.element, button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      button.disabled = true;
      const done = (): void => void (button.disabled = false);
      void this.call(calls, { ...about, connection: choice.value }, drawn, result).then(done, done);
    });
    this.show(document.title || action.id, [
      ...notes(document),
      form,
      result,
      this.back(say("Another action"), () => this.pickAction(calls, integration)),
      this.leave(calls),
    ]);
  }

  private async call(
    calls: Calls,
    about: { integration: string; action: string; version: string; connection: string },
    drawn: DrawnForm,
    result: HTMLElement,
  ): Promise<void> {
    result.replaceChildren();
    const reading = await drawn.read();
    if (reading.problems.length > 0) return;
    try {
      const bound = await calls.bind(about.integration, about.action, about.version, reading.values);
      if (bound.problems.length > 0) return drawn.show(bound.problems);
      result.replaceChildren(...answered(await calls.execute(about.connection, about.action, bound.input)));
    } catch (error) {
      const problems = error instanceof Refused ? atFields(error, reading.values) : [];
      if (problems.length > 0) drawn.show(problems);
      result.replaceChildren(...refused(error));
    }
    result.querySelector<HTMLElement>("h2")?.focus();
  }

  private async set(calls: Calls, integration: Entry): Promise<void> {
    const settings = await this.asked(() => calls.settings(integration.id));
    if (!settings) return;
    const { document } = settings;
    const stored = storedOf(settings);
    const drawn = drawForm(document, { values: valuesOf(settings), stored });
    const form = make("form", { novalidate: true });
    const button = make("button", { type: "submit" }, say("Save"));
    const result = make("section", { "aria-label": say("What came of it") });
    form.append(drawn.element, button);
    const save = async (): Promise<void> => {
      result.replaceChildren();
      const reading = await drawn.read();
      if (reading.problems.length > 0) return;
      try {
        const version = String((document as { version?: string }).version ?? "");
        const bound = await calls.bindSettings(integration.id, version, reading.values, stored);
        if (bound.problems.length > 0) return drawn.show(bound.problems);
        const { values, secretValues } = parted(settings, bound.input);
        await calls.save(integration.id, values, secretValues);
        await this.saved(calls, integration);
      } catch (error) {
        const problems = error instanceof Refused ? atFields(error, reading.values) : [];
        if (problems.length > 0) drawn.show(problems);
        result.replaceChildren(...refused(error, say("Nothing was saved"), say("The settings were refused")));
        result.querySelector<HTMLElement>("h2")?.focus();
      }
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      button.disabled = true;
      const done = (): void => void (button.disabled = false);
      void save().then(done, done);
    });
    this.show(`${document.title ?? say("Settings")}: ${integration.title}`, [
      ...notes(document),
      form,
      result,
      this.back(say("Its actions"), () => this.pickAction(calls, integration)),
      this.leave(calls),
    ]);
  }

  private async saved(calls: Calls, integration: Entry): Promise<void> {
    const connections = await this.asked(() => calls.connections(integration.id));
    if (!connections) return;
    const text =
      connections.length > 0
        ? say("The next call of every connection has them.")
        : say("There is no connection at {title} yet.", { title: integration.title });
    this.show(say("The settings are saved"), [
      make("p", {}, text),
      this.back(say("Connect an account"), () => this.connect(calls, integration)),
      this.back(say("Its actions"), () => this.pickAction(calls, integration)),
      this.leave(calls),
    ]);
  }

  /** Gives a link to the connect page, and waits until somebody has connected. */
  private async connect(calls: Calls, integration: Entry): Promise<void> {
    const link = await this.asked(() => calls.connectLink(integration.id));
    if (!link) return;
    const { turn } = this;
    const elsewhere = { href: link.url, target: "_blank", rel: "noopener noreferrer" };
    const open = make("a", elsewhere, say("Open the connect page"));
    this.show(say("Connect an account at {title}", { title: integration.title }), [
      make("p", {}, open, say(" or give the link to whoever has the account. It works once, for half an hour.")),
      make("p", { role: "status" }, say("This page goes on when the account is connected.")),
      this.back(say("Its actions"), () => this.pickAction(calls, integration)),
      this.leave(calls),
    ]);
    let state = link;
    while (turn === this.turn && state.state === "STATE_PENDING") {
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
      try {
        if (turn === this.turn) state = await calls.linkState(link.name);
      } catch (error) {
        // The mesh may be away for a moment; a refusal stays one.
        if (error instanceof Refused && turn === this.turn) return this.broken(error);
      }
    }
    if (turn !== this.turn) return;
    const isConnected = state.state === "STATE_CONNECTED";
    const { title } = integration;
    this.show(isConnected ? say("{title} is connected", { title }) : say("Nobody connected in time"), [
      ...(isConnected ? [make("p", {}, say("The connection is {name}.", { name: state.connection }))] : []),
      this.back(say("Its actions"), () => this.pickAction(calls, integration)),
      this.leave(calls),
    ]);
  }

  private back(text: string, go: () => Promise<void>): HTMLElement {
    const button = make("button", { type: "button", class: "plain" }, text);
    button.addEventListener("click", () => void go());
    return button;
  }

  private leave(calls: Calls): HTMLElement {
    const button = make("button", { type: "button", class: "plain" }, say("Leave this page"));
    button.addEventListener("click", () => {
      this.turn += 1;
      const nothing = make("p", {}, say("This page can do nothing any more."));
      const left = (): void => this.show(say("You have left"), [nothing]);
      void calls.end().then(left, (error: unknown) => this.broken(error));
    });
    return button;
  }

  /** Returns what was asked for, or nothing when it was refused, or the person has gone elsewhere meanwhile. */
  private async asked<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    this.turn += 1;
    const { turn } = this;
    try {
      const found = await ask();
      return turn === this.turn ? found : undefined;
    } catch (error) {
      if (turn === this.turn) this.broken(error);
      return undefined;
    }
  }

  private over(): void {
    const text = say("It is too old, or it is not whole. Make a new one with `cordboard try`.");
    this.show(say("This link does not work"), [make("p", {}, text)]);
  }

  private broken(error: unknown): void {
    if (error instanceof Refused && error.status === 401) return this.over();
    this.show(say("Something is wrong"), refused(error).slice(1));
  }

  private show(heading: string, parts: readonly Node[]): void {
    const title = make("h1", { tabindex: "-1" }, heading);
    const isFirst = this.main.querySelector("h1") === null;
    document.title = heading;
    this.main.replaceChildren(title, ...parts);
    if (!isFirst) title.focus();
  }
}

function firstShown(count: number, shown: number): string {
  return say("{count}: the first {shown} are shown", { count, shown });
}

function connectionChoice(connections: readonly Connection[], wanted: string): HTMLSelectElement {
  const select = make("select", { id: "connection" });
  for (const { name, displayName } of connections) {
    const id = name.slice(name.lastIndexOf("/") + 1);
    const option = make("option", { value: name }, displayName ? `${displayName} (${id})` : id);
    option.selected = id === wanted;
    select.append(option);
  }
  return select;
}

function connectionRow(
  choice: HTMLSelectElement,
  connections: readonly Connection[],
  integration: Entry,
  connect: HTMLElement,
): HTMLElement[] {
  if (connections.length === 0) {
    const text = say("There is no connection at {title} to call with.", { title: integration.title });
    return [make("p", { class: "problem" }, text), connect];
  }
  return [make("p", { class: "connection" }, make("label", { for: choice.id }, say("Connection")), choice)];
}

function notes(document: FormDocument): HTMLElement[] {
  const losses = (document as { losses?: { target?: string; text?: string }[] }).losses ?? [];
  const own = losses.filter(({ target }) => !target || target === "FORM_TARGET_UNSPECIFIED");
  const parts = document.description ? [make("p", {}, document.description)] : [];
  if (own.length === 0) return parts;
  const list = make("ul", {}, ...own.map(({ text }) => make("li", {}, text ?? "")));
  return [...parts, make("details", {}, make("summary", {}, say("What this form shows in another way")), list)];
}

function answered(outcome: Outcome): HTMLElement[] {
  const { attempts } = outcome;
  const tries = attempts === 1 ? say("1 attempt, trace ") : say("{count} attempts, trace ", { count: attempts });
  const heading = make("h2", { tabindex: "-1" }, say("The vendor answered {status}", { status: outcome.vendorStatus }));
  const line = make("p", {}, tries, make("code", {}, outcome.traceId));
  if (outcome.bytes) {
    const told = say("{count} bytes of {type}", { count: bytesOf(outcome.bytes), type: outcome.contentType });
    return [heading, line, make("p", {}, told)];
  }
  return [heading, line, tree("answer", outcome.output ?? null, true)];
}

function refused(error: unknown, nothing = say("Nothing was called"), no = say("The call was refused")): HTMLElement[] {
  if (!(error instanceof Refused)) {
    return [
      make("h2", { tabindex: "-1" }, nothing),
      make("p", { class: "problem" }, say("The mesh cannot be reached. Try again.")),
    ];
  }
  const text = error.message || say("The mesh answered {status}", { status: error.status });
  const reason = error.reason ? [" (", make("code", {}, error.reason), ")"] : [];
  return [
    make("h2", { tabindex: "-1" }, no),
    make("p", { class: "problem" }, `${text.charAt(0).toUpperCase()}${text.slice(1)}`, ...reason),
    ...error.fields.map(({ field, text: said }) => make("p", {}, make("code", {}, field), ` ${said}`)),
    make("p", {}, "Trace ", make("code", {}, error.traceId)),
  ];
}

/** Turns `input.owner.name` and `input.tags[1]` into pointers at what was filled in. */
function atFields(error: Refused, values: JsonObject): { pointer: string; text: string }[] {
  return error.fields.flatMap(({ field, text }) => {
    const steps = /^(?:input|values|secret_values)\.(.+)$/.exec(field)?.[1];
    const pointer = steps === undefined ? undefined : pointerOf(steps, values);
    return pointer === undefined ? [] : [{ pointer, text }];
  });
}

/** Reads a path by the names that are there, which may have dots in them. */
function pointerOf(path: string, value: Json | undefined): string | undefined {
  if (path === "") return "";
  const index = /^\[(\d+)\]\.?/.exec(path);
  if (index) {
    const item = Array.isArray(value) ? value[Number(index[1])] : undefined;
    const rest = pointerOf(path.slice(index[0].length), item);
    return rest === undefined ? undefined : `/${index[1]}${rest}`;
  }
  const names = typeof value === "object" && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
  const name = names.filter((each) => path === each || path.startsWith(`${each}.`) || path.startsWith(`${each}[`));
  const longest = name.sort((one, other) => other.length - one.length)[0] ?? /^[^.[]+/.exec(path)?.[0];
  if (longest === undefined) return undefined;
  const inner = typeof value === "object" && value !== null && !Array.isArray(value) ? value[longest] : undefined;
  const rest = pointerOf(path.slice(longest.length).replace(/^\./, ""), inner);
  return rest === undefined ? undefined : `/${longest.replaceAll("~", "~0").replaceAll("/", "~1")}${rest}`;
}

function bytesOf(base64: string): number {
  return Math.floor((base64.replace(/=+$/, "").length * 3) / 4);
}

document.documentElement.lang = LANGUAGE;
void new TryPage(arrival()).start();
