// Plays a person at the connect page and the try page, in Chromium, through Envoy.
//
// Argument: {chromium}. Reads one JSON document a line, writes one JSON answer a line.
// In:  {url, mode, origin, acts, tab, consent, code, ends, after, refused, dark, locale}
//      The link is opened in a `window` of its own, in a `popup` of a page of `origin`, or in a `frame` of one. `acts`
//      are what the person does at our page, `tab` what they do at another one that a link of it leads to, `consent`
//      the button at the vendor's, `code` that of the page where the code goes that ours shows, `ends` the heading at
//      the end, `after` what has to stand below it; `refused`: the frame stays empty.
// Out: {wrong, said, heard, address, sizes, focused, cookies, refusedFrame}
import readline from "node:readline";
import { accessible, act, launch, watched } from "./browser.mjs";

const BOUND = 60_000;
const HOST = (body) =>
  `<!doctype html><html lang="en"><head><title>Product</title></head><body><h1>Product</h1>${body}<script>
  window.heard = []; addEventListener("message", (event) => heard.push({ origin: event.origin, ...event.data }));
  </script></body></html>`;

const browser = await launch(JSON.parse(process.argv[2]).chromium);

// Opens the link, and returns the page of whoever opened it, where our page is, and the tab that it is in.
async function opened(context, given) {
  const page = await context.newPage();
  if (given.mode === "window") {
    await page.goto(given.url);
    return [page, page, page];
  }
  await page.goto(`${given.origin}/`);
  if (given.mode === "frame") return [page, await (await page.locator("iframe").elementHandle()).contentFrame(), page];
  const popup = context.waitForEvent("page");
  await page.evaluate((url) => void window.open(url, "_blank", "width=520,height=720"), given.url);
  return [page, await popup, await popup];
}

// Follows the link to the vendor, types in there the code that our page shows, and allows it.
async function allowed(context, page, button) {
  const code = await page.locator(".code").innerText();
  const opening = context.waitForEvent("page");
  await page.getByRole("link").first().click();
  const vendor = await opening;
  await vendor.getByRole("textbox").fill(code);
  await vendor.getByRole("button", { name: button }).click();
  await vendor.locator("h1", { hasText: "Allowed" }).waitFor();
}

// Follows a link of our page to another page of ours in a tab of its own, and does there what is to be done.
async function elsewhere(context, page, { link, acts, ends }) {
  const opening = context.waitForEvent("page");
  await page.getByRole("link", { name: link }).click();
  const tab = await opening;
  for (const each of acts) await act(tab, each);
  await tab.locator("h1", { hasText: ends }).waitFor();
  await tab.close();
}

async function played(given) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    colorScheme: given.dark ? "dark" : "light",
    locale: given.locale ?? "en-US",
  });
  context.setDefaultTimeout(BOUND);
  const wrong = await watched(context);
  const sizes = {};
  context.on("response", async (response) => {
    const { pathname, origin } = new URL(response.url());
    if (origin !== new URL(given.url).origin || !/^\/(connect\/(assets|[0-9a-z]{26}$)|try(\/|$))/.test(pathname)) return;
    sizes[pathname] = (await response.body().catch(() => "")).length;
  });
  const frame = `<iframe title="Connect" width="600" height="700" src="${given.url}"></iframe>`;
  await context.route(`${given.origin}/**`, (route) =>
    route.fulfill({ contentType: "text/html", body: HOST(given.mode === "frame" ? frame : "") }),
  );
  const [host, target, shown] = await opened(context, given);
  const result = {};
  try {
    if (given.refused) {
      await host.waitForFunction(() => document.readyState === "complete");
      result.refusedFrame = target.url().startsWith("chrome-error:");
    } else {
      await target.locator("h1").waitFor();
      if (given.mode !== "frame") wrong.push(...(await accessible(shown)));
      const window = given.mode === "frame" && given.consent ? context.waitForEvent("page") : undefined;
      for (const each of given.acts ?? []) await act(target, each);
      if (given.consent) await ((await window) ?? shown).getByRole("button", { name: given.consent }).click();
      if (given.tab) await elsewhere(context, target, given.tab);
      if (given.code) await allowed(context, target, given.code);
      await target.locator("h1", { hasText: given.ends ?? "is connected" }).waitFor();
      if (given.after) await target.getByText(given.after).first().waitFor();
      if (given.mode !== "frame") wrong.push(...(await accessible(shown)));
      const cookies = await context.cookies();
      result.cookies = cookies.map(({ name, httpOnly, secure, sameSite }) => ({ name, httpOnly, secure, sameSite }));
      result.focused = await target.evaluate(() => document.activeElement?.tagName);
    }
  } catch (error) {
    wrong.push(`the page broke: ${error.stack}`);
  }
  result.said = await target
    .locator("body")
    .innerText()
    .catch(() => "");
  result.address = shown.url();
  result.heard = await host.evaluate(() => window.heard ?? []).catch(() => []);
  await context.close();
  return { ...result, wrong, sizes };
}

console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await played(JSON.parse(line))));
}
await browser.close();
