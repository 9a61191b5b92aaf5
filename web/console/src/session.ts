// Who is signed in. The session is a cookie that no script can read; a token of five minutes is kept in memory alone.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { LoginService } from "../gen/cordboard/auth/v1/login_service_pb.ts";
import type { CompleteLoginResponse } from "../gen/cordboard/auth/v1/login_service_pb.ts";
import { unsampled } from "./unsampled.ts";

const PLACE = "cordboard.console.place";
// So long before its end a token is no longer used.
const EARLY_MS = 30_000;

/** A person's session with the mesh. */
export class Session {
  private readonly login = createClient(LoginService, createGrpcWebTransport({ baseUrl: location.origin }));
  private given: CompleteLoginResponse | undefined;
  private asked: Promise<CompleteLoginResponse> | undefined;
  /** Is told when the session has ended. */
  onEnd: () => void = () => undefined;

  /** Returns who is signed in; empty: nobody. Raises what keeps the mesh from answering. */
  async start(): Promise<string> {
    const code = new URLSearchParams(location.hash.slice(1)).get("code");
    try {
      if (code) {
        history.replaceState(null, "", "#/attention");
        this.given = await this.login.openSession({ code });
      } else {
        await this.token();
      }
    } catch (error) {
      const refused = [Code.Unauthenticated, Code.FailedPrecondition, Code.InvalidArgument, Code.PermissionDenied];
      if (error instanceof ConnectError && refused.includes(error.code)) return "";
      throw error;
    }
    const place = sessionStorage.getItem(PLACE);
    sessionStorage.removeItem(PLACE);
    if (place && !code) history.replaceState(null, "", place);
    return this.given?.subject ?? "";
  }

  /** Goes to the provider's page; raises where there is no provider. */
  async begin(): Promise<void> {
    sessionStorage.setItem(PLACE, location.hash);
    const { authorizationUrl } = await this.login.beginLogin({ returnPath: "/console" });
    location.assign(authorizationUrl);
  }

  /** Ends the session. */
  async end(): Promise<void> {
    await this.login.endSession({});
    this.given = undefined;
    this.onEnd();
  }

  /** Adds the token to every call, and asks for another one where it was refused. */
  readonly interceptor: Interceptor = (next) => async (request) => {
    if (/^(List|Get)/.test(request.method.name)) request.header.set("traceparent", unsampled());
    request.header.set("authorization", `Bearer ${await this.token()}`);
    try {
      return await next(request);
    } catch (error) {
      if (!(error instanceof ConnectError && error.code === Code.Unauthenticated) || request.stream) throw error;
      this.given = undefined;
      request.header.set("authorization", `Bearer ${await this.token()}`);
      return await next(request);
    }
  };

  private async token(): Promise<string> {
    const ends = this.given?.expireTime;
    if (!this.given || !ends || timestampMs(ends) < Date.now() + EARLY_MS) {
      this.asked ??= this.login.issueSessionToken({}).finally(() => (this.asked = undefined));
      try {
        this.given = await this.asked;
      } catch (error) {
        if (error instanceof ConnectError && error.code === Code.Unauthenticated) this.onEnd();
        throw error;
      }
    }
    return this.given.accessToken;
  }
}
