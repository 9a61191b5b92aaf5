// Plays an operator at the console, in Chromium, through Envoy.
//
// Argument: {chromium}. Reads one JSON document a line, writes one JSON answer a line.
// In:  {url, dark, width, acts}
//      With `url` a new browser opens it; without one the operator goes on where they were. `acts`:
//      [go, HASH], [see, TEXT], [gone, TEXT], [click, NAME], [off, NAME] it cannot be clicked,
//      [press, KEY], [fill, LABEL, TEXT], [select, LABEL, VALUE], [follow, TEXT] a link, [open, REGION] its first
//      link, [row, TEXT, LINK] a link of the row that has the text, [reload],
//      [address, TEXT] waits until it is in there, [note, REGION] its first link, [changed, REGION] waits until that is
//      another one, [shot, FILE], [judge] by axe, [scroll, REGION] measures frames.
// Out: {wrong, said, address, sizes, frames, painted, cookies, kept}
import readline from "node:readline";
import { accessible, launch, watched } from "./browser.mjs";

const BOUND = 60_000;
const browser = await launch(JSON.parse(process.argv[2]).chromium);
let context;
let page;
let wrong = [];
let sizes = {};
let noted = "";

async function opened(given) {
  await context?.close();
  const viewport = { width: given.width ?? 1280, height: 800 };
  context = await browser.newContext({
    ignoreHTTPSErrors: true,
    colorScheme: given.dark ? "dark" : "light",
    viewport,
    serviceWorkers: "block",
  });
  context.setDefaultTimeout(BOUND);
  wrong = await watched(context);
  sizes = {};
  page = await context.newPage();
  page.on("response", async (response) => {
    const { pathname } = new URL(response.url());
    if (!/^\/console(\/|$)/.test(pathname)) return;
    const { responseBodySize } = await response.request().sizes().catch(() => ({ responseBodySize: 0 }));
    sizes[pathname] = responseBodySize;
  });
  await page.goto(given.url);
}

// Scrolls a region to its end, a screen's part at each frame; returns how long the frames took, in milliseconds.
async function frames(name) {
  const region = page.getByRole("region", { name });
  return await region.evaluate(
    (element) =>
      new Promise((resolve) => {
        const took = [];
        let last = performance.now();
        const step = (now) => {
          took.push(now - last);
          last = now;
          const before = element.scrollTop;
          element.scrollTop += 300;
          if (element.scrollTop === before || took.length > 600) resolve(took.slice(1));
          else requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
      }),
  );
}

// What can be reached: the dialog while one is open, the page otherwise.
async function reached() {
  const dialog = page.locator("dialog[open]");
  return (await dialog.count()) ? dialog : page;
}

function firstLink(region) {
  return page.getByRole("region", { name: region }).getByRole("link").first();
}

async function done([what, first, second], result) {
  switch (what) {
    case "go":
      return await page.evaluate((hash) => void (location.hash = hash), first);
    case "see":
      return await page.getByText(first).first().waitFor();
    case "gone":
      return await page.getByText(first).first().waitFor({ state: "hidden" });
    case "click":
      return await page.getByRole("button", { name: first, exact: true }).first().click();
    case "ask":
      await page.getByRole("button", { name: first, exact: true }).first().click();
      return await page.locator("dialog[open]").waitFor();
    case "confirm":
      return await page.locator("dialog[open]").getByRole("button", { name: first, exact: true }).click();
    case "off":
      return await (await reached()).getByRole("button", { name: first, exact: true, disabled: true }).waitFor();
    case "open":
      return await firstLink(first).click();
    case "note":
      return void (noted = await firstLink(first).innerText());
    case "changed":
      return await firstLink(first).filter({ hasNotText: noted }).waitFor();
    case "follow":
      return await page.getByRole("link", { name: first }).first().click();
    case "row":
      return await page.getByRole("row").filter({ hasText: first }).getByRole("link", { name: second }).first().click();
    case "reload":
      return await page.reload();
    case "address":
      return await page.waitForURL((url) => url.href.includes(first));
    case "press":
      return await page.keyboard.press(first);
    case "fill":
      return await (await reached()).getByLabel(first).last().fill(second);
    case "select":
      return await (await reached()).getByLabel(first).last().selectOption(second);
    case "shot":
      return await page.screenshot({ path: first, animations: "disabled" });
    case "judge":
      return void wrong.push(...(await accessible(page)));
    case "scroll":
      return void (result.frames = await frames(first));
    default:
      throw new Error(`nobody knows how to ${what}`);
  }
}

async function played(given) {
  const result = {};
  let at = "open";
  try {
    if (given.url) await opened(given);
    for (const each of given.acts ?? []) {
      at = each.join(" ");
      await done(each, result);
    }
  } catch (error) {
    wrong.push(`at "${at}": ${error.stack}`);
  }
  const { cookies } = await context.storageState();
  const told = {
    said: await page.locator("body").innerText(),
    address: page.url(),
    focused: await page.evaluate(() => document.activeElement?.textContent ?? ""),
    kept: await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])),
    painted: await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime),
    cookies: cookies.map(({ name, httpOnly, secure, sameSite }) => ({ name, httpOnly, secure, sameSite })),
  };
  return { ...result, ...told, sizes, wrong: wrong.splice(0) };
}

console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await played(JSON.parse(line))));
}
await browser.close();
