/**
 * Makes dist/lib of the compiled sources: one ES module for each entry point of the package, the modules that they share, the
 * command line, the tool that boots guests, and the programs of worker threads. A few files load faster than 370 modules. `npm run build` runs it.
 */
import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { type RolldownPlugin, rolldown } from "rolldown";
import { packageRoot } from "../guest/paths.js";
import { bundleDeclarations } from "./declarations.js";
import { doorNames, doorSource } from "./doors.js";
import { declareForOlder } from "./older-typescript.js";
import { shortenBundle } from "./shorten.js";

const dist = join(packageRoot(), "dist");
const source = join(dist, "src");
const folder = join(dist, "lib");
const zod = join(packageRoot(), "node_modules", "zod");

/** Programs of worker threads: their paths in the source, and in dist/lib. */
const workers = new Map([
  ['"../emulator/worker-main.js"', '"./emulator-worker.mjs"'],
  ['new URL("./worker.js", ', 'new URL("./perf-worker.js", '],
]);

const workerPaths: RolldownPlugin = {
  name: "paths of worker programs",
  transform: (code) => ({
    code: [...workers].reduce((text, [from, to]) => text.replaceAll(from, to), code),
    // package.json's sideEffects are about dist/lib; the command line's modules do have effects.
    moduleSideEffects: true,
  }),
};

/** The licence of the only other project whose code is in the files. */
function zodLicence({ moduleIds }: { readonly moduleIds: readonly string[] }): string {
  if (!moduleIds.some((id) => id.startsWith(zod))) return "";
  return `/*!\nContains zod:\n\n${readFileSync(join(zod, "LICENSE"), "utf8").trim()}\n*/`;
}

/** The compiled modules that one imports, itself included. */
function reachable(entry: string): Set<string> {
  const found = new Set([entry]);
  for (const file of found) {
    const imports = readFileSync(file, "utf8").matchAll(/^(?:import|export)\s[^;]*?from\s+"(\.[^"]+)"/gm);
    for (const [, path] of imports) found.add(join(dirname(file), path ?? ""));
  }
  return found;
}

const common = { banner: zodLicence, comments: false, dir: folder, format: "esm" } as const;
/** Short names inside functions, and no dead code: there is less to parse at import. Stacks and errors show the other names. */
const shorter = { compress: true, mangle: { keepNames: true } };

rmSync(folder, { recursive: true, force: true });

// Which chunk a module is in, by who needs it; the first that fits. `import "iova"` loads base, shared and driver: the rest of
// the driver (controller) comes when a controller is opened, with what it shares with the emulator (common). `iova --help`
// loads only the descriptions of commands (described).
const base = new Set(["cli/list.js", "pci/bind.js"].flatMap((name) => [...reachable(join(source, name))]));
const driver = reachable(join(source, doorSource("iova")));
const controller = reachable(join(source, "nvme", "controller-parts.js"));
const emulator = reachable(join(source, doorSource("emulator")));
const described = reachable(join(source, "cli", "printed", "help.js"));
const chunks: readonly (readonly [name: string, test: (id: string) => boolean])[] = [
  ["described", (id) => described.has(id)],
  // Without the commands: their texts would come with each import.
  ["base", (id) => base.has(id) && !id.startsWith(join(source, "cli"))],
  ["shared", (id) => driver.has(id) && emulator.has(id)],
  ["driver", (id) => driver.has(id)],
  ["common", (id) => id.startsWith(zod) || (controller.has(id) && emulator.has(id))],
  ["controller", (id) => controller.has(id)],
  ["devices", (id) => emulator.has(id)],
];
const groups = chunks.map(([name, test], place) => ({ name, test, priority: chunks.length - place }));
const bundle = await rolldown({
  input: {
    ...Object.fromEntries(doorNames.map((name) => [name, join(source, doorSource(name))])),
    cli: join(source, "cli", "bin.js"),
    // Boots a guest for `iova compare`.
    guest: join(dist, "guest", "main.js"),
    "emulator-worker": join(source, "emulator", "worker-main.js"),
    "perf-worker": join(source, "cli", "nvme", "perf", "worker.js"),
  },
  platform: "node",
  external: ["koffi"],
  plugins: [workerPaths],
  // The names of 600 modules, as comments, are a hundredth of the tarball.
  experimental: { attachDebugInfo: "none" },
});
await bundle.write({
  ...common,
  entryFileNames: ({ name }) => (name === "emulator-worker" ? "[name].mjs" : "[name].js"),
  chunkFileNames: "chunk-[name]-[hash].js",
  codeSplitting: { groups },
  minify: { ...shorter, codegen: { removeWhitespace: true } },
});
await bundle.close();

await bundleDeclarations(source, folder);
declareForOlder(folder);
shortenBundle(folder);
