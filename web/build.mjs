// Makes the files of the pages for people and of the console, beside the service that serves them, or in the folder
// that is named.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { generate } from "./console/generate.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const shared = {
  absWorkingDir: here,
  outdir: process.argv[2] ?? "../services/cordboard/auth/pages",
  bundle: true,
  minify: true,
  target: "es2022",
};

generate();
await build({
  ...shared,
  entryPoints: {
    connect: "connect/src/page.ts",
    try: "try/src/page.ts",
    design: "design/src/page.ts",
    console: "console/src/main.tsx",
  },
  format: "esm",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
});
await build({
  ...shared,
  entryPoints: Object.fromEntries(
    ["connect", "try", "design", "console"].map((page) => [page, `${page}/src/page.css`]),
  ),
});
