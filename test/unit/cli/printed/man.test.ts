/** The man page: groff takes it without a warning, and prints every command, and the options of all but the subcommands. */
import { spawnSync } from "node:child_process";
import { beforeEach, describe, expect, test } from "vitest";
import { descriptions } from "../../../../src/cli/described/all.js";
import { nvmeDescriptions } from "../../../../src/cli/described/nvme.js";
import { manPage } from "../../../../src/cli/printed/man.js";
import { skipWithout } from "../../../support/needs.js";

const page = manPage("1.2.3-rc.1");

function groff(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("groff", ["-man", "-Tutf8", "-ww", ...args], {
    input: page,
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

describe("the man page, by groff", () => {
  beforeEach((context) => skipWithout(context, "groff"));

  test("has no mistakes that groff warns of", () => {
    groff("-z");
  });

  test("prints commands, options and texts as they are described", () => {
    // Without underlining, bold and broken lines.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: groff prints them
    const text = groff("-P-c", "-P-b", "-P-u", "-rLL=4000n").replace(/.\x08/g, "").replace(/\s+/g, " ");
    for (const { name, summary } of nvmeDescriptions) {
      expect(text).toContain(`iova ${name}`);
      expect(text).toContain(summary);
    }
    for (const { name, summary, options, examples } of descriptions) {
      expect(text).toContain(`iova ${name}`);
      expect(text).toContain(summary.slice(1));
      for (const [option, { text: meaning }] of Object.entries(options)) {
        expect(text).toContain(`--${option}`);
        expect(text).toContain(meaning);
      }
      for (const { command } of examples) expect(text).toContain(command);
    }
  });
});

test("a line of text is never a request of roff", () => {
  const requests = page.split("\n").filter((line) => /^[.']/.test(line));
  expect(requests.filter((line) => !/^\.(TH|SH|SS|PP|TP|B|I|br)\b/.test(line))).toEqual([]);
});
