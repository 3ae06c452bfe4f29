/** `iova nvme perf`: measures controllers through the ring layer. */

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { IovaError, UnsupportedError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import type { Interrupts } from "../../../pci/interrupts.js";
import { checkProcessors, pinThread } from "../../../sys/numa.js";
import { perfDescription } from "../../described/nvme/perf.js";
import { checkWritable, day, writeNamed } from "../../page.js";
import { ProgressLine } from "../../progress.js";
import { print } from "../../terminal.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { namespaceId, openNamespace, withController } from "../open.js";
import { printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { LOOK_MS, PerfMonitor } from "./monitor.js";
import { type PerfOptions, parsePerfOptions } from "./options.js";
import { planOf } from "./plan.js";
import { isReading, type PerfPlan } from "./queue.js";
import { hasWrongBlocks, type PerfReport, perfHtml, perfJson, perfText } from "./report.js";
import { PerfRings } from "./rings.js";
import { PerfRun } from "./run.js";
import type { PerfWorkerData, PerfWorkerMessage, PerfWorkerResult } from "./worker.js";

/** A controller that is measured. */
interface Device {
  readonly target: string;
  readonly nvme: NvmeController;
  readonly plan: PerfPlan;
  readonly rings: PerfRings;
  /** Each queue's interrupt; without one it is polled. */
  readonly eventFds: readonly (number | undefined)[];
}

async function run(argv: readonly string[]): Promise<void> {
  const options = parsePerfOptions(argv);
  checkProcessors(options.cpus);
  const writes = options.verify || !isReading(options.workload);
  if (options.html !== undefined) checkWritable(options.html);
  if (writes) {
    assertCanConfirm("perf", options.yes);
    // With the driver's own queue, which perf doesn't have below.
    for (const target of options.targets)
      await withController(target, options.controller, async (nvme) =>
        assertUnused(nvme, await namespaceId(nvme, options.nsid), options.force),
      );
  }
  await withDevices(options, writes, [], async (devices) => {
    const report = await measure(options, devices);
    if (options.html !== undefined)
      writeNamed("--html", options.html, perfHtml(report, day(new Date().toISOString())));
    if (options.json) printJson(perfJson(report));
    else print(perfText(report));
    if (hasWrongBlocks(report)) process.exitCode = 1;
  });
}

/** Opens all targets, each with its queues. */
async function withDevices(
  options: PerfOptions,
  writes: boolean,
  open: readonly Device[],
  work: (devices: readonly Device[]) => Promise<void>,
): Promise<void> {
  const target = options.targets[open.length];
  if (target === undefined) return await work(open);
  const { queues, nsid, yes } = options;
  // The driver makes no queues and no interrupts: perf makes its own.
  await withController(target, { ...options.controller, completion: "poll", queues: 0 }, async (nvme) => {
    const ns = await openNamespace(nvme, nsid);
    const plan = planOf(options, nvme, ns);
    if (writes) await confirm(nvme, `perf overwrites namespace ${ns.nsid} with random bytes`, yes);
    using interrupts = options.interrupts ? enableInterrupts(nvme, queues) : undefined;
    const first = (interrupts?.vectors.length ?? 0) > queues ? 1 : 0;
    const vectorOf = interrupts === undefined ? undefined : (queue: number) => queue + first;
    const rings = await PerfRings.create(nvme, queues, plan, vectorOf);
    const eventFds = rings.setups.map((_, at) => interrupts?.vectors[at + first]?.fd);
    await withDevices(options, writes, [...open, { target, nvme, plan, rings, eventFds }], work);
  });
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

async function measure(options: PerfOptions, devices: readonly Device[]): Promise<PerfReport> {
  const line = new ProgressLine(process.stderr, false);
  const monitor = new PerfMonitor(
    devices.flatMap(({ rings }) => rings.setups),
    line,
    options.steady,
  );
  try {
    const all = await drive(options, devices, monitor);
    for (const { rings } of devices) await rings.close();
    const { queues } = options;
    const measured = devices.map(({ target, nvme: { backend }, plan, rings: { setups } }, at) => ({
      target,
      backend,
      plan,
      setups,
      results: all.slice(at * queues, (at + 1) * queues),
    }));
    return { options, steady: monitor.steady, devices: measured };
  } finally {
    line.end();
  }
}

/** Runs all queues to their end. @throws NvmeError, NvmeProtocolError, TimeoutError */
async function drive(
  options: PerfOptions,
  devices: readonly Device[],
  monitor: PerfMonitor,
): Promise<PerfWorkerResult[]> {
  if (devices.some(({ rings }) => rings.afterRing !== undefined)) {
    if (options.interrupts) {
      throw new UnsupportedError("--interrupts needs doorbells that can be mapped, and these can't");
    }
    return driveHere(options, devices, monitor);
  }
  const workers: Worker[] = [];
  const timer = setInterval(() => monitor.look(), LOOK_MS);
  try {
    const jobs = devices.flatMap(({ rings, eventFds }) =>
      rings.setups.map((setup, at) => ({ setup, eventFd: eventFds[at] })),
    );
    return await Promise.all(
      jobs.map((job, at) => {
        const workerData: PerfWorkerData = { ...job, cpu: options.cpus[at % options.cpus.length] };
        const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData });
        workers.push(worker);
        return resultOf(worker);
      }),
    );
  } finally {
    clearInterval(timer);
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
function driveHere(
  options: PerfOptions,
  devices: readonly Device[],
  monitor: PerfMonitor,
): PerfWorkerResult[] {
  const [cpu] = options.cpus;
  if (cpu !== undefined) pinThread(cpu);
  const queues = devices.map(({ rings: { setups, afterRing } }) => ({
    runs: setups.map((setup) => new PerfRun(setup)),
    afterRing,
  }));
  for (const { runs, afterRing } of queues) {
    for (const run of runs) run.start();
    afterRing?.();
  }
  let looked = 0;
  while (!queues.every(({ runs }) => runs.every(({ isDone }) => isDone))) {
    for (const { runs, afterRing } of queues) {
      let count = 0;
      for (const run of runs) if (!run.isDone) count += run.turn();
      if (count > 0) afterRing?.();
    }
    const now = performance.now();
    if (now - looked < LOOK_MS) continue;
    looked = now;
    monitor.look(now);
  }
  return queues.flatMap(({ runs }) => runs.map((run) => ({ ...run.result(), gcCount: 0, gcMs: 0 })));
}

export const perf: NvmeSubcommand = { description: perfDescription, run };
