/** Removes the compiler's declarations that no entry point of the package reaches: users can't see them, and they are a third of the text. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { doorNames, doorSource } from "./doors.js";

const declarationOf = (file: string): string => file.replace(/\.js$/, ".d.ts");

/** @param source dist/src */
export function removeUnreachableDeclarations(source: string): void {
  const doors = [...doorNames.map(doorSource), "emulator/worker-main.js"];
  const found = new Set(doors.map((door) => declarationOf(join(source, door))));
  for (const file of found) {
    const imports = readFileSync(file, "utf8").matchAll(/(?:from\s+|import\()"(\.[^"]+)"/g);
    for (const [, path = ""] of imports) found.add(declarationOf(join(dirname(file), path)));
  }
  for (const name of readdirSync(source, { recursive: true, encoding: "utf8" })) {
    const file = join(source, name);
    if (name.endsWith(".d.ts") && !found.has(file)) rmSync(file);
  }
}
