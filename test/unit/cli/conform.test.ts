/** `iova nvme conform` on the emulated controller: all checks pass, and each fault and oddity is found by the check it breaks. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type CheckResult,
  type ConformOptions,
  conform,
  subjects,
} from "../../../src/cli/nvme/conform/run.js";
import { type FaultKind, type FaultOptions, faultKinds } from "../../../src/emulator/nvme/faults.js";
import {
  type BreakableRule,
  breakableRules,
  type OddControllerOptions,
} from "../../../src/emulator/nvme/host/oddities.js";
import { emulatedFirmware } from "../../../src/emulator/nvme/medium/firmware-image.js";
import type { NvmeEmulatorOptions } from "../../../src/emulator/nvme/options.js";
import { NvmeController, PciDevice } from "../../../src/index.js";
import { MIB, startController, useEmulatedNvme } from "../../support/emulated-nvme.js";
import { compileCli, type IovaCli } from "../../support/iova-cli.js";

useEmulatedNvme();

const options: NvmeEmulatorOptions = {
  sizeBytes: 16 * MIB,
  capacityBytes: 24 * MIB,
  cmbBytes: MIB,
  shortSelfTestMs: 50,
  powerStates: 4,
  sanitizeMs: 500,
};

const firmware = emulatedFirmware({ revision: "TESTED" });

/** What the embedded controller has none of, without options: structures of Identify, MSI, queues in pieces. */
const absent = [
  "queues in pieces (PC 0) work where CAP.CQR is 0",
  "Identify 04h (nvmSets) is whole and the same twice, or not there",
  "Identify 14h (primaryController) is whole and the same twice, or not there",
  "Identify 15h (secondaryControllers) is whole and the same twice, or not there",
  "Identify 16h (namespaceGranularity) is whole and the same twice, or not there",
  "Identify 17h (uuids) is whole and the same twice, or not there",
  "Identify 18h (domains) is whole and the same twice, or not there",
  "a completion interrupts by msi",
];

async function conformOn(address: string, more: Partial<ConformOptions> = {}): Promise<CheckResult[]> {
  using device = PciDevice.open(address);
  return await conform(device, { timeoutMs: 60_000, destroyData: false, firmware, ...more });
}

async function check(odd: OddControllerOptions, more: Partial<ConformOptions>): Promise<CheckResult[]> {
  return await conformOn((await startController({ ...options, odd })).address, more);
}

const failures = (results: readonly CheckResult[]): string[] =>
  results.filter(({ result }) => result === "fail").map(({ name, found }) => `${name}: ${found}`);

const names = subjects.flatMap(({ checks }) => checks.map(({ name }) => name));

describe("a conformance run", () => {
  test("passes on the emulated controller, also if it may destroy data", async () => {
    const results = await conformOn((await startController(options)).address, { destroyData: true });
    expect(failures(results)).toEqual([]);
    expect(results.map(({ name }) => name)).toEqual(names);
    const missing = results.filter(({ result }) => result === "not applicable").map(({ name }) => name);
    expect(missing).toEqual(absent);
  });

  test("changes no data unless it may", async () => {
    const running = await startController(options);
    const pattern = randomBytes(16 * MIB);
    {
      await using nvme = await NvmeController.open(running.address);
      await (await nvme.namespace(1)).write(0n, pattern);
    }
    await conformOn(running.address, { only: "I/O commands" });
    await using nvme = await NvmeController.open(running.address);
    const now = await (await nvme.namespace(1)).read(0n, pattern.length);
    expect(now.equals(pattern)).toBe(true);
  });

  test("has no two checks of one name", () => {
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });
});

const READ = { queue: "io", opcode: 0x02 } as const;
const FLUSH = { queue: "io", opcode: 0x00 } as const;
const readsBlock = "a read of a block writes all of it";
const once = "every command is completed exactly once, whatever the number outstanding";
/** The check that each fault breaks, and what it finds. */
const faults: Readonly<
  Record<FaultKind, readonly [Omit<FaultOptions, "kind">, name: string, found: RegExp]>
> = {
  latency: [{ ...READ, latencyMs: 600_000 }, readsBlock, /the completion of command \d+: not within/],
  drop: [READ, readsBlock, /the completion of command \d+: not within/],
  "wrong-phase": [READ, readsBlock, /has the phase of the last pass/],
  "duplicate-cid": [FLUSH, once, /which isn't outstanding/],
  "unknown-cid": [FLUSH, once, /which isn't outstanding/],
  "wrong-sqid": [FLUSH, once, /names submission queue \d+, not \d+/],
  status: [{ ...READ, status: 0x281 }, readsBlock, /Unrecovered Read Error/],
  "short-data": [{ ...READ, bytes: 100 }, readsBlock, /byte 100 differs/],
  "corrupt-data": [READ, "Compare finds what Read has read, and finds a difference", /Compare Failure/],
  "fail-later": [{ queue: "admin", opcode: 0x14 }, "a short self-test ends without an error", /result \d/],
  "all-ones": [READ, readsBlock, /has gone/],
  remove: [READ, readsBlock, /gone|closed/],
  fatal: [READ, readsBlock, /CSTS\.CFS/],
};

test.each(faultKinds)("finds the fault %s", async (kind) => {
  const [fields, name, found] = faults[kind];
  const running = await startController(options);
  await running.order({ kind: "inject", fault: { kind, ...fields } });
  const isSlow = kind === "latency" || kind === "drop" || kind === "wrong-phase";
  const results = await conformOn(running.address, { only: name, ...(isSlow && { timeoutMs: 1000 }) });
  expect(results).toEqual([
    expect.objectContaining({ name, result: "fail", found: expect.stringMatching(found) }),
  ]);
});

test("finds wrong data of Identify, too", async () => {
  const running = await startController(options);
  await running.order({ kind: "inject", fault: { kind: "corrupt-data", queue: "admin", opcode: 0x06 } });
  const results = await conformOn(running.address, { only: "vendor id" });
  expect(failures(results)).toEqual([expect.stringContaining("and configuration space has 494f")]);
});

/** Faults that only some commands show: what is refused succeeds (status 0), or what succeeds isn't done. */
const moreFaults: readonly (readonly [FaultOptions, name: string, found: RegExp])[] = [
  [success("admin", 0x06), "a list of namespaces after FFFFFFFEh", /got success/],
  [{ ...adminFault("short-data", 0x06), bytes: 100 }, "Identify 06h", /byte 100 differs/],
  [success("admin", 0x02), "a log page from beyond its end", /got success/],
  [success("admin", 0x09), "a feature that isn't saveable", /got success/],
  [{ ...adminFault("drop", 0x08), nth: 2 }, "ACL + 1 Aborts", /the completion of command/],
  [success("admin", 0x01), "a submission queue of one entry", /Invalid Queue Identifier/],
  [success("admin", 0x04), "a completion queue of two submission queues", /got success/],
  [success("admin", 0x80), "a format erases, and keeps", /the data is still there/],
  [success("admin", 0x80), "a format to an LBA format that there isn't", /got success/],
  [success("admin", 0x80), "each LBA format without metadata", /blocks of 512 bytes/],
  [adminFault("fail-later", 0x84), "a sanitize by block erase", /ended with state 3/],
  [success("admin", 0x84), "a sanitize by overwrite", /ended with state 0/],
  [success("admin", 0x84), "the reserved sanitize action 7", /got success/],
  [success("io", 0x02), "while a sanitize operation runs", /read: status 000h/],
  [success("admin", 0x10), "an activation of an empty slot", /got success/],
  [success("admin", 0x10), "a commit of random bytes", /got success/],
  [success("admin", 0x11), "a piece that isn't at a multiple of FWUG", /got success/],
  [success("io", 0x01), "a Write of a block beyond the last", /got success/],
  [{ ...success("io", 0x01), kind: "short-data", bytes: 100 }, "a block is old or new if a reset", /is torn/],
  [success("io", 0x08), "Write Zeroes of as many blocks", /isn't zero/],
  [success("io", 0x19), "Copy copies two ranges", /isn't what was written/],
  [success("io", 0x05), "a Compare over the end", /got success/],
  [success("io", 0x02), "an SGL with a segment of 24 bytes", /got success/],
  [
    { ...success("io", 0x02), kind: "corrupt-data", count: 1 },
    "pages in the controller memory buffer",
    /differs/,
  ],
  [
    { ...success("io", 0x02), kind: "drop", nth: 20 },
    "with the submission queue in the",
    /command \d+: not within/,
  ],
  [
    { ...success("io", 0x02), kind: "wrong-phase", nth: 20 },
    "with the completion queue in the",
    /has the phase of the last pass/,
  ],
  [
    { ...success("io", 0x02), kind: "wrong-sqid", nth: 20 },
    "with both queues in the",
    /names submission queue/,
  ],
  [success("admin", 0x0d), "a namespace that is created is allocated", /the new namespace has the id 0/],
  [success("admin", 0x0d), "a namespace of more than the free capacity", /got success/],
  [success("admin", 0x0d), "a namespace of an LBA format that there isn't", /got success/],
  [success("admin", 0x0d), "a deletion of namespace fffffff0h", /got success/],
  [success("admin", 0x0d), "a deletion of namespace 00000000h", /got success/],
  [success("admin", 0x15), "a namespace holds data while it is attached", /namespace 2 is not active/],
  [success("admin", 0x15), "a namespace can't be attached twice", /got success/],
  [success("admin", 0x10), "an image that the controller takes", /slot 2 is empty after the commit/],
  [success("admin", 0x11), "the pieces of an image may come in any order", /Invalid Firmware Image/],
];

function success(queue: "admin" | "io", opcode: number): FaultOptions {
  return { kind: "status", queue, opcode, status: 0 };
}

function adminFault(kind: FaultKind, opcode: number): FaultOptions {
  return { kind, queue: "admin", opcode };
}

test.each(moreFaults)("finds the fault %j by %j", async (fault, only, found) => {
  const running = await startController(options);
  await running.order({ kind: "inject", fault });
  const results = await conformOn(running.address, { only, destroyData: true, timeoutMs: 2000 });
  expect(results).toEqual([expect.objectContaining({ result: "fail", found: expect.stringMatching(found) })]);
});

/** Each rule that the embedded controller can break, and the check that finds it. */
const rules: Readonly<Record<BreakableRule, string>> = {
  "subsystem-reset": "an NVM subsystem reset leaves a controller that starts",
  "feature-reset": "the feature 01h keeps what was set, if it is changeable, and loses it by a reset",
  "admin-queue-registers": "a reset by CC.EN keeps AQA, ASQ and ACQ",
  "interrupt-mask": "INTMS masks the interrupt pin",
  "event-mask": "after an event there is no other of its type until its log is read",
  "log-offset": "a log page has the same bytes when read from an offset",
};

test.each(breakableRules)("finds a controller that breaks the rule %s", async (rule) => {
  const results = await check({ breaks: [rule] }, { only: rules[rule], destroyData: true, timeoutMs: 2000 });
  expect(failures(results)).toEqual([expect.stringContaining(rules[rule])]);
});

/** Options of a controller that breaks the specification, and the check that finds it. */
const oddities: readonly (readonly [OddControllerOptions, name: string])[] = [
  [{ readyTimeoutMs: 500, readyDelayMs: 600_000 }, "CSTS.RDY follows CC.EN within CAP.TO"],
  [{ mqes: 0 }, "CAP.MQES allows queues of 2 entries or more"],
  [{ mqes: 8191 }, "queues of CAP.MQES + 1 entries work"],
  [{ sqes: 0x77 }, "SQES and CQES allow entries of 64 and 16 bytes"],
  [{ cqes: 0x33 }, "SQES and CQES allow entries of 64 and 16 bytes"],
  [{ classCode: 0x010700 }, "the class code is 010802h"],
  [{ quietMs: 600_000 }, "CSTS.RDY follows CC.EN within CAP.TO"],
  [{ initMs: 600_000 }, "CSTS.RDY follows CC.EN within CAP.TO"],
  [{ queueDelayMs: 600_000 }, "a command in a queue works right after its creation"],
  [{ adminEntriesUnit: 64 }, "an admin queue of 2 entries works"],
  [{ refusesUrgent: true }, "submission queues of each priority"],
  [{ refusedCns: [3] }, "a namespace has identification descriptors"],
  [{ stripeLog2: 5 }, "a read of MDTS succeeds"],
  [{ oneCommand: true }, "fifteen reads at once"],
  [{ entryBytes: 128 }, "fifteen reads at once"],
  [{ sharedIds: true }, "the id of an admin command that is outstanding"],
  [{ workingVectors: 2 }, "each vector interrupts for its queue"],
  [{ workingVectors: 2 }, "a vector that its entry of the MSI-X table masks is pending"],
  [{ workingVectors: 2 }, "a vector is pending while Function Mask of MSI-X is set"],
  [{ deadMsi: true }, "a completion interrupts by msi"],
  [{ refusesSgl: true }, "a read by an SGL data block"],
  [{ dmaBits: 46 }, "a read by an address above 4 GiB"],
  [{ refusedAdmin: [0x18] }, "Keep Alive succeeds"],
  [{ failsInDeepestPowerState: true }, "the controller enters each of its power states"],
  [{ temperatureWarningStays: true }, "a temperature threshold above the temperature"],
];

test.each(oddities)("finds a controller with %j", async (odd, only) => {
  const results = await check(odd, { only, timeoutMs: 2000 });
  expect(failures(results)).toEqual([expect.stringContaining(only)]);
});

test.each<readonly [OddControllerOptions, only: string]>([
  [{ version: "1.0" }, ""],
  [{ doorbellStrideBytes: 64 }, "queues:"],
  [{ shallowEntries: 32 }, "queues:"],
])("finds nothing wrong with a controller that is only different: %j", async (odd, only) => {
  expect(failures(await check(odd, { only }))).toEqual([]);
});

describe("iova nvme conform", () => {
  let cli: IovaCli;
  let folder: string;
  beforeAll(() => {
    cli = compileCli();
    folder = mkdtempSync(join(tmpdir(), "iova-conform-"));
  });
  afterAll(() => {
    cli[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test("prints each check, writes a page, and ends with status 1 if one fails", async () => {
    const { address } = await startController({ ...options, odd: { mqes: 0 } });
    const page = join(folder, "page.html");
    const args = ["nvme", "conform", address, "--only", "CAP", "--html", page];
    const { status, stdout, stderr } = await cli.run(args);
    expect(stderr).toBe("");
    expect(status).toBe(1);
    expect(stdout).toContain(
      "FAIL  registers: CAP.MQES allows queues of 2 entries or more: CAP.MQES 0 [Base:",
    );
    expect(stdout).toMatch(/\d+ checks: \d+ failed, \d+ passed, \d+ not applicable/);
    expect(readFileSync(page, "utf8")).toContain(
      '<td class="text bad">fail</td><td class="text wide">CAP.MQES allows queues',
    );
  });

  test("a page that can't be made fails before anything is done, a full disk after the results", async () => {
    const { address } = await startController(options);
    const args = ["nvme", "conform", address, "--only", "CAP", "--html"];
    expect(await cli.run([...args, "/nowhere/page.html"])).toMatchObject({
      ...{ status: 2, stdout: "" },
      stderr: expect.stringMatching(/^iova: --html: ENOENT[^\n]*\n$/),
    });
    expect(await cli.run([...args, "/dev/full"])).toMatchObject({
      ...{ status: 1, stdout: expect.stringContaining(" checks: ") },
      stderr: expect.stringMatching(/^iova: --html: writing \/dev\/full: ENOSPC[^\n]*\n$/),
    });
  });

  test("prints JSON, and status 0 if all pass", async () => {
    const { address } = await startController(options);
    expect(await cli.json("nvme", "conform", address, "--only", "registers")).toMatchObject({
      target: address,
      failed: 0,
      checks: expect.arrayContaining([
        {
          subject: "registers",
          name: "the class code is 010802h",
          section: expect.any(String),
          result: "pass",
        },
      ]),
    });
  });

  test("puts an image of firmware into a spare slot, and refuses one that it can't send", async () => {
    const { address } = await startController(options);
    const file = join(folder, "firmware.bin");
    const args = ["nvme", "conform", address, "--only", "an image that", "--firmware", file];
    writeFileSync(file, firmware);
    const early = await cli.run(args);
    expect(early).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("--firmware needs --destroy-data"),
    });
    const destroys = [...args, "--destroy-data", "--yes", "--force"];
    const { status, stdout } = await cli.run(destroys);
    expect(stdout).toContain("before its activation: slot 2 has TESTED");
    expect(status).toBe(0);
    writeFileSync(file, firmware.subarray(2));
    const odd = await cli.run(destroys);
    expect(odd).toMatchObject({ status: 2, stderr: expect.stringContaining("no multiple of 4") });
  });

  test("refuses to destroy data without a terminal to ask on", async () => {
    const { status, stderr } = await cli.run(["nvme", "conform", "vfio-user:/nowhere", "--destroy-data"]);
    expect(status).toBe(2);
    expect(stderr).toContain("add --yes");
  });
});
