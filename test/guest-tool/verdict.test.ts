/** What `npm test` says at its end of a run of vitest. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Verdict } from "../verdict.js";
import { reporters, VITEST } from "../vitest.js";

const PROGRAMS = {
  "an error outside its tests": `
    import { test } from "vitest";
    test("passes", () => void Promise.reject(new Error("nobody caught this")));`,
  "a process that crashed": `
    import { test } from "vitest";
    test("passes", () => {});
    test("ends the process", () => process.kill(process.pid, "SIGSEGV"));`,
  "a test that failed": `
    import { expect, test } from "vitest";
    test("passes", () => {});
    test("fails", () => { expect(1).toBe(2); });`,
  "no problem": `
    import { test } from "vitest";
    test("passes", () => {});`,
  "a test that was skipped": `
    import { test } from "vitest";
    test("passes", () => {});
    test("needs a shell", (context) => context.skip("this machine has none"));
    test.skip("says nothing", () => {});`,
};

describe("the verdict on a run of vitest", () => {
  let folder: string;
  beforeAll(() => {
    // Below the project: vitest resolves its own name from here.
    mkdirSync("dist", { recursive: true });
    folder = mkdtempSync(resolve("dist", "verdict-"));
    writeFileSync(
      join(folder, "vitest.config.mjs"),
      'export default { test: { include: ["*.test.mjs"], pool: "forks" } };',
    );
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function runOf(
    name: keyof typeof PROGRAMS,
    maySkip: boolean,
  ): { status: number | null; isGood: boolean; text: string } {
    writeFileSync(join(folder, "sum.test.mjs"), PROGRAMS[name]);
    const report = join(folder, "report.json");
    const config = ["--root", folder, "--config", join(folder, "vitest.config.mjs")];
    const { status } = spawnSync(process.execPath, [VITEST, "run", ...config, ...reporters(report)], {
      encoding: "utf8",
    });
    const printed = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const verdict = new Verdict();
    verdict.count("the suite", report);
    const isGood = verdict.conclude({ maySkip });
    const text = printed.mock.calls.map(([chunk]) => String(chunk)).join("");
    printed.mockRestore();
    return { status, isGood, text };
  }

  test("names each test that was skipped and the reason, and fails in CI", () => {
    const elsewhere = runOf("a test that was skipped", true);
    expect(elsewhere.isGood).toBe(true);
    expect(elsewhere.text.match(/^skipped: .*/gm)).toEqual([
      "skipped: needs a shell: this machine has none",
      "skipped: says nothing: no reason is given",
    ]);
    const ci = runOf("a test that was skipped", false);
    expect(ci.isGood).toBe(false);
    expect(ci.text).toMatch(/^problem: in CI nothing may be skipped$/m);
  });

  test.each<[keyof typeof PROGRAMS, RegExp[]]>([
    ["an error outside its tests", [/^the suite, outside its tests: nobody caught this$/m]],
    [
      "a process that crashed",
      [/^the suite ran no test$/m, /^the suite, outside its tests: .*Worker .*exited unexpectedly/m],
    ],
    ["a test that failed", [/sum\.test\.mjs: fails\n.*AssertionError: expected 1 to be 2/]],
    ["no problem", []],
  ])("says what went wrong after %s", (name, problems) => {
    const { status, isGood, text } = runOf(name, true);
    expect(isGood).toBe(status === 0);
    expect(isGood).toBe(problems.length === 0);
    expect(text.match(/^problem: /gm) ?? []).toHaveLength(problems.length);
    for (const problem of problems) expect(text.replace(/^problem: /gm, "")).toMatch(problem);
  });
});
