// Plays a person at the designer, in Chromium.
//
// Argument: {chromium}. Reads one JSON document a line, writes one JSON answer a line.
// In:  {url, acts, ends, picture, dark}
//      `acts` are `[what, label, given, within]`, where `within` is a CSS selector of the part of the page that is meant;
//      `ends` the text that has to be there in the end; `picture` a file for a picture of the page.
// Out: {wrong, said: {page, editor, preview, parts, findings}, invalid, address, title}
import readline from "node:readline";
import { accessible, act, launch, watched } from "./browser.mjs";

const BOUND = 60_000;
const browser = await launch(JSON.parse(process.argv[2]).chromium);

async function played(given) {
  const context = await browser.newContext({
    colorScheme: given.dark ? "dark" : "light",
    viewport: { width: 1500, height: 1000 },
  });
  context.setDefaultTimeout(BOUND);
  const wrong = await watched(context);
  const page = await context.newPage();
  const result = {};
  try {
    await page.goto(given.url);
    await page.locator("h1").waitFor();
    for (const [what, label, value, within] of given.acts ?? []) {
      await act(within ? page.locator(within) : page, [what, label, value]);
    }
    if (given.ends) await page.getByText(given.ends).first().waitFor();
    wrong.push(...(await accessible(page)));
    if (given.picture) {
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: given.picture });
    }
  } catch (error) {
    wrong.push(`the page broke: ${error.stack}`);
  }
  const text = (selector) =>
    page
      .locator(selector)
      .innerText({ timeout: 1000 })
      .catch(() => "");
  result.said = {
    page: await text("body"),
    editor: await text("#editor"),
    preview: await text("#preview"),
    parts: await text("#parts"),
    findings: await text("#findings"),
  };
  result.invalid = await page.locator("#editor [aria-invalid=true]").count();
  result.address = page.url();
  result.title = await page.title();
  await context.close();
  return { ...result, wrong };
}

console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await played(JSON.parse(line))));
}
await browser.close();
