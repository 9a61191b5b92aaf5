// Plays web pages that use other people's OpenFeature providers, in Chromium, through Envoy.
//
// Argument: {chromium}. Reads one JSON document a line, writes one JSON answer a line.
// In:  {open, site, mesh, token, provider, options?}  a page `open` at the origin `site`, whose provider (`ofrep` or
//      `flagd`) asks the mesh. `options` go to the provider.
//      {open, key, until?, told?, kind?}  asks a page for a flag: of type `kind` (string); until it gives the value
//      `until`, and, if `told`, the provider has said that the flag has changed.
//      {close}  closes a page.
// Out: {state, wrong} of an opened page, {value, variant, reason, error, news} of one that is asked: `news` are the
//      flags that the provider told to have changed. Of both {seen}: how many requests went to which path.
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "../../web/node_modules/esbuild/lib/main.js";
import { launch } from "./browser.mjs";

const BOUND = 60_000;
const SCRIPT = `
  import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
  import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
  import { FlagdWebProvider } from "@openfeature/flagd-web-provider";
  const made = {
    ofrep: ({ mesh, token, options }) =>
      new OFREPWebProvider({ baseUrl: mesh, headers: [["authorization", "Bearer " + token]], ...options }),
    flagd: ({ mesh, token, options }) => {
      const { hostname, port } = new URL(mesh);
      return new FlagdWebProvider({ host: hostname, port: Number(port), tls: true, maxRetries: 3, ...options });
    },
  };
  const news = [];
  window.openfeature = {
    async begin(given) {
      const plain = window.fetch;
      // The provider has no option for a token: whoever needs one puts it on its requests.
      if (given.provider === "flagd")
        window.fetch = (resource, init) => {
          const headers = new Headers(init?.headers);
          headers.set("authorization", "Bearer " + given.token);
          return plain(resource, { ...init, headers });
        };
      OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, (told) => news.push(...(told?.flagsChanged ?? [])));
      // A provider that gives up may go on waiting.
      const failed = new Promise((resolve) => OpenFeature.addHandler(ProviderEvents.Error, resolve));
      await Promise.race([OpenFeature.setProviderAndWait(made[given.provider](given)).catch(() => {}), failed]);
      return OpenFeature.getClient().providerStatus;
    },
    async ask({ key, until, told, kind }) {
      const client = OpenFeature.getClient();
      for (;;) {
        const details =
          kind === "boolean" ? client.getBooleanDetails(key, false)
          : kind === "number" ? client.getNumberDetails(key, 0)
          : kind === "object" ? client.getObjectDetails(key, {})
          : client.getStringDetails(key, "of the code");
        const same = until === undefined || JSON.stringify(details.value) === JSON.stringify(until);
        if (same && (!told || news.includes(key))) {
          const { value, variant, reason, errorCode } = details;
          return { value, variant: variant ?? "", reason, error: errorCode ?? "", news: [...news] };
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  };
`;

const built = await build({
  stdin: { contents: SCRIPT, resolveDir: fileURLToPath(new URL(".", import.meta.url)), loader: "js" },
  bundle: true,
  format: "iife",
  platform: "browser",
  write: false,
  logLevel: "silent",
});
const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A product</title>
<script>${built.outputFiles[0].text.replaceAll("</script", "<\\/script")}</script></html>`;

const browser = await launch(JSON.parse(process.argv[2]).chromium);
const pages = new Map();

async function opened(given) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, serviceWorkers: "block" });
  const seen = {};
  const wrong = [];
  context.on("request", (request) => {
    const { pathname } = new URL(request.url());
    seen[pathname] = (seen[pathname] ?? 0) + 1;
  });
  context.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  const page = await context.newPage();
  page.setDefaultTimeout(BOUND);
  pages.set(given.open, { context, page, seen });
  const address = `${given.site}/a-product`;
  await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: PAGE }));
  await page.goto(address);
  const state = await bounded(page.evaluate((told) => window.openfeature.begin(told), given), "ready");
  return { state, wrong, seen };
}

// Returns what was promised; fails when that takes too long.
async function bounded(promised, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long: ${what}`)), BOUND);
  });
  try {
    return await Promise.race([promised, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function asked(given) {
  const { page, seen } = pages.get(given.open);
  const found = await bounded(page.evaluate((told) => window.openfeature.ask(told), given), `${given.key} ${given.until}`);
  return { ...found, seen };
}

async function closed(name) {
  await pages.get(name).context.close();
  pages.delete(name);
  return {};
}

console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  try {
    const answer = given.close ? await closed(given.close) : given.site ? await opened(given) : await asked(given);
    console.log(JSON.stringify(answer));
  } catch (error) {
    console.log(JSON.stringify({ failed: String(error.stack) }));
  }
}
await browser.close();
