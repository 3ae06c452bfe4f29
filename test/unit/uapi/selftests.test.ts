/**
 * Lists the test for each case of the kernel's self-tests in docs/internals/selftests.md. A test's name ends with the kernel's
 * case in brackets. `npx vitest run --project unit test/unit/uapi/selftests.test.ts -u` rewrites the list.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { kernelSelftests } from "../../support/kernel-selftests.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const cases = Object.values(kernelSelftests).flat();
const fixtures = new Set(cases.map((name) => name.split(".")[0]));

/** Test files by case. An index expression such as [walk.pte] isn't a case, because its first half isn't a fixture. */
function testsByCase(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  // Suites for several test files are in test/support/.
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
    "# Kernel self-tests",
    "",
    "Each case of the kernel's own iommufd self-tests has a test here. It runs in all modes and variants that its test's name tells.",
    "",
    "Generated from test names by `test/unit/uapi/selftests.test.ts`. Don't edit.",
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

  test("each have a test here", () => {
    expect(cases.filter((name) => !found.has(name))).toEqual([]);
  });

  test("are named in test names exactly as in the kernel", () => {
    expect([...found.keys()].filter((name) => !cases.includes(name))).toEqual([]);
  });

  test("are listed in docs/internals/selftests.md", async () => {
    await expect(table(found)).toMatchFileSnapshot(join(root, "docs/internals/selftests.md"));
  });
});
