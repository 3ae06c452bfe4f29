/**
 * docs/errors.md: the error codes from src/core/codes.ts, and the errnos from src/core/hints.ts with the tests that provoke
 * them. `npx vitest run --project unit test/unit/core/errnos.test.ts -u` writes it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { codeMeanings } from "../../../src/core/codes.js";
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

/** The page before the table of errnos. */
const opening = `# Errors

Every error that this library throws on purpose is an \`IovaError\` with a stable \`code\`. Test the class or the code, never the
message. The message says what failed, with which value, and what to do; \`cause\` is the error behind it, if there is one. Errors
keep their class, code and stack on the way from a worker thread of the library.

\`\`\`ts
import { BusyError, IovaError, PciDevice, SysError } from "iova";

try {
  using device = PciDevice.open("0000:00:04.0");
  console.log(device.function.deviceId);
} catch (error) {
  if (error instanceof BusyError) {
    // Something else uses the device: wait for it, or choose another device.
  } else if (error instanceof SysError && error.code === "EACCES") {
    console.error("no permission for", error.object, error.hint);
  } else if (error instanceof IovaError && error.code === "ERR_IOVA_DEVICE_GONE") {
    // The device was removed: open it again when it is back.
  } else {
    throw error;
  }
}
\`\`\`

In the repository, \`test/unit/core/errnos.test.ts\` generates this page from \`src/core/codes.ts\` and \`src/core/hints.ts\`; don't edit it.

## Codes

| code | class | thrown when | try again? |
|---|---|---|---|
`;

const appendix = `
A failed system call is a \`SysError\`: \`code\` is the name of the errno (\`EBUSY\`), \`errno\` its number, \`syscall\` the call or
request, \`object\` what it was made on, and \`hint\` what the errno means there. Some failures have a class of their own instead:

- A request or an option that the kernel or the device doesn't know (ENOTTY or E2BIG of iommufd) is an \`UnsupportedError\`.
- Invalid arguments are an \`ArgumentError\`, and a call in the wrong state is a \`StateError\`, before the kernel is asked.
- Closing an object that is in use is a \`BusyError\`. Using a closed object is a \`ClosedError\`.

## Appendix: errnos of the kernel's requests

| request | errno | meaning | provoked in test/guest/ of the repository |
|---|---|---|---|
`;

function page(): string {
  const codes = Object.entries(codeMeanings).map(
    ([code, { thrownAs, when, retry }]) => `| \`${code}\` | \`${thrownAs}\` | ${when} | ${retry} |\n`,
  );
  const lines: string[] = [];
  for (const entry of hints) {
    const files = [...(found.get(keyOf(entry)) ?? [])].map((file) => `\`${file.slice(11)}\``);
    const proof = files.length > 0 ? files.join(", ") : `not provoked: ${unprovoked[keyOf(entry)]}`;
    lines.push(`| ${entry.request} | ${entry.errno} | ${entry.hint} | ${proof} |`);
  }
  return `${opening}${codes.join("")}${appendix}${lines.join("\n")}\n`;
}

/** Every `ERR_IOVA_*` that a file of src/ mentions. */
function codesInSources(): Set<string> {
  const names = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" });
  const sources = names.filter((file) => file.endsWith(".ts") && file !== join("core", "codes.ts"));
  const texts = sources.map((file) => readFileSync(join(root, "src", file), "utf8"));
  return new Set(
    texts.flatMap((text) => [...text.matchAll(/"(ERR_IOVA_\w+)"/g)].map(([, code]) => code ?? "")),
  );
}

test("the table of codes has exactly the codes that the sources use", () => {
  expect(Object.keys(codeMeanings).sort()).toEqual([...codesInSources()].sort());
});

test("a guest test provokes each hint, or unprovoked.ts says why none can", () => {
  const missing = hints.map(keyOf).filter((key) => !found.has(key) && unprovoked[key] === undefined);
  expect(missing).toEqual([]);
});

test("unprovoked.ts lists only hints that exist and that no test provokes", () => {
  const keys = hints.map(keyOf);
  expect(Object.keys(unprovoked).filter((key) => found.has(key) || !keys.includes(key))).toEqual([]);
});

test("docs/errors.md is up to date", async () => {
  await expect(page()).toMatchFileSnapshot(join(root, "docs/errors.md"));
});
