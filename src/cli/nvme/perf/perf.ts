/** `iova nvme perf`: measures a controller through the ring layer. */

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { ArgumentError, IovaError, UnsupportedError } from "../../../core/errors.js";
import { largestOf } from "../../../core/lists.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { MAX_BLOCKS } from "../../../nvme/namespace/block-command.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import type { Interrupts } from "../../../pci/interrupts.js";
import { perfDescription } from "../../described/nvme/perf.js";
import { print } from "../../terminal.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { namespaceId, openNamespace, withController } from "../open.js";
import { type Json, pairs, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { LatencyHistogram } from "./histogram.js";
import { type PerfOptions, parsePerfOptions } from "./options.js";
import type { PerfPlan, PerfQueueSetup } from "./queue.js";
import { PerfRings } from "./rings.js";
import { PerfRun } from "./run.js";
import type { PerfWorkerData, PerfWorkerMessage, PerfWorkerResult } from "./worker.js";

const USUAL_IO_BYTES = 4096;
const COMMAND_TIMEOUT_MS = 30_000;
const MIB = 1024 * 1024;

async function run(argv: readonly string[]): Promise<void> {
  const options = parsePerfOptions(argv);
  const writes = options.workload !== "read" && options.workload !== "randread";
  if (writes) {
    assertCanConfirm("perf", options.yes);
    // With the driver's own queue, which perf doesn't have below.
    await withController(options.target, options.controller, async (nvme) =>
      assertUnused(nvme, await namespaceId(nvme, options.nsid), options.force),
    );
  }
  // The driver makes no queues and no interrupts: perf makes its own.
  const open = { ...options.controller, completion: "poll", queues: 0 } as const;
  await withController(options.target, open, async (nvme) => {
    const ns = await openNamespace(nvme, options.nsid);
    const ioBytes = options.ioBytes ?? Math.max(USUAL_IO_BYTES, ns.blockSizeBytes);
    const plan = planOf(options, nvme, ns, ioBytes);
    if (writes) await confirm(nvme, `perf overwrites namespace ${ns.nsid} with random bytes`, options.yes);
    using interrupts = options.interrupts ? enableInterrupts(nvme, options.queues) : undefined;
    const vectorOf =
      interrupts === undefined ? undefined : (queue: number) => queue + offset(interrupts, options.queues);
    const rings = await PerfRings.create(nvme, options.queues, plan, ioBytes, vectorOf);
    const results = await drive(rings, interrupts, vectorOf);
    await rings.close();
    report(options, nvme, ioBytes, results);
  });
}

/** @throws ArgumentError if the namespace or controller doesn't support these sizes */
function planOf(
  options: PerfOptions,
  nvme: NvmeController,
  { nsid, blockSizeBytes, sizeBlocks }: NvmeNamespace,
  ioBytes: number,
): PerfPlan {
  if (ioBytes % blockSizeBytes !== 0) {
    throw new ArgumentError(
      `${ioBytes} bytes are not a multiple of this namespace's blocks of ${blockSizeBytes}`,
    );
  }
  const blocks = ioBytes / blockSizeBytes;
  const most = Math.min(nvme.maxTransferBytes, MAX_BLOCKS * blockSizeBytes);
  if (ioBytes > most) {
    throw new ArgumentError(`${ioBytes} bytes are more than one command can carry here (${most})`);
  }
  const places = Number(sizeBlocks / BigInt(blocks));
  if (places === 0) throw new ArgumentError(`namespace ${nsid} has less than ${ioBytes} bytes`);
  return {
    workload: options.workload,
    depth: options.depth,
    nsid,
    blocks,
    places,
    warmUpMs: options.warmUpSeconds * 1000,
    runMs: options.seconds * 1000,
    timeoutMs: COMMAND_TIMEOUT_MS,
  };
}

/** @throws UnsupportedError */
function enableInterrupts(nvme: NvmeController, queues: number): Interrupts {
  // The first vector is for the admin queue, if there are enough.
  const interrupts = nvme.device.enableInterrupts({ count: queues + 1 });
  const { kind, vectors } = interrupts;
  if (kind !== "intx" && vectors.length >= queues) return interrupts;
  interrupts.close();
  throw new UnsupportedError(
    `${nvme.bdf} has ${vectors.length} interrupt vectors (${kind}); each queue's thread needs one of its own, by MSI or MSI-X`,
  );
}

function offset({ vectors }: Interrupts, queues: number): number {
  return vectors.length > queues ? 1 : 0;
}

/** Runs all queues to their end. @throws NvmeError, NvmeProtocolError, TimeoutError */
async function drive(
  rings: PerfRings,
  interrupts: Interrupts | undefined,
  vectorOf: ((queue: number) => number) | undefined,
): Promise<PerfWorkerResult[]> {
  if (rings.afterRing !== undefined) {
    if (interrupts !== undefined) {
      throw new UnsupportedError("--interrupts needs doorbells that can be mapped, and these can't");
    }
    return driveHere(rings.setups, rings.afterRing);
  }
  const workers: Worker[] = [];
  try {
    return await Promise.all(
      rings.setups.map((setup, at) => {
        const eventFd = vectorOf === undefined ? undefined : interrupts?.vectors[vectorOf(at)]?.fd;
        const workerData: PerfWorkerData = { setup, eventFd };
        const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData });
        workers.push(worker);
        return resultOf(worker);
      }),
    );
  } finally {
    // A thread must end before the memory of its queue is freed.
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

async function resultOf(worker: Worker): Promise<PerfWorkerResult> {
  const [message]: PerfWorkerMessage[] = await once(worker, "message");
  if (message === undefined) throw new Error("a thread ended without a result");
  if ("failure" in message) throw new IovaError(message.failure.code, message.failure.message);
  return message.result;
}

/** Drives all queues in turns: only this thread can ring doorbells by message. */
function driveHere(setups: readonly PerfQueueSetup[], afterRing: () => void): PerfWorkerResult[] {
  const runs = setups.map((setup) => new PerfRun(setup));
  for (const run of runs) run.start();
  afterRing();
  while (!runs.every(({ isDone }) => isDone)) {
    let count = 0;
    for (const run of runs) if (!run.isDone) count += run.turn();
    if (count > 0) afterRing();
  }
  return runs.map((run) => ({ ...run.result(), gcCount: 0, gcMs: 0 }));
}

function report(
  options: PerfOptions,
  nvme: NvmeController,
  ioBytes: number,
  results: readonly PerfWorkerResult[],
): void {
  const latencies = new LatencyHistogram();
  let iops = 0;
  for (const result of results) {
    const own = new LatencyHistogram(result.latencies);
    iops += own.count / result.seconds;
    latencies.add(result.latencies);
  }
  const micro = (ns: number): number => Math.round(ns) / 1000;
  const latency = {
    min: micro(latencies.minNs),
    mean: micro(latencies.meanNs),
    p50: micro(latencies.percentileNs(0.5)),
    p99: micro(latencies.percentileNs(0.99)),
    "p99.9": micro(latencies.percentileNs(0.999)),
    max: micro(latencies.maxNs),
  };
  const ios = latencies.count;
  // Each thread measured the whole process, at the same time.
  const cpu = largestOf(results.map(({ cpuMicroseconds }) => cpuMicroseconds));
  const cpuPerIo = ios === 0 ? 0 : cpu / ios;
  const gcCount = results.reduce((sum, result) => sum + result.gcCount, 0);
  const gcMs = results.reduce((sum, result) => sum + result.gcMs, 0);
  const mibPerSecond = (iops * ioBytes) / MIB;
  const completion = options.interrupts ? "interrupt" : "poll";
  if (options.json) {
    const json: Json = {
      target: options.target,
      backend: nvme.backend,
      completion,
      workload: options.workload,
      queues: options.queues,
      queue_depth: options.depth,
      io_size_bytes: ioBytes,
      seconds: options.seconds,
      ios,
      iops: round(iops, 1),
      mib_per_second: round(mibPerSecond, 3),
      latency_us: latency,
      cpu_us_per_io: round(cpuPerIo, 3),
      gc_count: gcCount,
      gc_ms: round(gcMs, 3),
    };
    printJson(json);
    return;
  }
  const queues = options.queues === 1 ? "1 queue" : `${options.queues} queues`;
  print(
    pairs([
      [
        "workload",
        `${options.workload} of ${ioBytes} bytes, ${queues}, depth ${options.depth}, by ${completion}, ${nvme.backend}`,
      ],
      ["IOPS", iops.toFixed(0)],
      ["MiB/s", mibPerSecond.toFixed(2)],
      ...Object.entries(latency).map(([name, us]): [string, string] => [
        `latency ${name}`,
        `${us.toFixed(1)} us`,
      ]),
      ["CPU time per I/O", `${cpuPerIo.toFixed(3)} us`],
      ["garbage collection", `${gcMs.toFixed(1)} ms (${gcCount} times)`],
    ]),
  );
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

export const perf: NvmeSubcommand = { description: perfDescription, run };
