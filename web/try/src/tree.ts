// A JSON value as a tree that opens where somebody looks: a large answer costs what is seen of it.

import type { Json } from "@cordboard/form";
import { make } from "./dom.ts";

// Members that are drawn at once.
const MOST = 100;
const LONGEST_TEXT = 2000;

/** Draws a value under a name. */
export function tree(name: string, value: Json, isOpen = false): HTMLElement {
  if (typeof value !== "object" || value === null) return leaf(name, value);
  const members: [string, Json][] = Array.isArray(value)
    ? value.map((item, index) => [String(index), item])
    : Object.entries(value);
  if (members.length === 0) return leaf(name, value);
  const count = Array.isArray(value) ? `[${members.length}]` : `{${members.length}}`;
  const node = make("details", { open: isOpen }, make("summary", {}, `${name} `, make("span", { class: "quiet" }, count)));
  const draw = (): void => {
    if (node.open && node.childElementCount === 1) node.append(branch(members));
  };
  node.addEventListener("toggle", draw);
  draw();
  return node;
}

function branch(members: readonly [string, Json][]): HTMLElement {
  const list = make("ul", { class: "branch" });
  let drawn = 0;
  const more = make("button", { type: "button", class: "more" });
  const draw = (): void => {
    const next = members.slice(drawn, drawn + MOST);
    drawn += next.length;
    list.append(...next.map(([name, value]) => make("li", {}, tree(name, value))));
    more.hidden = drawn >= members.length;
    more.textContent = `Show more of ${members.length}`;
  };
  more.addEventListener("click", draw);
  draw();
  return make("div", {}, list, more);
}

function leaf(name: string, value: Json): HTMLElement {
  const text = typeof value === "string" ? JSON.stringify(value.slice(0, LONGEST_TEXT)) : JSON.stringify(value);
  const rest = typeof value === "string" && value.length > LONGEST_TEXT ? ` … ${value.length} characters` : "";
  return make("p", { class: "leaf" }, `${name}: `, make("code", {}, text), rest);
}
