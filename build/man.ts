/** Writes man/iova.1 of the command's descriptions. `npm run build` runs it. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../guest/paths.js";
import { manPage } from "../src/cli/printed/man.js";

const { version }: { version: string } = JSON.parse(
  readFileSync(join(packageRoot(), "package.json"), "utf8"),
);
const folder = join(packageRoot(), "man");
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "iova.1"), manPage(version));
