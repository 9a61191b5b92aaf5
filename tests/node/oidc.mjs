// A real OAuth 2 server (npm oidc-provider) for the tests: `node oidc.mjs CONFIGURATION`, where CONFIGURATION is JSON with
// `clients` (oidc-provider's own client metadata) and what else a test wants (`people`: claims by login; `resource`: the
// one API, RFC 8707, that tokens can be for). It prints `{"issuer": ...}` on one line when it answers, and ends with its
// standard input.
import { createServer } from "node:http";
import Provider, { errors } from "oidc-provider";

const wanted = JSON.parse(process.argv[2]);
const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: wanted.clients,
  scopes: ["openid", "email", "profile", "offline_access", "desk:read", "desk:write"],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["groups"] },
  // ID tokens of a code flow leave these to the userinfo endpoint otherwise; large providers do not.
  conformIdTokenClaims: false,
  cookies: { keys: ["tests only"] },
  pkce: { required: () => wanted.pkce !== false },
  rotateRefreshToken: wanted.rotate !== false,
  issueRefreshToken: async () => true,
  clientAuthMethods: ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: Boolean(wanted.resource),
      useGrantedResource: () => true,
      getResourceServerInfo: (_context, resource) => {
        if (resource !== wanted.resource) throw new errors.InvalidTarget();
        const jwt = { sign: { alg: "RS256" } };
        return { scope: "desk:read desk:write", audience: resource, accessTokenFormat: "jwt", jwt };
      },
    },
  },
  findAccount: async (_context, id) => ({ accountId: id, claims: async () => ({ sub: id, ...wanted.people?.[id] }) }),
  ttl: { AccessToken: wanted.seconds ?? 3600, ClientCredentials: wanted.seconds ?? 3600, RefreshToken: 86400 },
});
// What it gave: each answer of its token endpoint, for tests that look for secrets.
const given = [];
provider.use(async (context, next) => {
  if (context.path === "/given") {
    context.body = given;
    return;
  }
  await next();
  if (context.path === "/token") given.push(context.body);
});
server.on("request", provider.callback());
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
console.log(JSON.stringify({ issuer }));
