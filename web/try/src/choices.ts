// Which integrations a workspace uses: each with what it is now, and the switch for it.

import type { Choice } from "./calls.ts";
import { make } from "./dom.ts";
import { say } from "./say.ts";

/** Makes a choice, and returns what came of it. */
export type Choose = (id: string, choice: string, reason: string) => Promise<Choice>;

/** Draws integrations with a switch each; `failed` is called with what refuses a choice, and nothing before one. */
export function switches(
  choices: readonly Choice[],
  choose: Choose,
  failed: (error: unknown) => void,
): HTMLElement {
  const why = make("input", { id: "why", maxlength: "1000", autocomplete: "off" });
  const status = make("p", { role: "status", class: "quiet" });
  const list = make("ul", { class: "switches" });
  const draw = (choice: Choice): HTMLLIElement => {
    const row = make("li", {}, make("code", {}, choice.id), ` ${said(choice)}`);
    const label = choice.on
      ? say("Switch off {id}", { id: choice.id })
      : say("Switch on {id}", { id: choice.id });
    const button = make("button", { type: "button", class: "plain" }, label);
    if (choice.on || choice.choosable) row.append(" ", button);
    button.addEventListener("click", () => {
      button.disabled = true;
      failed(undefined);
      const done = (changed: Choice): void => {
        const drawn = draw(changed);
        row.replaceWith(drawn);
        why.value = "";
        status.textContent = changed.on
          ? say("{id} is on.", { id: changed.id })
          : say("{id} is off.", { id: changed.id });
        drawn.querySelector("button")?.focus();
      };
      const refused = (error: unknown): void => {
        button.disabled = false;
        failed(error);
      };
      void choose(choice.id, next(choice), why.value).then(done, refused);
    });
    return row;
  };
  list.append(...choices.map(draw));
  const label = make("label", { for: why.id }, say("Why, for those who ask later"));
  return make("div", {}, make("p", { class: "why" }, label, why), list, status);
}

/** Returns what the switch chooses: nothing of one's own, where operators have it on for the workspace. */
function next({ on, offered }: Choice): string {
  if (on) return "CHOICE_OFF";
  return offered ? "CHOICE_UNSPECIFIED" : "CHOICE_ON";
}

function said({ on, choice, creator, reason, choosable }: Choice): string {
  const own = choice === "CHOICE_OFF" || choice === "CHOICE_ON";
  const off = own || !choosable ? say("is off") : say("is there to be switched on");
  const state = on ? say("is on") : off;
  if (!own) return state;
  const chosen = say("{state}: chosen by {who}", { state, who: creator });
  return reason ? `${chosen}, ${reason}` : chosen;
}
