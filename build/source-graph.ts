/** Which source files import which, type imports included, and the circles among them. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** Every TypeScript file below a folder with the files it names in an import or a re-export; all paths relative to the folder. */
export function sourceGraph(folder: string): ReadonlyMap<string, readonly string[]> {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(folder, file), "utf8");
      const found = [...text.matchAll(/^(?:import|export)\s[^;]*?from\s+"(\.[^"]+)\.js"/gm)];
      return [file, found.map(([, path = ""]) => `${normalize(join(dirname(file), path))}.ts`)] as const;
    }),
  );
}

/** Sets of files that import one another in a circle (Tarjan's strongly connected components of two or more). */
export function circlesOf(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const visit = (file: string): number => {
    const own = index.size;
    let lowest = own;
    index.set(file, own);
    stack.push(file);
    for (const next of imports.get(file) ?? []) {
      if (!index.has(next)) lowest = Math.min(lowest, visit(next));
      else if (stack.includes(next)) lowest = Math.min(lowest, low.get(next) ?? index.get(next) ?? own);
    }
    low.set(file, lowest);
    if (lowest === own) {
      const circle = stack.splice(stack.indexOf(file));
      if (circle.length > 1) found.push(circle.map((name) => name.replace(/\.ts$/, "")).sort());
    }
    return lowest;
  };
  for (const file of imports.keys()) if (!index.has(file)) visit(file);
  return found.sort();
}
