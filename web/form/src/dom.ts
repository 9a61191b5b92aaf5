// Elements, made node by node: text is always text, never markup.

type Attributes = { [name: string]: string | boolean | undefined };
type Part = Node | string | undefined;

/** Makes an element; an attribute that is false or undefined is left out, and so is a part that is undefined. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...parts: Part[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...parts.filter((part) => part !== undefined));
  return element;
}

/** Names what describes an element, without what is not shown. */
export function describe(element: HTMLElement, ...parts: (HTMLElement | undefined)[]): void {
  const ids = parts.filter((part) => part !== undefined && !part.hidden).map((part) => part?.id);
  if (ids.length > 0) element.setAttribute("aria-describedby", ids.join(" "));
  else element.removeAttribute("aria-describedby");
}
