/**
 * What each errno of each request means: docs/errors.md, made from src/core/hints.ts and from the tests that provoke it.
 * `npx vitest run --project unit test/unit/core/errnos.test.ts -u` writes it anew.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { allHints } from "../../../src/core/hints.js";
import { unprovoked } from "../../support/unprovoked.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Test files by request and errno: those that name both, one after the other, as what they expect. */
function testsByErrno(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const names = readdirSync(join(root, "test/guest"), { recursive: true, encoding: "utf8" });
  for (const name of names.filter((file) => file.endsWith(".test.ts")).sort()) {
    const file = join("test/guest", name);
    const text = readFileSync(join(root, file), "utf8");
    for (const [, request, errno] of text.matchAll(/"((?:IOMMU|VFIO|UDMABUF)_\w+)",\s*"(E\w+)"/g)) {
      const key = `${request} ${errno}`;
      found.set(key, (found.get(key) ?? new Set()).add(file));
    }
  }
  return found;
}

const found = testsByErrno();
const hints = allHints();
const keyOf = ({ request, errno }: { request: string; errno: string }): string => `${request} ${errno}`;

function table(): string {
  const lines = [
    "# What the kernel's errnos mean",
    "",
    "Every failed request is a `SysError` with `syscall`, `code` (the errno's name), `object` and `hint`: what is said here.",
    "ENOTTY and E2BIG of an iommufd, and what a device or kernel has not, are an `UnsupportedError`; arguments that can't be",
    "right are an `ArgumentError` before the kernel is asked; a call in the wrong state is a `StateError`, one on something",
    "closed a `ClosedError`, and closing what is in use a `BusyError`.",
    "",
    "Made from `src/core/hints.ts` by `test/unit/core/errnos.test.ts`; don't edit.",
    "",
    "| request | errno | means | provoked in |",
    "|---|---|---|---|",
  ];
  for (const entry of hints) {
    const files = [...(found.get(keyOf(entry)) ?? [])].map((file) => `[${file.slice(11)}](../${file})`);
    const proof = files.length > 0 ? files.join(", ") : `not provoked: ${unprovoked[keyOf(entry)]}`;
    lines.push(`| ${entry.request} | ${entry.errno} | ${entry.hint} | ${proof} |`);
  }
  return `${lines.join("\n")}\n`;
}

describe("what an errno means", () => {
  test("is said only where a test provokes it, or where it is known why none can", () => {
    const missing = hints.map(keyOf).filter((key) => !found.has(key) && unprovoked[key] === undefined);
    expect(missing).toEqual([]);
  });

  test("is not excused where a test provokes it after all, or where nothing is said", () => {
    const keys = hints.map(keyOf);
    expect(Object.keys(unprovoked).filter((key) => found.has(key) || !keys.includes(key))).toEqual([]);
  });

  test("stands in docs/errors.md", async () => {
    await expect(table()).toMatchFileSnapshot(join(root, "docs/errors.md"));
  });
});
