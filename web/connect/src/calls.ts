// What the page asks of the server. The key of the link goes in the body, and nowhere else.

import type { FormDocument, JsonObject } from "@cordboard/form";

/** What the page shows (cordboard.auth.v1.ConnectPage). */
export interface ConnectPage {
  state: "STATE_OPEN" | "STATE_WAITING" | "STATE_CONNECTED";
  integrationTitle: string;
  workspaceTitle: string;
  schemes: Scheme[];
  settings?: FormDocument | null;
  problem: string;
  authorizationUrl: string;
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string;
  link: string;
  connection: string;
  verified: boolean;
  verifiable: boolean;
  origin: string;
  returnUrl: string;
}

/** A way to authenticate. */
export interface Scheme {
  id: string;
  title: string;
  consents: boolean;
  form?: FormDocument | null;
}

/** The server says no. */
export class Refused extends Error {
  constructor(
    readonly reason: string,
    message: string,
    readonly fields: readonly { field: string; text: string }[],
    readonly problem: string,
  ) {
    super(message);
  }
}

interface Detail {
  reason?: string;
  metadata?: { problem?: string };
  fieldViolations?: { field: string; description: string }[];
}

/** Asks for one link. */
export class Calls {
  constructor(
    private readonly link: string,
    private readonly key: string,
  ) {}

  /** Returns what the link is for and how far it is. */
  async open(brief: boolean): Promise<ConnectPage> {
    return await this.call("open", { brief });
  }

  /** Connects, or says where the person has to consent. */
  async submit(authScheme: string, values: JsonObject, settings: JsonObject): Promise<ConnectPage> {
    return await this.call("submit", { authScheme, values, settings });
  }

  private async call(method: string, fields: object): Promise<ConnectPage> {
    const answer = await fetch(`/v1/connectPages:${method}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ link: this.link, key: this.key, ...fields }),
      credentials: "same-origin",
      referrerPolicy: "no-referrer",
    });
    const told = (await answer.json().catch(() => ({}))) as object;
    if (answer.ok) return told as ConnectPage;
    const { message = "", details = [] } = told as { message?: string; details?: Detail[] };
    const info = details.find((detail) => detail.reason);
    const fieldsOf = details.flatMap((detail) => detail.fieldViolations ?? []);
    throw new Refused(
      answer.status === 429 ? "LIMIT_EXCEEDED" : (info?.reason ?? ""),
      message,
      fieldsOf.map(({ field, description }) => ({ field, text: description })),
      info?.metadata?.problem ?? "",
    );
  }
}
