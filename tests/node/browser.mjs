// A Chromium for the tests, with what they ask of a page: no word on the console, no breach of its policy.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
// WCAG 2.2, A and AA.
const RULES = { runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] } };

// Starts it. As root, and in containers, its own sandbox cannot work; and the mesh of a test is on this machine, which
// pages of the web cannot reach else.
export async function launch(program) {
  return await chromium.launch({
    executablePath: program,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks"],
  });
}

// Returns a list that everything is added to that goes wrong on the pages of a context.
export async function watched(context) {
  const wrong = [];
  await context.exposeBinding("cordboardBreach", (_, text) => wrong.push(`policy: ${text}`));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.cordboardBreach(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
    });
  });
  context.on("weberror", (error) => wrong.push(`error: ${error.error().stack}`));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()}`);
  });
  return wrong;
}

// Returns what axe finds against WCAG A and AA.
export async function accessible(page) {
  // Past the page's policy, which lets no script in.
  await page.evaluate(`${AXE};0`);
  const found = await page.evaluate(async (rules) => (await window.axe.run(document, rules)).violations, RULES);
  return found.map(
    (each) => `axe ${each.id}: ${each.help}: ${each.nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`,
  );
}

// Does what a person does: `[what, label, given]`.
export async function act(page, [what, label, given]) {
  // Marks such as `(required)` stand behind a label.
  const pattern = new RegExp(`^${label.replace(/[^\w\s]/g, "\\$&")}( \\(|$)`);
  const labelled = () => page.getByLabel(pattern).and(page.locator("input:not([type=radio]), select, textarea"));
  switch (what) {
    case "fill":
      return await labelled().fill(given);
    case "fill last":
      return await labelled().last().fill(given);
    case "check":
      return await labelled().setChecked(given ?? true);
    case "choose":
      return await page.getByRole("radio", { name: pattern }).check();
    case "select":
      return await labelled().selectOption(given);
    case "click":
      return await page.getByRole("button", { name: label }).click();
    case "open":
      return await page.locator("summary").getByText(label, { exact: true }).click();
    case "follow":
      return await page.getByRole("link", { name: label }).click();
    case "press":
      return await page.keyboard.press(label);
    case "type":
      return await page.keyboard.type(label);
    case "upload":
      return await labelled().setInputFiles({ ...given, buffer: Buffer.from(given.text) });
    case "paste":
      await labelled().focus();
      return await labelled().evaluate((input, text) => {
        const clipboardData = new DataTransfer();
        clipboardData.setData("text", text);
        const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
        if (input.dispatchEvent(event)) document.execCommand("insertText", false, text);
      }, given);
    case "wait":
      return await page.getByText(label).first().waitFor();
    default:
      throw new Error(`nobody can ${what}`);
  }
}
