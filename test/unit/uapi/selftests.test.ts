/**
 * Where each case of the kernel's self-tests is expressed again: docs/internals/selftests.md, made from the test names, which end
 * with the kernel's case in brackets. `npx vitest run --project unit test/unit/uapi/selftests.test.ts -u` writes it anew.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { kernelSelftests } from "../../support/kernel-selftests.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const cases = Object.values(kernelSelftests).flat();
const fixtures = new Set(cases.map((name) => name.split(".")[0]));

/** Test files by case. An index expression such as [walk.pte] is no case: its first half is no fixture. */
function testsByCase(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  // Suites that several test files run are in test/support/.
  const filesIn = (folder: string): string[] =>
    readdirSync(join(root, "test", folder), { recursive: true, encoding: "utf8" }).map((name) =>
      join(folder, name),
    );
  const files = [...filesIn("guest"), ...filesIn("support")].filter((name) => name.endsWith(".ts")).sort();
  for (const file of files) {
    const text = readFileSync(join(root, "test", file), "utf8");
    for (const [, name = ""] of text.matchAll(/\[(\w+\.\w+)\]/g)) {
      if (!fixtures.has(name.split(".")[0])) continue;
      const others = found.get(name) ?? [];
      if (!others.includes(file)) found.set(name, [...others, file]);
    }
  }
  return found;
}

function table(found: ReadonlyMap<string, readonly string[]>): string {
  const lines = [
    "# The kernel's self-tests, expressed again",
    "",
    "Made from the names of our tests by `test/unit/uapi/selftests.test.ts`; don't edit. Each case runs in all the modes and",
    "variants that its test's name tells.",
  ];
  for (const [source, names] of Object.entries(kernelSelftests)) {
    lines.push("", `## tools/testing/selftests/${source}`, "", "| case | expressed in |", "|---|---|");
    for (const name of names) {
      const files = (found.get(name) ?? []).map((file) => `[${file}](../../test/${file})`);
      lines.push(`| ${name} | ${files.join(", ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

describe("the kernel's self-tests", () => {
  const found = testsByCase();

  test("have no case without a test of ours", () => {
    expect(cases.filter((name) => !found.has(name))).toEqual([]);
  });

  test("are named rightly", () => {
    expect([...found.keys()].filter((name) => !cases.includes(name))).toEqual([]);
  });

  test("are listed in docs/internals/selftests.md as they are", async () => {
    await expect(table(found)).toMatchFileSnapshot(join(root, "docs/internals/selftests.md"));
  });
});
