/** `iova nvme perf`: its histogram, its options, and runs against emulated controllers. */
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { LatencyHistogram } from "../../../src/cli/nvme/perf/histogram.js";
import { parsePerfOptions } from "../../../src/cli/nvme/perf/options.js";
import type { NvmeEmulatorOptions } from "../../../src/emulator/nvme/options.js";
import type { RunningEmulator } from "../../../src/emulator/worker.js";
import { ConfigError, NvmeController } from "../../../src/index.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { emulate } from "../../support/emulators.js";
import { type Outcome, runNode } from "../../support/run.js";

const MIB = 1024 * 1024;

describe("the latency histogram", () => {
  test("the histogram knows each percentile to within a bucket, and the extremes exactly", () => {
    const share = fc.constantFrom(0.5, 0.9, 0.99, 0.999, 1);
    const values = fc.array(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(values, share, (list, at) => {
        const histogram = new LatencyHistogram();
        for (const value of list) histogram.record(value);
        const sorted = [...list].sort((a, b) => a - b);
        const exact = sorted[Math.ceil(list.length * at) - 1] ?? Number.NaN;
        const found = histogram.percentileNs(at);
        expect(found).toBeGreaterThanOrEqual(exact);
        expect(found).toBeLessThanOrEqual(exact * (1 + 1 / 64) + 1);
        expect([histogram.count, histogram.minNs, histogram.maxNs]).toEqual([
          list.length,
          sorted[0],
          sorted.at(-1),
        ]);
      }),
    );
  });

  test("the histogram adds up the records of several threads", () => {
    const [all, one, other] = [new LatencyHistogram(), new LatencyHistogram(), new LatencyHistogram()];
    for (const [at, ns] of [1, 100, 5000, 70_000, 3e9, 2].entries()) {
      all.record(ns);
      (at % 2 === 0 ? one : other).record(ns);
    }
    one.add(other.data);
    expect(one.data).toEqual(all.data);
    expect(one.maxNs).toBe(3e9);
  });

  test("a histogram without records has zeros", () => {
    const { minNs, maxNs, meanNs, count } = new LatencyHistogram();
    expect([minNs, maxNs, meanNs, count]).toEqual([0, 0, 0, 0]);
    expect(new LatencyHistogram().percentileNs(0.99)).toBe(0);
  });
});

describe("the command line of perf", () => {
  test("perf takes sizes, workloads and times", () => {
    const options = parsePerfOptions("00:04.0 -q 32 -o 16k -w randrw -t 0.5 --queues 2 --yes".split(" "));
    expect(options).toMatchObject({
      targets: ["0000:00:04.0"],
      depth: 32,
      split: [{ ioBytes: 16384, percent: 100 }],
      workload: "randrw",
      seconds: 0.5,
      warmUpSeconds: 1,
      queues: 2,
      interrupts: false,
      yes: true,
    });
  });

  test("perf takes several targets, splits, mixes, rates and processors", () => {
    const line = "00:04.0 00:05.0 --bssplit 4k/60:1M/40 -w rw --rwmixread 70 --rate 10m --rate-iops 500";
    const more =
      "--size 1g --cpus 0,2-4 --prinfo 8 --sgl --verify --steady-state 5% --ss-dur 30 --html p.html";
    expect(parsePerfOptions(`${line} ${more}`.split(" "))).toMatchObject({
      targets: ["0000:00:04.0", "0000:00:05.0"],
      split: [
        { ioBytes: 4096, percent: 60 },
        { ioBytes: MIB, percent: 40 },
      ],
      readPercent: 70,
      rate: 10 * MIB,
      rateIops: 500,
      rangeBytes: 1024 * MIB,
      cpus: [0, 2, 3, 4],
      prinfo: 8,
      sgl: true,
      verify: true,
      steady: { percent: 5, seconds: 30 },
      html: "p.html",
    });
  });

  test.each([
    [],
    ["00:04.0", "--bssplit", "4k/60:8k/30"],
    ["00:04.0", "--bssplit", "4k"],
    ["00:04.0", "--bssplit", "4k/100", "-o", "4k"],
    ["00:04.0", "--rwmixread", "50"],
    ["00:04.0", "-w", "rw", "--rwmixread", "101"],
    ["00:04.0", "--cpus", "3-1"],
    ["00:04.0", "--cpus", "all"],
    ["00:04.0", "--prinfo", "16"],
    ["00:04.0", "--rate", "0"],
    ["00:04.0", "--steady-state", "0"],
    ["00:04.0", "--ss-dur", "1"],
    ["00:04.0", "--html", ""],
    ["00:04.0", "-q", "0"],
    ["00:04.0", "-o", "4x"],
    ["00:04.0", "-o", "0"],
    ["00:04.0", "-w", "trim"],
    ["00:04.0", "-t", "0"],
    ["00:04.0", "-t", "soon"],
    ["00:04.0", "--warmup", "-1"],
    ["00:04.0", "--queues", "0"],
    ["00:04.0", "--backend", "none"],
    ["00:04.0", "0000:00:04.0"],
    ["nowhere"],
  ])("perf rejects the arguments %j %j %j", (...argv) => {
    expect(() => parsePerfOptions(argv)).toThrow(ConfigError);
  });
});

describe("a run of perf", () => {
  let tree: CompiledTree;
  let emulator: RunningEmulator | undefined;
  beforeAll(() => {
    tree = compileTree("src/cli/main.ts", "src/cli/nvme/perf/worker.ts");
  });
  afterAll(() => tree[Symbol.dispose]());
  afterEach(async () => {
    await emulator?.close();
    emulator = undefined;
  });

  const perf = async (options: NvmeEmulatorOptions, ...args: string[]): Promise<Outcome> => {
    emulator ??= await emulate({ device: "nvme", options });
    const times = ["-t", "0.3", "--warmup", "0.05"];
    return await runNode(tree.file("src/cli/main.ts"), "nvme", "perf", emulator.address, ...times, ...args);
  };

  test.each([
    { name: "one at a time", options: {}, args: ["-q", "1", "-o", "512"] },
    { name: "many at a time", options: {}, args: ["-q", "32"] },
    { name: "in order, longer than two pages", options: {}, args: ["-w", "read", "-q", "4", "-o", "64k"] },
    { name: "over several queues", options: {}, args: ["-q", "4", "--queues", "3"] },
    { name: "by interrupts", options: {}, args: ["-q", "4", "--queues", "2", "--interrupts"] },
    { name: "with doorbells by message", options: { doorbells: "messages" as const }, args: ["-q", "8"] },
    { name: "with blocks of 4 KiB", options: { blockSizeBytes: 4096 as const }, args: ["-q", "2"] },
  ])("perf reads $name, and prints the rates", async ({ options, args }) => {
    const outcome = await perf({ sizeBytes: 16 * MIB, ...options }, ...args, "--json");
    expect({ ...outcome, stdout: "" }).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
    const { ios, iops, latency_us: latency, cpu_us_per_io: cpu, ...rest } = JSON.parse(outcome.stdout);
    expect(ios).toBeGreaterThan(0);
    expect(iops).toBeGreaterThan(0);
    expect(cpu).toBeGreaterThan(0);
    expect(Object.keys(latency)).toEqual(["min", "mean", "p50", "p99", "p99.9", "max"]);
    const { min, p50, p99, "p99.9": p999, max } = latency;
    expect([min, p50, p99, p999, max]).toEqual([min, p50, p99, p999, max].sort((a, b) => a - b));
    expect(min).toBeGreaterThan(0);
    expect(rest).toMatchObject({ backend: "vfio-user", seconds: 0.3 });
    expect(rest.iops_over_time).toHaveLength(3);
  });

  test("perf writes only with --yes", async () => {
    const options = { sizeBytes: MIB };
    const refused = await perf(options, "-w", "randwrite");
    expect(refused).toMatchObject({ status: 2, stdout: "" });
    expect(refused.stderr).toMatch(/--yes/);
    const firstBlock = async (): Promise<Uint8Array> => {
      await using nvme = await NvmeController.open(emulator?.address ?? "");
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(4096);
      await ns.read(0n, buffer);
      return buffer.bytes.slice();
    };
    expect((await firstBlock()).some((byte) => byte !== 0)).toBe(false);
    expect((await perf(options, "-w", "write", "-q", "8", "--yes")).status).toBe(0);
    expect((await firstBlock()).some((byte) => byte !== 0)).toBe(true);
    expect((await perf(options, "-w", "randrw", "-q", "8", "--yes")).stdout).toMatch(/IOPS/);
  });

  test.each([
    { args: ["-o", "1000"], problem: /blocks of 512/ },
    { args: ["-o", "8M"], problem: /more than one command can carry/ },
    { args: ["-q", "60000"], problem: /depth of 60000/ },
    { args: ["--queues", "200"], problem: /I\/O queues, not 200/ },
    { args: ["-n", "7"], problem: /namespace 7/ },
  ])("perf rejects $args with one line", async ({ args, problem }) => {
    const { status, stdout, stderr } = await perf({ sizeBytes: MIB }, ...args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(problem);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  test("perf prints the controller's status if a command fails", async () => {
    // One of the first four commands, which are always sent: a busy machine sends few in the time of the run.
    const fault = { kind: "status", queue: "io", nth: 4, status: 0x281 } as const;
    const { status, stderr } = await perf({ sizeBytes: MIB, faults: [fault] }, "-q", "4");
    expect(status).toBe(1);
    expect(stderr).toMatch(/Unrecovered Read Error/);
  });
});
