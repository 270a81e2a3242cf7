// Makes `built/` of `source/`: the same bytes wherever it runs.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import { minify } from "terser";

process.chdir(import.meta.dirname);
const tsc = (...given) =>
  execFileSync("node_modules/.bin/tsc", given, { stdio: "inherit" });
const compress = {
  booleans_as_integers: true,
  ecma: 2020,
  keep_fargs: false,
  passes: 3,
  unsafe: true,
  unsafe_arrows: true,
  unsafe_methods: true,
};
const scripts = [
  { source: "core.ts", built: "t-core.js", format: "iife" },
  { source: "all.ts", built: "t.js", format: "iife" },
  { source: "tracker.ts", built: "tracker.js", format: "esm" },
];

tsc("--noEmit");
for (const { source, built, format } of scripts) {
  const bundle = await build({
    bundle: true,
    entryPoints: [`source/${source}`],
    format,
    target: "es2020",
    // Without `strict`, no directive for it is sent to browsers.
    tsconfigRaw: { compilerOptions: { alwaysStrict: false, strict: false } },
    write: false,
  });
  const { code } = await minify(bundle.outputFiles[0].text, {
    compress,
    ecma: 2020,
    module: format == "esm",
    toplevel: true,
  });
  writeFileSync(`built/${built}`, code);
  if (format == "esm") continue;
  // Edges serve it for as long as a page may name it.
  const hash = createHash("sha256").update(code).digest("hex").slice(0, 16);
  mkdirSync("released", { recursive: true });
  writeFileSync(`released/t-${hash}.js`, code);
}
tsc("--emitDeclarationOnly", "--outDir", "built", "--rootDir", "source");
for (const script of ["all", "core", "tag"]) rmSync(`built/${script}.d.ts`);
