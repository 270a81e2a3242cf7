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
  ecma: 2020,
  keep_fargs: false,
  passes: 5,
  unsafe: true,
  unsafe_arrows: true,
  unsafe_methods: true,
};
const scripts = [
  { source: "core.ts", built: "t-core.js", tag: true },
  { source: "all.ts", built: "t.js", tag: true },
  { source: "dub.ts", built: "t-dub.js", tag: true, vendor: true },
  { source: "affitor.ts", built: "t-affitor.js", tag: true, vendor: true },
  { source: "tracker.ts", built: "tracker.js", tag: false },
];

tsc("--noEmit");
for (const { source, built, tag, vendor = false } of scripts) {
  const bundle = await build({
    bundle: true,
    define: { VENDOR: String(vendor) },
    entryPoints: [`source/${source}`],
    format: "esm",
    target: "es2020",
    // Without `strict`, no directive for it is sent to browsers.
    tsconfigRaw: { compilerOptions: { alwaysStrict: false, strict: false } },
    write: false,
  });
  // In a block, names that are `let` are not the page's; terser unwraps a function.
  const { code } = await minify(bundle.outputFiles[0].text.replace(/^var /gm, "let "), {
    // Edges tell `true` from 1 in what a vendor's script sends.
    compress: { ...compress, booleans_as_integers: !vendor },
    ecma: 2020,
    module: !tag,
    toplevel: true,
  });
  const text = tag ? `{${code}}` : code;
  writeFileSync(`built/${built}`, text);
  if (!tag) continue;
  // Edges serve it for as long as a page may name it.
  const hash = createHash("sha256").update(text).digest("hex").slice(0, 16);
  mkdirSync("released", { recursive: true });
  writeFileSync(`released/t-${hash}.js`, text);
}
tsc("--emitDeclarationOnly", "--outDir", "built", "--rootDir", "source");
for (const script of ["affitor", "all", "core", "dub", "tag"]) rmSync(`built/${script}.d.ts`);
