// Makes the files of the pages for people, beside the service that serves them, or in the folder that is named.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const outdir = process.argv[2] ?? "../services/cordboard/auth/pages";
const settings = { absWorkingDir: here, outdir, bundle: true, minify: true, target: "es2022" };
const files = (suffix) => ({ connect: `connect/src/page.${suffix}`, try: `try/src/page.${suffix}` });

await build({ ...settings, entryPoints: files("ts"), format: "esm", legalComments: "none", charset: "utf8" });
await build({ ...settings, entryPoints: files("css") });
