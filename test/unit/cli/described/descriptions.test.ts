/** The descriptions of commands: complete, true to what the programs take, and without the library. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { sourceGraph } from "../../../../build/source-graph.js";
import { packageRoot } from "../../../../guest/paths.js";
import { parseCommandLine } from "../../../../src/cli/command-line.js";
import { descriptions, findDescription } from "../../../../src/cli/described/all.js";
import { backendNames } from "../../../../src/cli/described/common.js";
import type { CommandDescription } from "../../../../src/cli/described/description.js";
import { emulateDescription } from "../../../../src/cli/described/emulate.js";
import { featureDescription } from "../../../../src/cli/described/nvme/feature.js";
import { identifyDescription, logDescription } from "../../../../src/cli/described/nvme/information.js";
import { perfDescription } from "../../../../src/cli/described/nvme/perf.js";
import { zoneReportOptions } from "../../../../src/cli/described/nvme/zns.js";
import { nvmeDescriptions } from "../../../../src/cli/described/nvme.js";
import { structures } from "../../../../src/cli/nvme/commands/identify.js";
import { namedLogs } from "../../../../src/cli/nvme/commands/log-pages.js";
import { reportedStates } from "../../../../src/cli/nvme/commands/zones.js";
import { workloads } from "../../../../src/cli/nvme/perf/queue.js";
import { helpText, overviewText } from "../../../../src/cli/printed/help.js";
import { emulatedDeviceNames } from "../../../../src/emulator/worker.js";
import { FeatureSelect } from "../../../../src/nvme/spec/opcodes.js";
import { allBackendNames } from "../../../../src/pci/open.js";

const all: readonly CommandDescription[] = [...descriptions, ...nvmeDescriptions];

describe.each(all.map((each) => [each.name, each] as const))("the description of %s", (name, description) => {
  test("each option is parsed, and explained by --help", () => {
    const help = helpText(description);
    for (const [option, { type, text, ...more }] of Object.entries(description.options)) {
      const values = parseCommandLine(
        description,
        type === "boolean" ? [`--${option}`] : [`--${option}=1`],
      ).values;
      expect(values).toHaveProperty([option]);
      expect(help).toContain(`--${option}`);
      expect(text).not.toMatch(/[^.]\.$/);
      if ("argument" in more) expect(help).toMatch(new RegExp(`--${option}[ =]${more.argument}`));
    }
  });

  test("--help has usage, examples and statuses, in lines that fit a terminal", () => {
    const help = helpText(description);
    expect(help).toMatch(new RegExp(`^Usage: iova ${name}\\b`));
    for (const { command } of description.examples) expect(help).toContain(command);
    expect(help).toMatch(/Exit status:\n {2}0 {2}.+\n {2}1 {2}.+\n {2}2 {2}.+\n$/);
    expect(help.split("\n").filter((line) => line.length > 100)).toEqual([]);
  });

  test("its examples are of commands that there are, with their options", () => {
    expect(description.examples.length).toBeGreaterThan(0);
    for (const { command } of description.examples) {
      const [program, first = "", second, ...rest] = command.split(/ [|>] /, 1)[0]?.split(" ") ?? [];
      expect(program).toBe("iova");
      const found = findDescription(first, first === "nvme" ? second : undefined);
      if (found === undefined) throw new Error(`no command for the example: ${command}`);
      const words = first === "nvme" ? rest : second === undefined ? [] : [second, ...rest];
      expect(() => parseCommandLine(found, words)).not.toThrow();
    }
  });
});

test("iova help lists each command with its summary", () => {
  const help = overviewText();
  for (const { name, summary } of descriptions) {
    expect(help).toMatch(new RegExp(`^ {2}${name}\\b`, "m"));
    expect(help.replace(/\s+/g, " ")).toContain(summary);
  }
});

test("the help of nvme lists each subcommand with its summary, and the names of nvme-cli lead to them", () => {
  const nvme = findDescription("nvme");
  if (nvme === undefined) throw new Error("no description of nvme");
  const help = helpText(nvme).replace(/\s+/g, " ");
  for (const each of nvmeDescriptions) {
    expect(help).toContain(each.summary);
    for (const alias of Object.keys(each.aliases ?? {})) expect(findDescription("nvme", alias)).toBe(each);
  }
});

test("lists of words are those of the library", () => {
  const offerOf = (description: CommandDescription, option: string): unknown => {
    const found = description.options[option];
    return found !== undefined && "offer" in found ? found.offer : undefined;
  };
  expect(backendNames).toEqual(allBackendNames);
  expect(emulateDescription.offers[0]).toEqual(emulatedDeviceNames);
  expect(offerOf(featureDescription, "sel")).toEqual(Object.keys(FeatureSelect));
  expect(offerOf(perfDescription, "workload")).toEqual(workloads);
  expect(zoneReportOptions.state.offer).toEqual(Object.keys(reportedStates));
  expect(logDescription.offers[0]).toEqual(Object.keys(namedLogs));
  expect(Object.keys(identifyDescription.aliases)).toEqual(Object.keys(structures));
});

test("descriptions, and what prints them, import nothing of the library", () => {
  const graph = sourceGraph(join(packageRoot(), "src"));
  const inside = /^cli\/(?:described|printed)\//;
  for (const [file, targets] of graph)
    if (inside.test(file)) expect(targets.filter((target) => !inside.test(target))).toEqual([]);
});

test("docs/cli.md has each command", () => {
  const page = readFileSync(join(packageRoot(), "docs", "cli.md"), "utf8");
  for (const { name } of descriptions) expect(page).toMatch(new RegExp(`^\\| \`iova ${name}\\b`, "m"));
});

test("docs/nvme-cli.md has each subcommand of nvme, and the names of nvme-cli that lead to it", () => {
  const page = readFileSync(join(packageRoot(), "docs", "nvme-cli.md"), "utf8");
  for (const { name, aliases = {} } of nvmeDescriptions)
    for (const each of [name.replace("nvme ", ""), ...Object.keys(aliases)])
      expect(page).toMatch(new RegExp(`\`${each}\\b`));
});
