// What the page asks of `cordboard design`, which serves it.

import type { FormDocument, JsonObject, Problem } from "@cordboard/form";

/** A definition that can be opened. */
export interface Listed {
  file: string;
  slug: string;
  title: string;
  /** Why it cannot be opened; empty: it can. */
  problem: string;
  /** It has changes that are not saved. */
  changed: boolean;
}

/** A definition, and the forms that there are of it. */
export interface Opened {
  file: string;
  slug: string;
  title: string;
  version: string;
  changed: boolean;
  forms: { id: string; title: string; kind: string }[];
}

/** Something of a form that can be changed. */
export interface Part {
  id: string;
  label: string;
  depth: number;
  /** It is not drawn. */
  hidden?: boolean;
  /** The definition says something of it. */
  said?: boolean;
  moves: boolean;
  removable: boolean;
}

/** A form as customers see it. */
export interface Shown {
  document: FormDocument | null;
  parts: Part[];
  losses: { target: string; text: string }[];
  changed: boolean;
}

/** A form in which something is changed, and what is said now. */
export interface Editor {
  document: FormDocument;
  values: JsonObject;
}

/** Something that `cordboard check` finds. */
export interface Finding {
  rule: string;
  field: string;
  text: string;
  line: number;
}

/** What was asked for cannot be. */
export class Refused extends Error {
  constructor(readonly problems: readonly Problem[]) {
    super(problems.map(({ text }) => text).join("; "));
  }
}

/** Asks the command that serves the page. */
export class Calls {
  constructor(private readonly token: string) {}

  async definitions(): Promise<Listed[]> {
    return (await this.ask<{ definitions: Listed[] }>("definitions", {})).definitions;
  }

  async opened(file: string): Promise<Opened> {
    return await this.ask("opened", { file });
  }

  async form(file: string, form: string, language: string): Promise<Shown> {
    return await this.ask("form", { file, form, language });
  }

  async editor(file: string, form: string, part: string): Promise<Editor> {
    return await this.ask("editor", { file, form, part });
  }

  async naming(form: string): Promise<Editor> {
    return await this.ask("new", { form });
  }

  async change(file: string, form: string, part: string, values: JsonObject): Promise<void> {
    await this.ask("change", { file, form, part, values });
  }

  /** Adds a part, and returns its id. */
  async add(file: string, form: string, values: JsonObject): Promise<string> {
    return (await this.ask<{ part: string }>("add", { file, form, values })).part;
  }

  async remove(file: string, form: string, part: string): Promise<void> {
    await this.ask("remove", { file, form, part });
  }

  async move(file: string, form: string, part: string, by: 1 | -1): Promise<void> {
    await this.ask("move", { file, form, part, by });
  }

  async findings(file: string): Promise<Finding[]> {
    return (await this.ask<{ findings: Finding[] }>("findings", { file })).findings;
  }

  async save(file: string): Promise<void> {
    await this.ask("save", { file });
  }

  async discard(file: string): Promise<void> {
    await this.ask("discard", { file });
  }

  private async ask<Answer>(act: string, body: object): Promise<Answer> {
    let answer: Response;
    try {
      answer = await fetch(`/design/api/${act}`, {
        method: "POST",
        headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
        body: JSON.stringify(body),
        credentials: "omit",
        referrerPolicy: "no-referrer",
        cache: "no-store",
      });
    } catch {
      throw new Refused([{ pointer: "", text: "cordboard design does not run any more" }]);
    }
    const told = (await answer.json().catch(() => ({}))) as { problems?: Problem[] };
    if (answer.ok && !told.problems) return told as Answer;
    throw new Refused(told.problems ?? [{ pointer: "", text: `cordboard design answered ${answer.status}` }]);
  }
}
