/** The thread of one queue of `iova nvme perf`: runs the queue and sends its results. */

import { PerformanceObserver } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { IovaError } from "../../../core/errors.js";
import { Lease } from "../../../core/lifetime/lease.js";
import { append } from "../../../core/lists.js";
import { pinThread } from "../../../sys/numa.js";
import { read } from "../../../sys/syscalls.js";
import { watchReadable } from "../../../sys/watch.js";
import type { PerfQueueSetup } from "./queue.js";
import { type PerfQueueResult, PerfRun } from "./run.js";

export interface PerfWorkerData {
  readonly setup: PerfQueueSetup;
  /** Eventfd of the queue's interrupt vector, which the main thread closes. Without one the queue is polled. */
  readonly eventFd?: number | undefined;
  /** The processor that the thread stays on; by default the kernel chooses. */
  readonly cpu?: number | undefined;
}

export interface PerfWorkerResult extends PerfQueueResult {
  /** Garbage collections of this thread while it measured. */
  readonly gcCount: number;
  readonly gcMs: number;
}

export type PerfWorkerMessage =
  | { readonly result: PerfWorkerResult }
  | { readonly failure: { readonly code: string; readonly message: string } };

const CHECK_MS = 1000;
/** Without an interrupt, a queue with a rate submits this often. */
const PACE_MS = 1;

/** @throws as PerfRun.turn() */
async function runByInterrupt(run: PerfRun, eventFd: number): Promise<void> {
  const owner = new Lease("queue interrupts", () => {});
  const counter = new BigUint64Array(1);
  try {
    await new Promise<void>((resolve, reject) => {
      const attempt = (work: () => void): void => {
        try {
          work();
          if (run.isDone) resolve();
        } catch (error) {
          reject(error);
        }
      };
      const timer = setInterval(() => attempt(() => run.turn()), run.isPaced ? PACE_MS : CHECK_MS);
      watchReadable(
        eventFd,
        owner,
        () => {
          if (read(eventFd, counter) !== null) attempt(() => run.turn());
        },
        () => clearInterval(timer),
      );
      attempt(() => run.start());
    });
  } finally {
    owner.close();
  }
}

/** @throws as PerfRun.turn() */
export async function runPerfQueue({ setup, eventFd, cpu }: PerfWorkerData): Promise<PerfWorkerResult> {
  if (cpu !== undefined) pinThread(cpu);
  const collections: { startTime: number; duration: number }[] = [];
  const observer = new PerformanceObserver((list) => {
    append(collections, list.getEntries());
  });
  observer.observe({ entryTypes: ["gc"] });
  const run = new PerfRun(setup);
  if (eventFd !== undefined) await runByInterrupt(run, eventFd);
  else {
    run.start();
    run.poll();
  }
  // The observer gets its entries in the event loop.
  await setImmediate();
  await setImmediate();
  observer.disconnect();
  const result = run.result();
  const meanwhile = collections.filter(({ startTime }) => startTime >= result.from && startTime < result.to);
  const gcMs = meanwhile.reduce((sum, { duration }) => sum + duration, 0);
  return { ...result, gcCount: meanwhile.length, gcMs };
}

async function answer(port: NonNullable<typeof parentPort>, data: PerfWorkerData): Promise<void> {
  const message = await runPerfQueue(data).then(
    (result): PerfWorkerMessage => ({ result }),
    (error: unknown): PerfWorkerMessage => {
      if (!(error instanceof IovaError)) throw error;
      return { failure: { code: error.code, message: error.message } };
    },
  );
  port.postMessage(message);
}

if (parentPort !== null) await answer(parentPort, workerData);
