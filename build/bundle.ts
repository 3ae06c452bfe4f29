/**
 * The package's entry points, each as one file, and what both need as a third: Node takes about a millisecond for each module
 * that it looks up, reads and compiles, and there are some 370 with zod's. The files are CommonJS, as V8 can keep code of
 * such only; dist/iova.js and dist/emulator.js load them (src/bundle.ts). Run by `npm run build`, after the compiler.
 *
 * Each file's name tells its content: V8 knows a text by its length alone, and would run code that it kept of another one.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { packageRoot } from "../guest/paths.js";

const dist = join(packageRoot(), "dist");
const folder = join(dist, "bundle");
const entries = {
  iova: join(dist, "src", "index.js"),
  emulator: join(dist, "src", "emulator", "index.js"),
};
const WARM_UP_MS = 60_000;
const zod = join(packageRoot(), "node_modules", "zod");

rmSync(folder, { recursive: true, force: true });
const bundle = await rolldown({
  input: entries,
  platform: "node",
  plugins: [
    {
      // What a module finds beside itself (a worker's program) is still there.
      name: "import.meta.url of each module",
      transform(code, id) {
        if (!code.includes("import.meta.url")) return null;
        const url = JSON.stringify(`./${relative(folder, id)}`);
        return code.replaceAll("import.meta.url", `new URL(${url}, import.meta.url).href`);
      },
    },
  ],
});
const { output } = await bundle.write({
  dir: folder,
  entryFileNames: "[name]-[hash].cjs",
  chunkFileNames: "shared-[hash].cjs",
  format: "cjs",
  comments: false,
  // The only other project's code in it.
  banner: ({ moduleIds }) =>
    moduleIds.some((id) => id.startsWith(zod))
      ? `/*!\nContains zod:\n\n${readFileSync(join(zod, "LICENSE"), "utf8").trim()}\n*/`
      : "",
});
await bundle.close();

for (const [name, entry] of Object.entries(entries)) {
  const file = output.find((one) => one.name === name)?.fileName;
  const door = join(dist, `${name}.js`);
  const names = Object.keys(await import(pathToFileURL(entry).href)).sort();
  const text = [
    'import { loadBundle } from "./src/bundle.js";',
    `export const {\n${names.map((one) => `  ${one},\n`).join("")}} = loadBundle("${file}");\n`,
  ];
  writeFileSync(door, text.join("\n"));
  const exports: Record<string, unknown> = await import(pathToFileURL(door).href);
  const missing = names.filter((one) => exports[one] === undefined);
  if (missing.length > 0) throw new Error(`${door} doesn't export ${missing.join(", ")} as ${entry} does`);
}
try {
  // In a process of its own: nothing of the bundles is compiled yet.
  const program = fileURLToPath(new URL("./warm-up.js", import.meta.url));
  execFileSync(process.execPath, [program], { stdio: "inherit", timeout: WARM_UP_MS });
} catch (error) {
  // Everything works without.
  const why = error instanceof Error ? error.message : String(error);
  process.stderr.write(`compiled code is not kept, so that each import takes longer: ${why}\n`);
}
