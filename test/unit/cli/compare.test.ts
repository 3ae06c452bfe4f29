/** `iova compare`: its options, and how the program ends. */
import { afterAll, describe, expect, test } from "vitest";
import { parseCompareOptions } from "../../../src/cli/compare.js";
import { ConfigError } from "../../../src/core/errors.js";
import { compileTree } from "../../support/compiled.js";
import { runNode } from "../../support/run.js";

describe("the options of iova compare", () => {
  test("compare takes no options, or all of them", () => {
    expect(parseCompareOptions([])).toMatchObject({
      bdf: undefined,
      guest: false,
      quick: false,
      json: false,
    });
    expect(parseCompareOptions(["00:03.0", "--quick", "--json", "--html", "x.html"])).toMatchObject({
      bdf: "0000:00:03.0",
      quick: true,
      json: true,
      html: "x.html",
    });
  });

  test.each([
    [["a", "b"], "one BDF"],
    [["not-a-bdf"], "not-a-bdf"],
    [["--html"], "--html"],
    [["--html", ""], "name of a file"],
    [["--fast"], "--fast"],
    [["--quick=yes"], "--quick"],
    [["0000:00:03.0", "--guest"], "leave the BDF out"],
  ])("compare rejects the arguments %j", (argv, reason) => {
    expect(() => parseCompareOptions(argv)).toThrow(ConfigError);
    expect(() => parseCompareOptions(argv)).toThrow(reason);
  });
});

describe("iova compare as a program", () => {
  const tree = compileTree("src/cli/main.ts");
  afterAll(() => tree[Symbol.dispose]());
  const iova = (...args: string[]) => runNode(tree.file("src/cli/main.ts"), ...args);

  test("compare --help prints its options, and iova help names compare", async () => {
    const { status, stdout, stderr } = await iova("compare", "--help");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    for (const word of ["--guest", "--quick", "--json", "--html FILE"]) expect(stdout).toContain(word);
    expect((await iova("help")).stdout).toContain("compare [BDF]");
  });

  test.each([
    [["--fast"], 2, "--fast"],
    [["--html", "/nowhere/to/be/found.html"], 2, "ENOENT"],
    [["ffff:ff:1f.7"], 1, "there is no PCI device ffff:ff:1f.7"],
  ])("compare %j ends with one line and status %i", async (args, expected, reason) => {
    const { status, stdout, stderr } = await iova("compare", ...args);
    expect({ status, stdout }).toEqual({ status: expected, stdout: "" });
    expect(stderr).toMatch(/^iova: [^\n]+\n$/);
    expect(stderr).toContain(reason);
  });
});
