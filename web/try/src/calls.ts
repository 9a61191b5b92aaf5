// What the page asks of the mesh, with the person's token, which is kept in memory alone.

import { putSecrets } from "@cordboard/form";
import type { FormDocument, Json, JsonObject, Options, Problem, SecretPlace } from "@cordboard/form";

// A page that lies about is worth nothing after this.
const TOKEN_SECONDS = 3600;
const PAGE = 1000;
// The id of the form of what a workspace sets.
const SETTINGS = "settings";

/** Something that can be picked. */
export interface Entry {
  /** Its id, such as a slug. */
  id: string;
  title: string;
  text: string;
}

/** A connection of the workspace. */
export interface Connection {
  name: string;
  integration: string;
  environment: string;
  displayName: string;
}

/** What the values of a form mean. */
export interface Bound {
  input: JsonObject;
  problems: Problem[];
}

/** What there is of an integration to fill in. */
export interface Forms {
  actions: Entry[];
  /** The workspace can set something for it. */
  hasSettings: boolean;
}

/** What a workspace has set for an integration, with the form of it. */
export interface Settings {
  document: FormDocument;
  /** Texts, by the variables' names. */
  values: { [name: string]: string };
  /** The names of the secrets that are stored. */
  secrets: string[];
}

/** What an integration is for the workspace, and what its administrators have chosen. */
export interface Choice {
  /** The integration's id. */
  id: string;
  /** Whether it is on now. */
  on: boolean;
  /** Whether it would be on if nothing was chosen. */
  offered: boolean;
  /** Whether it would be on if that was chosen. */
  choosable: boolean;
  /** What was chosen, as the mesh calls it. */
  choice: string;
  /** Who chose it, and why. */
  creator: string;
  reason: string;
}

/** A link to the connect page. */
export interface ConnectLink {
  name: string;
  url: string;
  state: string;
  connection: string;
}

/** How a call went. */
export interface Outcome {
  output: Json | undefined;
  /** How many bytes came that are no JSON, as base64. */
  bytes: string;
  contentType: string;
  vendorStatus: number;
  attempts: number;
  traceId: string;
}

/** The mesh says no. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
    readonly fields: readonly { field: string; text: string }[],
    /** The trace of the call. */
    readonly traceId: string,
  ) {
    super(message);
  }
}

interface Detail {
  reason?: string;
  fieldViolations?: { field: string; description: string }[];
}

/** Asks the mesh as the person whom a token is of. */
export class Calls {
  private tokenId = "";

  private constructor(
    private token: string,
    /** The id of the workspace that the token is of. */
    readonly workspace: string,
    /** The environment that the token is for. */
    readonly environment: string,
    /** Whether the person may set what holds for the whole workspace. */
    readonly isAdmin: boolean,
  ) {}

  /** Takes the token of a link, which is short, and goes on with one of its own. */
  static async begin(token: string): Promise<Calls> {
    const claims = claimsOf(token);
    const calls = new Calls(
      token,
      claims.workspace ?? "",
      claims.environment ?? "",
      (claims.roles ?? []).includes("workspace-admin"),
    );
    const made = await calls.post<{ accessToken: string; tokenId: string }>("/v1/tokens:refresh", {
      ttl: `${TOKEN_SECONDS}s`,
    });
    calls.token = made.accessToken;
    calls.tokenId = made.tokenId;
    return calls;
  }

  /** Ends the token, and the link's with it. */
  async end(): Promise<void> {
    await this.post(`/v1/tokens/${encodeURIComponent(this.tokenId)}:revoke`, { reason: "left the try page" });
    this.token = "";
  }

  /** Returns every integration that the workspace may use. */
  async integrations(): Promise<Entry[]> {
    const found = await this.all<{ name: string; title: string; description: string; actionCount: number }>(
      "/v1/integrations?availableOnly=true",
      "integrations",
    );
    return found.map(({ name, title, description }) => ({
      id: last(name),
      title: title || last(name),
      text: description,
    }));
  }

  /** Returns every action of an integration that has a form, and whether there is something to set. */
  async forms(integration: string): Promise<Forms> {
    const found = await this.all<{ name: string; title: string; description: string }>(
      `/v1/integrations/${encodeURIComponent(integration)}/forms?`,
      "forms",
    );
    const actions = found
      .filter(({ name }) => last(name).startsWith("action."))
      .map(({ name, title, description }) => ({
        id: last(name).slice("action.".length),
        title,
        text: description,
      }));
    return { actions, hasSettings: found.some(({ name }) => last(name) === SETTINGS) };
  }

  /** Returns what the workspace has set for an integration. */
  async settings(integration: string): Promise<Settings> {
    const [document, set] = await Promise.all([
      this.ask<FormDocument>("GET", `${settingsOf(integration)}:document`),
      this.ask<{ values?: { [name: string]: string }; secretNames?: string[] }>(
        "GET",
        this.configurationOf(integration),
      ).catch((error: unknown) => {
        // Nothing was ever set.
        if (error instanceof Refused && error.status === 404) return {};
        throw error;
      }),
    ]);
    const { values = {}, secretNames: secrets = [] }: { values?: Settings["values"]; secretNames?: string[] } = set;
    return { document, values, secrets };
  }

  /** Sets everything that the workspace sets for an integration; a secret that is given empty stays as it is. */
  async save(integration: string, values: JsonObject, secretValues: JsonObject): Promise<void> {
    await this.ask("PUT", this.configurationOf(integration), JSON.stringify({ values, secretValues }));
  }

  /** Returns what the workspace has, may switch on, or has chosen about. */
  async choices(): Promise<Choice[]> {
    const found = await this.all<ChoiceAnswer>(
      `/v1/workspaces/${encodeURIComponent(this.workspace)}/integrationChoices?`,
      "integrationChoices",
    );
    return found.map(choiceOf);
  }

  /** Chooses for the whole workspace, in the environment of the token. */
  async choose(integration: string, choice: string, reason: string): Promise<Choice> {
    const workspace = `/v1/workspaces/${encodeURIComponent(this.workspace)}`;
    const place = `${workspace}/integrations/${encodeURIComponent(integration)}/choice`;
    return choiceOf(await this.ask<ChoiceAnswer>("PUT", place, JSON.stringify({ choice, reason })));
  }

  /** Makes a link by which somebody connects one account, in the environment of the token. */
  async connectLink(integration: string): Promise<ConnectLink> {
    return await this.post<ConnectLink>(`/v1/workspaces/${encodeURIComponent(this.workspace)}/connectLinks`, {
      integration: `integrations/${integration}`,
      environment: this.environment,
    });
  }

  /** Returns how far a link is. */
  async linkState(name: string): Promise<ConnectLink> {
    return await this.ask<ConnectLink>("GET", `/v1/${name}`);
  }

  /** Returns the workspace's connections at an integration, in the environment of the token. */
  async connections(integration: string): Promise<Connection[]> {
    const query = new URLSearchParams({ integration: `integrations/${integration}` });
    const place = `/v1/workspaces/${encodeURIComponent(this.workspace)}/connections?${String(query)}`;
    const found = await this.all<Connection>(place, "connections");
    return found.filter(({ environment }) => environment === this.environment);
  }

  /** Returns the form of an action. */
  async form(integration: string, action: string): Promise<FormDocument> {
    return await this.ask<FormDocument>("GET", `${formOf(integration, action)}:document`);
  }

  /** Has the values of a form judged, and turned into the input of the action. */
  async bind(integration: string, action: string, version: string, values: JsonObject): Promise<Bound> {
    return await this.bound(formOf(integration, action), { version, values });
  }

  /** Has settings judged, of which the secrets in these fields are stored already. */
  async bindSettings(
    integration: string,
    version: string,
    values: JsonObject,
    storedFieldIds: readonly string[],
  ): Promise<Bound> {
    return await this.bound(settingsOf(integration), { version, values, storedFieldIds });
  }

  private async bound(form: string, given: { values: JsonObject; [name: string]: unknown }): Promise<Bound> {
    const { values } = given;
    const answer = await this.post<{
      input?: JsonObject;
      problems?: { pointer: string; fieldId: string; description: string }[];
      secrets?: SecretPlace[];
    }>(`${form}:bind`, { ...given, target: "FORM_TARGET_JSON_SCHEMA", reportProblems: true });
    const problems = (answer.problems ?? []).map(({ pointer, fieldId, description }) => ({
      pointer,
      fieldId,
      text: description,
    }));
    return { input: putSecrets(answer.input ?? {}, answer.secrets ?? [], values), problems };
  }

  /** Returns what the vendor lets a person choose in a field. */
  async options(
    connection: string,
    form: { integration: string; action: string; version: string },
    asked: { fieldId: string; values: JsonObject; search: string },
  ): Promise<Options> {
    const answer = await this.post<{
      options?: { valueJson: string; label: string }[];
      more?: boolean;
      problem?: string;
    }>(`/v1/${connection}:listFormOptions`, {
      form: formOf(form.integration, form.action).slice("/v1/".length),
      version: form.version,
      ...asked,
    });
    const options = (answer.options ?? []).map(({ valueJson, label }) => ({
      value: JSON.parse(valueJson) as Json,
      label,
    }));
    return { options, more: answer.more ?? false, problem: answer.problem ?? "" };
  }

  /** Calls an action. */
  async execute(connection: string, action: string, input: JsonObject): Promise<Outcome> {
    const answer = await this.post<{
      output?: Json;
      outputBytes?: string;
      contentType?: string;
      vendorStatus?: number;
      call?: { traceId?: string; attempts?: number };
    }>(`/v1/${connection}:execute`, { action, input });
    return {
      output: answer.output,
      bytes: answer.outputBytes ?? "",
      contentType: answer.contentType ?? "",
      vendorStatus: answer.vendorStatus ?? 0,
      attempts: answer.call?.attempts ?? 0,
      traceId: answer.call?.traceId ?? "",
    };
  }

  private configurationOf(integration: string): string {
    const workspace = `/v1/workspaces/${encodeURIComponent(this.workspace)}`;
    return `${workspace}/integrations/${encodeURIComponent(integration)}/configuration`;
  }

  private async all<Item>(place: string, member: string): Promise<Item[]> {
    const found: Item[] = [];
    let token = "";
    do {
      const query = new URLSearchParams({ pageSize: String(PAGE), pageToken: token });
      const separator = place.endsWith("?") ? "" : "&";
      const page = await this.ask<{ [name: string]: unknown }>("GET", `${place}${separator}${String(query)}`);
      found.push(...((page[member] ?? []) as Item[]));
      token = String(page["nextPageToken"] ?? "");
    } while (token);
    return found;
  }

  private async post<Answer = object>(place: string, body: object): Promise<Answer> {
    return await this.ask<Answer>("POST", place, JSON.stringify(body));
  }

  private async ask<Answer>(method: string, place: string, body?: string): Promise<Answer> {
    const trace = hexadecimal(16);
    const answer = await fetch(place, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        traceparent: `00-${trace}-${hexadecimal(8)}-01`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body }),
      credentials: "omit",
      referrerPolicy: "no-referrer",
      cache: "no-store",
    });
    const told = (await answer.json().catch(() => ({}))) as object;
    if (answer.ok) return told as Answer;
    const { message = "", details = [] } = told as { message?: string; details?: Detail[] };
    throw new Refused(
      answer.status,
      details.find((detail) => detail.reason)?.reason ?? "",
      message,
      details
        .flatMap((detail) => detail.fieldViolations ?? [])
        .map(({ field, description }) => ({ field, text: description })),
      trace,
    );
  }
}

interface ChoiceAnswer {
  name: string;
  choice?: string;
  on?: boolean;
  offered?: boolean;
  choosable?: boolean;
  creator?: string;
  reason?: string;
}

function choiceOf(answer: ChoiceAnswer): Choice {
  const { choice = "", on = false, offered = false, choosable = false, creator = "", reason = "" } = answer;
  return { id: answer.name.split("/")[3] ?? "", on, offered, choosable, choice, creator, reason };
}

function formOf(integration: string, action: string): string {
  return `/v1/integrations/${encodeURIComponent(integration)}/forms/action.${encodeURIComponent(action)}`;
}

function settingsOf(integration: string): string {
  return `/v1/integrations/${encodeURIComponent(integration)}/forms/${SETTINGS}`;
}

function last(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

function hexadecimal(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
}

/** Reads whose a token is. The mesh alone judges it: here it only says what to ask for. */
function claimsOf(token: string): { workspace?: string; environment?: string; roles?: string[] } {
  try {
    const [, payload = ""] = token.split(".");
    return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))) as { workspace?: string };
  } catch {
    return {};
  }
}
