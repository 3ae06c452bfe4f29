/** Parsers of a host's files never throw, whatever the files hold: random bytes, and damaged files of real hosts. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { kernelBoolean, parseCommandLine } from "../../../src/host/facts/command-line.js";
import { containerOfCgroup } from "../../../src/host/facts/container.js";
import { hasMsix } from "../../../src/host/facts/device.js";
import { parseDeviceRules } from "../../../src/host/facts/device-rules.js";
import { parseOsRelease } from "../../../src/host/facts/distribution.js";
import { readHostFacts } from "../../../src/host/facts/facts.js";
import { chosenWord } from "../../../src/host/facts/huge-pages.js";
import { parseDmar, parseInterrupts } from "../../../src/host/facts/iommu.js";
import { parseKernelConfig, unpackConfig } from "../../../src/host/facts/kernel-config.js";
import { parseKernelVersion } from "../../../src/host/facts/kernel-version.js";
import {
  parseLimitsConf,
  parseSystemdConf,
  parseSystemdSize,
} from "../../../src/host/facts/limit-settings.js";
import { parseModprobe } from "../../../src/host/facts/modprobe.js";
import { parseLoadedModules, parseModuleList } from "../../../src/host/facts/modules.js";
import { parseMounts } from "../../../src/host/facts/mounts.js";
import { acsOf } from "../../../src/host/facts/neighbours.js";
import { parseProcessLimits } from "../../../src/host/facts/process-limits.js";
import { libcOfMaps } from "../../../src/host/facts/runtime.js";
import { parseCapabilities } from "../../../src/host/facts/users.js";
import { parseGroup, parsePasswd } from "../../../src/host/names/files.js";
import { alpine, arch, container, debian, fedora, ubuntuArm } from "../../support/example-hosts.js";
import { hostTree, type TreeFile, type TreeFiles } from "../../support/host-tree.js";

const ofText: readonly ((text: string) => unknown)[] = [
  parseCapabilities,
  kernelBoolean,
  parseCommandLine,
  containerOfCgroup,
  parseDeviceRules,
  parseOsRelease,
  chosenWord,
  parseInterrupts,
  parseKernelConfig,
  parseKernelVersion,
  (text) => parseLimitsConf(text, "/f"),
  (text) => parseSystemdConf(text, "/f"),
  parseSystemdSize,
  (text) => parseModprobe(text, "/f"),
  parseLoadedModules,
  parseModuleList,
  parseMounts,
  parseProcessLimits,
  libcOfMaps,
  parseGroup,
  parsePasswd,
];

const hosts = [debian, fedora, arch, alpine, ubuntuArm, container];
const texts = hosts.flatMap((host) => Object.values(host).filter((file) => typeof file === "string"));

/** A text of some host with a piece replaced. */
const damaged = fc
  .record({
    text: fc.constantFrom(...texts),
    at: fc.nat(200),
    length: fc.nat(40),
    piece: fc.string({ unit: "binary" }),
  })
  .map(({ text, at, length, piece }) => text.slice(0, at) + piece + text.slice(at + length));

test("parsers of text take random and damaged texts", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary", maxLength: 300 }), damaged), (text) => {
      for (const parse of ofText) parse(text);
    }),
    { numRuns: 300 },
  );
});

test("parsers of bytes take random bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      hasMsix(bytes);
      acsOf(bytes);
      parseDmar(bytes);
      unpackConfig(bytes);
      unpackConfig(Uint8Array.of(0x1f, 0x8b, ...bytes));
    }),
    { numRuns: 300 },
  );
});

test("a parser of text takes long texts of the same characters", () => {
  const long = ["a", " ", "\n", "=", "[", '"', "\\", ":", "/", "a=", "\\\n", "options a "].map((text) =>
    text.repeat(20_000),
  );
  for (const text of long) for (const parse of ofText) parse(text);
  expect(long).toHaveLength(12);
});

test("a host has facts, whichever of its files are damaged or missing", () => {
  const mutation = fc.record({
    host: fc.constantFrom(...hosts),
    seed: fc.nat(),
    junk: fc.uint8Array({ maxLength: 60 }),
  });
  fc.assert(
    fc.property(mutation, ({ host, seed, junk }) => {
      const files: Record<string, TreeFile> = {};
      Object.entries(host satisfies TreeFiles).forEach(([path, file], i) => {
        const fate = (seed + i * 7) % 5;
        if (fate === 0) return;
        files[path] = fate === 1 && typeof file === "string" && !path.endsWith("/") ? junk : file;
      });
      using tree = hostTree(files);
      expect(readHostFacts(tree.root, []).options.length).toBeGreaterThan(0);
    }),
    { numRuns: 8 },
  );
});
