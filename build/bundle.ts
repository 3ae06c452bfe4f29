/**
 * The package's entry points, each as one file, dist/iova.js and dist/emulator.js, and what both need as a third: Node takes
 * about a millisecond for each module that it looks up, reads and compiles, and there are some 370 with zod's. Run by
 * `npm run build`, after the compiler.
 */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { packageRoot } from "../guest/paths.js";

const dist = join(packageRoot(), "dist");
const entries = {
  iova: join(dist, "src", "index.js"),
  emulator: join(dist, "src", "emulator", "index.js"),
};
const zod = join(packageRoot(), "node_modules", "zod");

const bundle = await rolldown({
  input: entries,
  platform: "node",
  external: ["koffi"],
  plugins: [
    {
      // What a module finds beside itself (a worker's program) is still there.
      name: "import.meta.url of each module",
      transform(code, id) {
        if (!code.includes("import.meta.url")) return null;
        const url = JSON.stringify(`./${relative(dist, id)}`);
        return code.replaceAll("import.meta.url", `new URL(${url}, import.meta.url).href`);
      },
    },
  ],
});
await bundle.write({
  dir: dist,
  entryFileNames: "[name].js",
  chunkFileNames: "shared.js",
  format: "esm",
  comments: false,
  // The only other project's code in it.
  banner: ({ moduleIds }) =>
    moduleIds.some((id) => id.startsWith(zod))
      ? `/*!\nContains zod:\n\n${readFileSync(join(zod, "LICENSE"), "utf8").trim()}\n*/`
      : "",
});
await bundle.close();

const names = async (file: string): Promise<string> =>
  Object.keys(await import(pathToFileURL(file).href))
    .sort()
    .join(" ");
for (const [name, entry] of Object.entries(entries)) {
  const output = join(dist, `${name}.js`);
  if ((await names(output)) !== (await names(entry))) {
    throw new Error(`${output} doesn't export what ${entry} does`);
  }
}
