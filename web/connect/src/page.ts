// The page on which a person connects an account: in a window of its own, or in the frame of a product.

import { drawForm } from "@cordboard/form";
import type { DrawnForm, FormDocument, JsonObject } from "@cordboard/form";
import { Calls, Refused } from "./calls.ts";
import type { ConnectPage, Scheme } from "./calls.ts";

const POLL_MS = 1500;
// For so long the page looks whether the vendor has accepted the connection in a call.
const VERIFIED_WITHIN_MS = 60_000;
const POPUP = "width=520,height=720";

/** How a link came to this page. */
interface Arrival {
  link: string;
  key: string;
  /** The scheme that a frame has opened this window for. */
  scheme: string;
}

/** Reads the link's id and key, and takes the key out of the address, where others may read it. */
function arrival(): Arrival {
  const link = location.pathname.split("/")[2] ?? "";
  const place = `cordboard.connect.${link}`;
  const [key = "", scheme = ""] = location.hash.slice(1).split(".", 2);
  if (key) {
    remember(place, JSON.stringify({ key, scheme: decodeURIComponent(scheme) }));
    history.replaceState(null, "", location.pathname);
    return { link, key, scheme: decodeURIComponent(scheme) };
  }
  // Back from the vendor, in the same tab.
  const kept = JSON.parse(recalled(place) ?? "{}") as { key?: string; scheme?: string };
  return { link, key: kept.key ?? "", scheme: kept.scheme ?? "" };
}

function remember(place: string, text: string): void {
  try {
    sessionStorage.setItem(place, text);
  } catch {
    // A browser that keeps nothing can still connect by values that are typed in.
  }
}

function recalled(place: string): string | null {
  try {
    return sessionStorage.getItem(place);
  } catch {
    return null;
  }
}

class PageView {
  private readonly main = document.querySelector("main") ?? document.body;
  private readonly calls: Calls;
  private readonly isFramed = window.parent !== window;
  private page: ConnectPage | undefined;
  private timer: number | undefined;

  constructor(private readonly from: Arrival) {
    this.calls = new Calls(from.link, from.key);
  }

  async start(): Promise<void> {
    try {
      this.page = await this.calls.open(false);
    } catch (error) {
      this.over(error);
      return;
    }
    const { page } = this;
    document.title = `Connect ${page.integrationTitle}`;
    if (page.state === "STATE_CONNECTED") return this.done(page);
    if (page.state === "STATE_WAITING" && page.userCode) return this.device(page);
    if (page.problem) this.tell(page, "failed", page.problem);
    const wanted = page.schemes.find((scheme) => scheme.id === this.from.scheme);
    this.choose(page, wanted ?? page.schemes[0], page.problem && failed(page, page.problem));
    // A frame has opened this window to consent: nothing is left to ask.
    if (wanted && !page.problem && !fieldsOf(wanted.form) && !fieldsOf(page.settings)) {
      await this.submit(page, wanted, undefined, undefined, this.main);
    }
  }

  /** Shows what can be chosen, and the form of what is chosen. */
  private choose(page: ConnectPage, chosen: Scheme | undefined, problem: string): void {
    window.clearTimeout(this.timer);
    const form = make("form");
    form.noValidate = true;
    const place = make("div");
    const news = make("div");
    news.setAttribute("role", "alert");
    if (problem) news.append(textOf("p", problem, "problem"));
    if (page.schemes.length > 1) form.append(this.schemes(page, chosen, place, news));
    form.append(place);
    this.show(`Connect ${page.integrationTitle}`, [
      textOf("p", `The account will be connected to ${page.workspaceTitle}.`),
      news,
      form,
    ]);
    this.fill(page, chosen, form, place, news);
  }

  private schemes(page: ConnectPage, chosen: Scheme | undefined, place: HTMLElement, news: HTMLElement): HTMLElement {
    const group = make("fieldset");
    group.className = "schemes";
    group.append(textOf("legend", "How do you want to connect?"));
    for (const [index, scheme] of page.schemes.entries()) {
      const input = make("input");
      input.type = "radio";
      input.name = "scheme";
      input.id = `scheme-${index}`;
      input.checked = scheme === chosen;
      input.addEventListener("change", () => {
        news.replaceChildren();
        this.fill(page, scheme, group.closest("form"), place, news);
      });
      const label = textOf("label", scheme.title);
      label.htmlFor = input.id;
      const row = make("div");
      row.append(input, label);
      group.append(row);
    }
    return group;
  }

  private fill(
    page: ConnectPage,
    scheme: Scheme | undefined,
    form: HTMLFormElement | null,
    place: HTMLElement,
    news: HTMLElement,
  ): void {
    if (!form) return;
    if (!scheme) {
      place.replaceChildren(textOf("p", "There is no way to connect here."));
      return;
    }
    // In a frame, browsers keep no cookies, and vendors show no page: the person consents in a window of its own.
    const elsewhere = this.isFramed && scheme.consents;
    const settings = fieldsOf(page.settings) && !elsewhere ? drawForm(page.settings as FormDocument) : undefined;
    const values = fieldsOf(scheme.form) && !elsewhere ? drawForm(scheme.form as FormDocument) : undefined;
    const button = textOf("button", scheme.consents ? `Go on to ${page.integrationTitle}` : "Connect");
    button.type = "submit";
    const help = scheme.form?.description ? [textOf("p", scheme.form.description)] : [];
    place.replaceChildren(
      ...help,
      ...[settings, values].filter((each) => each !== undefined).map((each) => each.element),
      button,
    );
    form.onsubmit = (event): void => {
      event.preventDefault();
      if (elsewhere) this.elsewhere(page, scheme, news);
      else {
        button.disabled = true;
        void this.submit(page, scheme, values, settings, news).finally(() => (button.disabled = false));
      }
    };
  }

  private async submit(
    page: ConnectPage,
    scheme: Scheme,
    values: DrawnForm | undefined,
    settings: DrawnForm | undefined,
    news: HTMLElement,
  ): Promise<void> {
    const found: JsonObject[] = [];
    for (const form of [values, settings]) {
      const reading = form ? await form.read() : { values: {}, problems: [] };
      if (reading.problems.length > 0) return;
      found.push(reading.values);
    }
    try {
      const next = await this.calls.submit(scheme.id, found[0] ?? {}, found[1] ?? {});
      values?.forget();
      settings?.forget();
      if (next.authorizationUrl) location.assign(next.authorizationUrl);
      else if (next.userCode) this.device(next);
      else this.done(next);
    } catch (error) {
      this.refused(page, error, values, settings, news);
    }
  }

  private refused(
    page: ConnectPage,
    error: unknown,
    values: DrawnForm | undefined,
    settings: DrawnForm | undefined,
    news: HTMLElement,
  ): void {
    if (!(error instanceof Refused)) {
      news.replaceChildren(textOf("p", "The server cannot be reached. Try again.", "problem"));
      return;
    }
    if (error.reason === "RESOURCE_NOT_FOUND") return this.over(error);
    if (error.reason === "OAUTH_FAILED") this.tell(page, "failed", error.problem);
    const told = (form: DrawnForm | undefined, prefixes: readonly string[]): boolean => {
      const problems = error.fields.flatMap(({ field, text }) => {
        const prefix = prefixes.find((each) => field.startsWith(each));
        return prefix
          ? [{ pointer: `/${field.slice(prefix.length).replaceAll("~", "~0").replaceAll("/", "~1")}`, text }]
          : [];
      });
      if (form && problems.length > 0) form.show(problems);
      return form !== undefined && problems.length > 0;
    };
    const shown = [told(settings, ["settings.", "configuration.", "secret_configuration."]), told(values, ["values."])];
    if (shown.includes(true)) return;
    const text = error.reason === "OAUTH_FAILED" ? failed(page, error.problem) : sentence(error);
    news.replaceChildren(textOf("p", text, "problem"));
  }

  /** Has the person consent in a window of its own, and waits. */
  private elsewhere(page: ConnectPage, scheme: Scheme, news: HTMLElement): void {
    const url = `/connect/${this.from.link}#${this.from.key}.${encodeURIComponent(scheme.id)}`;
    if (!window.open(url, "_blank", POPUP)) {
      news.replaceChildren(
        textOf("p", "The browser has kept a window from opening. Allow it, and try again.", "problem"),
      );
      return;
    }
    const again = textOf("button", "Begin again");
    again.type = "button";
    again.addEventListener("click", () => this.choose(page, scheme, ""));
    this.show(`Go on in the window of ${page.integrationTitle}`, [
      textOf("p", "This page goes on by itself when you are done there."),
      again,
    ]);
    this.wait(page, scheme);
  }

  /** Shows what to type in at the vendor's page, and waits. */
  private device(page: ConnectPage): void {
    const link = textOf("a", page.verificationUri);
    link.href = safe(page.verificationUriComplete || page.verificationUri);
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    const code = textOf("p", page.userCode, "code");
    const line = make("p");
    line.append("Open ", link, " and type in this code:");
    this.show(`Allow it at ${page.integrationTitle}`, [line, code]);
    this.wait(this.page ?? page, this.page?.schemes[0]);
  }

  private wait(page: ConnectPage, scheme: Scheme | undefined): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      void this.calls.open(true).then(
        (next) => {
          if (next.state === "STATE_CONNECTED") this.done(next);
          else if (next.state === "STATE_OPEN" && next.problem) {
            this.tell(page, "failed", next.problem);
            this.choose(page, scheme, failed(page, next.problem));
          } else this.wait(page, scheme);
        },
        (error: unknown) =>
          error instanceof Refused && error.reason === "RESOURCE_NOT_FOUND"
            ? this.over(error)
            : this.wait(page, scheme),
      );
    }, POLL_MS);
  }

  private done(page: ConnectPage): void {
    window.clearTimeout(this.timer);
    this.tell(page, "connected", "");
    // This window was opened by a frame, which goes on by itself.
    if (this.from.scheme && window.opener) window.close();
    const verdict = textOf(
      "p",
      page.verifiable && !page.verified ? `It will be checked by the first call to ${page.integrationTitle}.` : "",
    );
    if (page.verified) verdict.textContent = `${page.integrationTitle} has accepted it in a call.`;
    verdict.setAttribute("role", "status");
    const last = make("p");
    if (page.returnUrl) {
      const back = textOf("a", "Go back");
      const separator = page.returnUrl.includes("?") ? "&" : "?";
      back.href = safe(
        `${page.returnUrl}${separator}${String(new URLSearchParams({ link: page.link, state: "connected" }))}`,
      );
      back.target = "_top";
      last.append(back);
    } else if (!this.isFramed) last.append("You can close this window.");
    this.show(`${page.integrationTitle} is connected`, [
      textOf("p", `The account is connected to ${page.workspaceTitle}.`),
      verdict,
      last,
    ]);
    if (page.verifiable && !page.verified) this.verify(page, verdict, Date.now() + VERIFIED_WITHIN_MS);
  }

  private verify(page: ConnectPage, verdict: HTMLElement, until: number): void {
    this.timer = window.setTimeout(() => {
      if (Date.now() > until) return;
      void this.calls.open(true).then(
        (next) => {
          if (next.verified) verdict.textContent = `${page.integrationTitle} has accepted it in a call.`;
          else this.verify(page, verdict, until);
        },
        () => undefined,
      );
    }, POLL_MS);
  }

  private over(error: unknown): void {
    window.clearTimeout(this.timer);
    const isGone = error instanceof Refused && error.reason === "RESOURCE_NOT_FOUND";
    const text = isGone
      ? "It was used up, it is too old, or it is not whole. Ask for a new one where you got it."
      : error instanceof Refused
        ? sentence(error)
        : "The server cannot be reached. Load this page again.";
    if (isGone && this.page) this.tell(this.page, "expired", "");
    this.show(isGone ? "This link does not work" : "Something is wrong", [textOf("p", text)]);
  }

  /** Tells the window that has opened or framed this one, if it is of the declared origin. */
  private tell(page: ConnectPage, state: string, error: string): void {
    const { origin, link, connection } = page;
    // A window that a frame has opened leaves that to the frame.
    if (!origin || this.from.scheme) return;
    const targets = new Set<Window>(
      [window.parent, window.opener as Window | null].filter((each) => each !== null && each !== window) as Window[],
    );
    for (const target of targets)
      target.postMessage({ type: "cordboard.connect", link, state, connection, error }, origin);
  }

  private show(heading: string, parts: readonly Node[]): void {
    const title = textOf("h1", heading);
    title.tabIndex = -1;
    const isFirst = this.main.querySelector("h1") === null;
    this.main.replaceChildren(title, ...parts);
    // Whoever does not see the page hears that it is another one.
    if (!isFirst) title.focus();
  }
}

function make<Tag extends keyof HTMLElementTagNameMap>(tag: Tag): HTMLElementTagNameMap[Tag] {
  return document.createElement(tag);
}

function textOf<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  text: string,
  className = "",
): HTMLElementTagNameMap[Tag] {
  const element = make(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fieldsOf(form: FormDocument | null | undefined): number {
  return form?.fields?.length ?? 0;
}

/** Returns an address that a person may be sent to; no script is one. */
function safe(url: string): string {
  return /^https?:\/\//.test(url) ? url : "about:blank";
}

function failed(page: ConnectPage, problem: string): string {
  return problem === "access_denied"
    ? "The access was not allowed. You can try again."
    : `${page.integrationTitle} was not connected: ${problem}. You can try again.`;
}

function sentence(error: Refused): string {
  if (error.reason === "LIMIT_EXCEEDED") return "That was too often. Wait a moment, and try again.";
  if (error.reason === "DEPENDENCY_UNAVAILABLE") return "This is not available now. Try again in a moment.";
  const text = error.message || "it did not work";
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

void new PageView(arrival()).start();
