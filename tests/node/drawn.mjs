// Draws forms in Chromium, under a policy that lets nothing but the renderer's own script run.
//
// Argument: {chromium}. Reads one JSON document a line, writes one JSON answer a line.
// In:  {document, values?, stored?, offered?, acts?, told?, later?, audit?, spoil?}
//      `offered` are the answers about choices by field id, `acts` what a person does, `told` what the server says is
//      wrong after that, `later` what the person does then, `audit` asks axe, and `spoil` does to the page what must be noticed.
// Out: {wrong, values, problems, summary, focused, invalid, tabs, text}
import { readFileSync } from "node:fs";
import readline from "node:readline";
import { build } from "../../web/node_modules/esbuild/lib/main.js";
import { accessible, act, launch, watched } from "./browser.mjs";

const given = JSON.parse(process.argv[2]);
const web = new URL("../../web/", import.meta.url);
const ORIGIN = "https://form.test";
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'; " +
  "require-trusted-types-for 'script'; trusted-types 'none'";
const PAGE =
  '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Form</title><link rel="stylesheet" href="form.css">' +
  '<script type="module" src="form.js"></script></head><body><main><h1>Form</h1></main></body></html>';

const built = await build({
  stdin: {
    contents: 'import { drawForm } from "@cordboard/form"; window.drawForm = drawForm;',
    resolveDir: new URL("connect", web).pathname,
    loader: "ts",
  },
  bundle: true,
  format: "esm",
  write: false,
});
const files = new Map([
  ["/", ["text/html", PAGE]],
  ["/form.js", ["text/javascript", built.outputFiles[0].text]],
  ["/form.css", ["text/css", readFileSync(new URL("form/form.css", web), "utf8")]],
]);

const browser = await launch(given.chromium);
const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin" });
const wrong = await watched(context);
await context.route("**/*", async (route) => {
  const found = files.get(new URL(route.request().url()).pathname);
  if (!found) return await route.fulfill({ status: 204 });
  await route.fulfill({ headers: { "content-type": found[0], "content-security-policy": POLICY }, body: found[1] });
});
const page = await context.newPage();
page.setDefaultTimeout(60_000);
await page.goto(ORIGIN);
await page.waitForFunction(() => window.drawForm !== undefined);

async function answered(request) {
  await page.evaluate((asked) => {
    const main = document.querySelector("main");
    const offered =
      asked.offered &&
      (async (fieldId, values, search) => {
        window.questions.push({ fieldId, values, search });
        return asked.offered[fieldId] ?? { options: [], more: false, problem: "nobody knows" };
      });
    window.questions = [];
    window.form = window.drawForm(asked.document, {
      ...(asked.values && { values: asked.values }),
      ...(asked.stored && { stored: asked.stored }),
      ...(offered && { options: offered }),
      fileBytes: 1000,
    });
    main.replaceChildren(main.querySelector("h1"), window.form.element);
  }, request);
  const said = [];
  if (request.spoil) {
    await page.evaluate(() => {
      document.querySelectorAll("label").forEach((label) => label.remove());
      document.querySelector("main").setAttribute("style", "color: red");
    });
  }
  if (request.audit) said.push(...(await accessible(page)));
  for (const each of request.acts ?? []) await act(page, each);
  const reading = await page.evaluate(async () => await window.form.read());
  if (request.told) await page.evaluate((told) => window.form.show(told), request.told);
  for (const each of request.later ?? []) await act(page, each);
  if (request.audit) said.push(...(await accessible(page)));
  const seen = await page.evaluate(() => ({
    summary: [...document.querySelectorAll(".cbf-summary:not([hidden]) li")].map((each) => each.textContent),
    focused: document.activeElement?.className || document.activeElement?.id || document.activeElement?.tagName,
    invalid: [...document.querySelectorAll('[aria-invalid="true"]')].map(
      (each) => each.labels?.[0]?.firstChild?.textContent ?? "",
    ),
    held: [...document.querySelectorAll("input, textarea")].map((each) => each.value),
    tabs: [...document.querySelectorAll("details[open] > summary")].map((each) => each.textContent),
    questions: window.questions,
    text: document.querySelector("main").innerText,
    controls: document.querySelectorAll("input, select, textarea").length,
  }));
  return { ...reading, ...seen, wrong: [...said, ...wrong.splice(0)] };
}

console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await answered(JSON.parse(line));
  } catch (error) {
    answer = { wrong: [`the page broke: ${error.stack}`, ...wrong.splice(0)] };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
