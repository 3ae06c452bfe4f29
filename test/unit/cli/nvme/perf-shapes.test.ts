/** `iova nvme perf` with commands that differ: mixes, sizes, SGLs, protection, rates and verified data, on emulated controllers. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LatencyHistogram } from "../../../../src/cli/nvme/perf/histogram.js";
import { steadiness } from "../../../../src/cli/nvme/perf/monitor.js";
import { type CompiledTree, compileTree } from "../../../support/compiled.js";
import { MIB, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { type Outcome, runNode } from "../../../support/run.js";
import { checkWellFormed } from "../../../support/well-formed.js";

useEmulatedNvme();

let tree: CompiledTree;
const folder = mkdtempSync(join(tmpdir(), "iova-perf-"));
beforeAll(() => {
  tree = compileTree("src/cli/main.ts", "src/cli/nvme/perf/worker.ts", "src/sys/numa.ts");
});
afterAll(() => {
  tree[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function perf(...args: readonly string[]): Promise<Outcome> {
  const times = ["-t", "0.3", "--warmup", "0.05", "--yes"];
  return await runNode(tree.file("src/cli/main.ts"), "nvme", "perf", ...times, ...args);
}

/** The JSON of a run that succeeds. */
async function measured(...args: readonly string[]) {
  const { stdout, ...rest } = await perf(...args, "--json");
  expect(rest).toEqual({ status: 0, signal: null, stderr: "" });
  return JSON.parse(stdout);
}

describe("what perf finds of numbers", () => {
  test("equal rates are steady, and others vary and drift in percent of their mean", () => {
    expect(steadiness([5, 5, 5, 5])).toEqual({ variation: 0, drift: 0 });
    expect(steadiness([90, 110, 90, 110]).variation).toBeCloseTo(10);
    const rising = steadiness([90, 95, 100, 105, 110]);
    expect([rising.variation, rising.drift]).toEqual([10, 20]);
    expect(steadiness([0, 0]).variation).toBeNaN();
  });

  test("the powers of a histogram count each latency once, from the shortest to the longest", () => {
    const histogram = new LatencyHistogram();
    for (const ns of [1000, 1023, 1024, 5000, 5000]) histogram.record(ns);
    expect(histogram.powers).toEqual([
      { belowNs: 1024, count: 2 },
      { belowNs: 2048, count: 1 },
      { belowNs: 4096, count: 0 },
      { belowNs: 8192, count: 2 },
    ]);
    expect(new LatencyHistogram().powers).toEqual([]);
  });
});

test("perf mixes reads and writes of several sizes, and tells them apart", async () => {
  const { address } = await startController();
  const mix = ["-w", "randrw", "--rwmixread", "80", "--bssplit", "512/50:8k/50", "-q", "32"];
  const { iops, mib_per_second, reads, writes, io_sizes, read_percent } = await measured(address, ...mix);
  expect({ io_sizes, read_percent }).toEqual({
    io_sizes: [
      { bytes: 512, percent: 50 },
      { bytes: 8192, percent: 50 },
    ],
    read_percent: 80,
  });
  expect(reads.iops / iops).toBeGreaterThan(0.65);
  expect(reads.iops / iops).toBeLessThan(0.95);
  expect(reads.iops + writes.iops).toBeCloseTo(iops, 0);
  const mean = (mib_per_second * MIB) / iops;
  expect(mean).toBeGreaterThan(2000);
  expect(mean).toBeLessThan(7000);
});

const protections = [
  ["none", {}, []],
  ["SGLs", {}, ["--sgl"]],
  ["blocks of 4 KiB", { blockSizeBytes: 4096 as const }, ["--sgl", "-o", "64k"]],
  ["separate metadata", { metadataBytes: 16 as const }, []],
  ["protection by the controller", { metadataBytes: 8 as const, protection: 1 }, ["--prinfo", "15"]],
  ["protection by the host", { metadataBytes: 8 as const, protection: 1 }, ["--prinfo", "7"]],
  [
    "interleaved protection by the host",
    { metadataBytes: 8 as const, protection: 2, extendedMetadata: true },
    ["--prinfo", "5", "--sgl"],
  ],
  [
    "a guard of 64 bits in more metadata",
    {
      blockSizeBytes: 4096 as const,
      metadataBytes: 64 as const,
      protection: 3,
      guardBits: 64 as const,
      protectionFirst: true,
    },
    ["--prinfo", "6"],
  ],
  ["doorbells by message", { doorbells: "messages" as const }, []],
  ["interrupts", {}, ["--interrupts", "--rate-iops", "100000"]],
] as const;

test.each(protections)("perf verifies what it writes, with %s", async (_, options, args) => {
  const { address } = await startController({ sizeBytes: 4 * MIB, ...options });
  const shape = ["-w", "randrw", "-q", "8", "--queues", "2", "--verify", ...args];
  const { ios, verified } = await measured(address, ...shape);
  expect(verified).toBe(true);
  expect(ios).toBeGreaterThan(0);
});

test("perf finds a write that never reached the medium", async () => {
  // Reported as a success: one of the writes before the measurement.
  const fault = { kind: "status", queue: "io", nth: 20, status: 0 } as const;
  const { address } = await startController({ sizeBytes: MIB, faults: [fault] });
  const { status, stdout, stderr } = await perf(address, "--verify", "-q", "4", "--force");
  expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
  // The 8 blocks of that write, each once although it is read again and again.
  expect(stdout).toMatch(/^wrong blocks +: 8$/m);
  const shown = [...stdout.matchAll(/^ +: block (\d+): 0x0 at byte 0, not 0x[1-9a-f][0-9a-f]*$/gm)];
  const lbas = shown.map(([, lba]) => Number(lba)).sort((a, b) => a - b);
  expect(lbas).toEqual(Array.from({ length: 8 }, (_, at) => (lbas[0] ?? 0) + at));
});

test("perf goes on after a wrong word, and tells the first few of many wrong blocks of each controller", async () => {
  const fault = { kind: "corrupt-data", queue: "io", opcode: 0x02 } as const;
  const bad = await startController({ sizeBytes: MIB, faults: [fault] });
  const good = await startController({ sizeBytes: MIB });
  const args = ["--verify", "-q", "4", "--force", "--json"];
  const { status, stdout, stderr } = await perf(bad.address, good.address, ...args);
  expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
  const { ios, devices } = JSON.parse(stdout);
  expect(ios).toBeGreaterThan(0);
  const [first, second] = devices;
  // A bit of the first byte of each read of 8 blocks, and the check after the run reads everything.
  expect(first.wrong_blocks).toBe(256);
  expect(first.wrong).toHaveLength(8);
  for (const { lba, byte, found, expected } of first.wrong) {
    expect([lba % 8, byte]).toEqual([0, 0]);
    expect(((found ^ expected) & ~0xff) >>> 0).toBe(0);
    expect(found).not.toBe(expected);
  }
  expect(second).toMatchObject({ wrong_blocks: 0, wrong: [] });
});

test("perf measures several controllers together, and says what each did", async () => {
  const addresses = [(await startController()).address, (await startController()).address];
  const { devices, iops, target } = await measured(...addresses, "-q", "4");
  expect(target).toBe(addresses.join(" "));
  expect(devices.map((each: { target: string }) => each.target)).toEqual(addresses);
  expect(devices[0].iops + devices[1].iops).toBeCloseTo(iops, 0);
  expect(Math.min(devices[0].iops, devices[1].iops)).toBeGreaterThan(0);
});

test.each([
  ["--rate-iops", "300"],
  ["--rate", "1200k"],
])("perf stays below %s %s", async (...rate) => {
  const { address } = await startController();
  const { iops } = await measured(address, "-q", "16", ...rate);
  expect(iops).toBeGreaterThan(0);
  expect(iops).toBeLessThan(600);
});

test("perf warms up until the rate is steady or for twenty windows, and says which", async () => {
  const { address } = await startController();
  const { steady_state } = await measured(address, "-q", "4", "--steady-state", "100", "--ss-dur", "0.2");
  // A busy machine may never be steady.
  const { reached, variation, drift } = steady_state;
  expect(reached).toBe(variation <= 100 && Math.abs(drift) <= 100);
});

test("perf prints a histogram, and writes a page with charts", async () => {
  const { address } = await startController();
  const file = join(folder, "perf.html");
  const { stdout, stderr } = await perf(address, "-w", "randrw", "-q", "4", "--histogram", "--html", file);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^reads +: \d+ IOPS, latency mean/m);
  expect(stdout).toMatch(/^ *[\d.]+ [µm]s +[\d,]+ +[\d.]+ % +#+$/m);
  const html = readFileSync(file, "utf8");
  expect(checkWellFormed(html)).toBeGreaterThan(50);
  for (const part of ["IOPS over time", "Latency by percentile", "How latencies are spread"])
    expect(html).toContain(`<h3>${part}</h3>`);
  expect(html).not.toMatch(/NaN|Infinity|undefined/);
});

test("perf keeps its threads on processors", async () => {
  const { address } = await startController();
  const [cpu = ""] =
    /\d+/.exec(readFileSync("/proc/self/status", "utf8").split("Cpus_allowed_list:")[1] ?? "") ?? [];
  await measured(address, "--queues", "2", "--cpus", cpu);
  const { status, stderr } = await perf(address, "--cpus", "1000");
  expect(status).toBe(1);
  expect(stderr).toMatch(/there is no processor 1000 for this process: [-0-9,]+ are online/);
  // Before anything is opened: nobody is there.
  const nobody = await perf("vfio-user:/nowhere", "--cpus", `${cpu},1000`, "-w", "write");
  expect(nobody).toMatchObject({ status: 1, stderr });
  const program = `import { pinThread } from ${JSON.stringify(tree.file("src/sys/numa.ts"))};
    import { readFileSync } from "node:fs"; pinThread(${cpu});
    process.stdout.write(/Cpus_allowed_list:\\s*(.*)/.exec(readFileSync("/proc/thread-self/status", "utf8"))[1]);`;
  expect((await runNode("--input-type=module", "-e", program)).stdout).toBe(cpu);
});

test.each([
  { args: ["--prinfo", "8"], problem: /namespace 1 has no protection/ },
  { args: ["--size", "8M"], problem: /namespace 1 has 2048 blocks of 512 bytes/ },
  { args: ["--size", "4k", "-o", "8k"], problem: /8192 bytes in 4096/ },
  { args: ["--verify", "-q", "255"], problem: /--verify needs a --size from 2088960 to/ },
  { args: ["--html", "/nowhere/page.html"], problem: /--html: ENOENT/ },
])("perf rejects $args with one line", async ({ args, problem }) => {
  const { address } = await startController({ sizeBytes: MIB });
  const { status, stdout, stderr } = await perf(address, ...args);
  expect(stdout).toBe("");
  expect(status).not.toBe(0);
  expect(stderr).toMatch(problem);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});
