/**
 * Makes the package's declarations of the compiler's: one file for each entry point, and those that they share. What no entry point
 * reaches is left out, and so are the imports between hundreds of files: a quarter of the text.
 */
import { join } from "node:path";
import { rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";
import { doorNames, doorSource } from "./doors.js";

/**
 * @param source dist/src
 * @param folder dist/lib, where the entry points themselves are
 */
export async function bundleDeclarations(source: string, folder: string): Promise<void> {
  const bundle = await rolldown({
    input: {
      ...Object.fromEntries(
        doorNames.map((name) => [name, join(source, doorSource(name).replace(/\.js$/, ".d.ts"))]),
      ),
      "emulator-worker": join(source, "emulator", "worker-main.d.ts"),
    },
    external: [/^node:/, "koffi", "zod"],
    plugins: dts({ dtsInput: true, tsconfig: false }),
  });
  await bundle.write({ dir: folder, format: "esm", chunkFileNames: "types-[name]-[hash].js" });
  await bundle.close();
}
