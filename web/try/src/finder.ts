// A list of which one is picked, with a search above it.

import { make } from "./dom.ts";
import type { Entry } from "./calls.ts";

// More than this nobody reads.
const MOST = 50;
const LONGEST_TEXT = 160;
let finders = 0;

/** Draws a search with a label and what it finds; `pick` is called with what the person picks. */
export function finder(
  label: string,
  entries: readonly Entry[],
  pick: (entry: Entry) => void,
  first: (count: number, shown: number) => string,
): HTMLElement {
  finders += 1;
  const input = make("input", { type: "search", id: `find-${finders}`, autocomplete: "off", spellcheck: "false" });
  const count = make("p", { class: "quiet", role: "status" });
  const list = make("ul", { class: "entries" });
  const known = entries.map((entry) => ({ entry, text: `${entry.id} ${entry.title} ${entry.text}`.toLowerCase() }));
  const refresh = (): void => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = known.filter(({ text }) => words.every((word) => text.includes(word)));
    const shown = found.slice(0, MOST);
    count.textContent =
      shown.length < found.length ? first(found.length, shown.length) : `${found.length}`;
    list.replaceChildren(...shown.map(({ entry }) => row(entry, pick)));
  };
  input.addEventListener("input", refresh);
  refresh();
  return make("div", { class: "finder" }, make("label", { for: input.id }, label), input, count, list);
}

function row(entry: Entry, pick: (entry: Entry) => void): HTMLElement {
  const button = make("button", { type: "button", class: "entry" });
  button.append(make("strong", {}, entry.title || entry.id), " ", make("code", {}, entry.id));
  const text = entry.text.length > LONGEST_TEXT ? `${entry.text.slice(0, LONGEST_TEXT)}…` : entry.text;
  if (text) button.append(make("span", { class: "quiet" }, text));
  button.addEventListener("click", () => pick(entry));
  return make("li", {}, button);
}
