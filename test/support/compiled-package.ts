/** Compiles programs that import the package by its name, as users do. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { packageRoot } from "../../guest/paths.js";
import { type CompiledTree, compileTree } from "./compiled.js";

/** Compiles the programs, the whole package and the emulator's program. `iova` and `iova/...` are the compiled sources. */
export function compilePackage(...programs: string[]): CompiledTree {
  const doors = readdirSync(join(packageRoot(), "src/doors")).map((file) => `src/doors/${file}`);
  const tree = compileTree("src/index.ts", ...doors, "src/emulator/worker-main.ts", ...programs);
  const exported = Object.fromEntries(
    ["src/index.ts", ...doors].map((source) => {
      const name = source === "src/index.ts" ? "." : source.replace(/^src\/doors(.*)\.ts$/, ".$1");
      return [name, `./${source.replace(/\.ts$/, ".js")}`];
    }),
  );
  const manifest = join(dirname(tree.file("package.ts")), "package.json");
  const { type, version } = JSON.parse(readFileSync(manifest, "utf8"));
  writeFileSync(manifest, JSON.stringify({ name: "iova", type, version, exports: exported }));
  return tree;
}
