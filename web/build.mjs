// Makes the files of the connect page, beside the service that serves them, or in the folder that is named.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));

await build({
  absWorkingDir: here,
  entryPoints: { connect: "connect/src/page.ts" },
  outdir: process.argv[2] ?? "../services/cordboard/auth/pages",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  charset: "utf8",
});
await build({
  absWorkingDir: here,
  entryPoints: { connect: "connect/src/page.css" },
  outdir: process.argv[2] ?? "../services/cordboard/auth/pages",
  bundle: true,
  minify: true,
  target: "es2022",
});
