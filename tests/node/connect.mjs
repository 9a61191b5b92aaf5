// Plays a person at the connect page, in Chromium, through Envoy.
//
// Argument: {chromium, url, mode, origin, acts, consent}. The link is opened in a `window` of its own, in a `popup` of a
// page of `origin`, or in a `frame` of one. `acts` are what the person does at our page, `consent` the button at the
// vendor's. Writes {wrong, said, heard, url, sizes, headers, storage, refusedFrame}.
import { accessible, act, launch, watched } from "./browser.mjs";

const given = JSON.parse(process.argv[2]);
const HOST = (body) =>
  `<!doctype html><html lang="en"><head><title>Product</title></head><body><h1>Product</h1>${body}<script>
  window.heard = []; addEventListener("message", (event) => heard.push({ origin: event.origin, ...event.data }));
  </script></body></html>`;
const BOUND = 20_000;

const browser = await launch(given.chromium);
const context = await browser.newContext({ ignoreHTTPSErrors: true, colorScheme: given.dark ? "dark" : "light" });
context.setDefaultTimeout(BOUND);
const wrong = await watched(context);
const sizes = {};
const headers = {};
context.on("response", async (response) => {
  const { pathname, origin } = new URL(response.url());
  if (origin !== new URL(given.url).origin || !pathname.startsWith("/connect/")) return;
  headers[pathname] = response.headers();
  sizes[pathname] = (await response.body().catch(() => "")).length;
});
await context.route(`${given.origin}/**`, (route) =>
  route.fulfill({
    contentType: "text/html",
    body: HOST(given.mode === "frame" ? `<iframe title="Connect" width="600" height="700" src="${given.url}"></iframe>` : ""),
  }),
);

async function ours() {
  const page = await context.newPage();
  if (given.mode === "window") {
    await page.goto(given.url);
    return [page, page, page];
  }
  await page.goto(`${given.origin}/`);
  if (given.mode === "frame") {
    const handle = await page.locator("iframe").elementHandle();
    return [page, await handle.contentFrame(), page];
  }
  const opened = context.waitForEvent("page");
  await page.evaluate((url) => void window.open(url, "_blank", "width=520,height=720"), given.url);
  const popup = await opened;
  return [page, popup, popup];
}

const [host, target, shown] = await ours();
const result = {};
try {
  if (given.refused) {
    await host.waitForFunction(() => document.readyState === "complete");
    result.refusedFrame = target.url().startsWith("chrome-error:");
  } else {
    await target.locator("h1").waitFor();
    const audits = [];
    if (given.mode !== "frame") audits.push(...(await accessible(shown)));
    const window = given.mode === "frame" && given.consent ? context.waitForEvent("page") : undefined;
    for (const each of given.acts ?? []) await act(target, each);
    const vendor = given.consent ? ((await window) ?? shown) : undefined;
    if (vendor) await vendor.getByRole("button", { name: given.consent }).click();
    await target.locator("h1", { hasText: given.ends ?? "is connected" }).waitFor();
    if (given.after) await target.getByText(given.after).first().waitFor();
    if (given.mode !== "frame") audits.push(...(await accessible(shown)));
    wrong.push(...audits);
    result.said = await target.locator("main").innerText();
    result.address = shown.url();
    result.focused = await target.evaluate(() => document.activeElement?.tagName);
    result.cookies = (await context.cookies()).map(({ name, httpOnly, secure, sameSite }) => ({ name, httpOnly, secure, sameSite }));
  }
} catch (error) {
  wrong.push(`the page broke: ${error.stack}`);
  result.said = await target.locator("body").innerText().catch(() => "");
  result.address = shown.url();
}
result.heard = await host.evaluate(() => window.heard ?? []).catch(() => []);
console.log(JSON.stringify({ ...result, wrong, sizes, headers }));
await browser.close();
