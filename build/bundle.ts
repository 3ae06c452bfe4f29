/**
 * The package's entry point as one file, dist/iova.js: Node takes about a millisecond for each module that it looks up, reads
 * and compiles, and there are some 370 with zod's. Run by `npm run build`, after the compiler.
 */
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { packageRoot } from "../guest/paths.js";

const dist = join(packageRoot(), "dist");
const entry = join(dist, "src", "index.js");
const output = join(dist, "iova.js");
const zod = join(packageRoot(), "node_modules", "zod");

const bundle = await rolldown({
  input: entry,
  platform: "node",
  external: ["koffi"],
  plugins: [
    {
      // What a module finds beside itself (a worker's program) is still there.
      name: "import.meta.url of each module",
      transform(code, id) {
        if (!code.includes("import.meta.url")) return null;
        const url = JSON.stringify(`./${relative(dirname(output), id)}`);
        return code.replaceAll("import.meta.url", `new URL(${url}, import.meta.url).href`);
      },
    },
  ],
});
await bundle.write({
  file: output,
  format: "esm",
  comments: false,
  // The only other project's code in it.
  banner: `/*!\nContains zod:\n\n${readFileSync(join(zod, "LICENSE"), "utf8").trim()}\n*/`,
});
await bundle.close();

const names = async (file: string): Promise<string> =>
  Object.keys(await import(pathToFileURL(file).href))
    .sort()
    .join(" ");
if ((await names(output)) !== (await names(entry))) {
  throw new Error(`${output} doesn't export what ${entry} does`);
}
