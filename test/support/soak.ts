/**
 * Checksummed I/O on an emulated controller by vfio-user, through faults, resets, recoveries and restarts of the server. Every
 * block that is read is compared with a model; what the process holds is sampled.
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DmaMapTrace, DmaUnmapTrace } from "../../src/dma/trace.js";
import type { FaultOptions } from "../../src/emulator/nvme/faults.js";
import { type DmaBuffer, IovaError, NvmeController, type NvmeNamespace } from "../../src/index.js";
import { EmulatorProcess, type EmulatorPrograms } from "./emulator-process.js";
import { mappings, openDescriptors, residentBytes } from "./proc.js";

/** What to do. */
export interface SoakOptions {
  /** Reads and writes in all. */
  readonly ios: number;
  /** The same seed makes the same I/O. */
  readonly seed: number;
  /** I/Os between two incidents (a fault, a reset, a restart). */
  readonly iosPerIncident: number;
  readonly programs: EmulatorPrograms;
  /** Called with each sample. */
  readonly report?: (sample: SoakSample) => void;
}

/** What the process holds at a moment without I/O. */
export interface SoakSample {
  readonly ios: number;
  readonly descriptors: number;
  readonly mappings: number;
  /** I/O virtual addresses in use, by the program and the driver. */
  readonly mappedBytes: number;
  readonly residentBytes: number;
}

/** The outcome. */
export interface SoakResult {
  readonly ios: number;
  /** Blocks that were compared. */
  readonly compared: number;
  /** Rejections: the I/O was tried again. */
  readonly rejected: number;
  /** How often each incident happened. */
  readonly incidents: Readonly<Record<string, number>>;
  readonly samples: readonly SoakSample[];
}

const WORKERS = 8;
const BLOCK_WORDS = 128;
const MOST_BLOCKS = 8;
const BLOCKS_PER_WORKER = 1024;
const SAMPLES = 10;
/** Only ends a run that hangs: a restart of the server takes a minute on a machine with ten times too much to do. */
const PATIENCE_MS = 600_000;
const PAUSE_MS = 5;

/** None of these changes data. */
const faults: readonly FaultOptions[] = [
  { kind: "latency", latencyMs: 5, count: 3 },
  { kind: "drop", queue: "io", count: 1 },
  { kind: "wrong-phase", queue: "io", count: 1 },
  { kind: "duplicate-cid", queue: "io", count: 1 },
  { kind: "unknown-cid", queue: "io", count: 1 },
  { kind: "status", queue: "io", status: 0x006, count: 2 },
  { kind: "fatal", queue: "io", count: 1 },
  { kind: "all-ones", queue: "io", durationMs: 30, count: 1 },
];

/** Random numbers: xorshift32. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** Fills a block with the pattern of seed, LBA and generation. */
function fill(words: Uint32Array, seed: number, lba: number, generation: number): void {
  const next = randomFrom(
    Math.imul(seed, 0x9e3779b1) ^ Math.imul(lba + 1, 0x85ebca6b) ^ Math.imul(generation, 0xc2b2ae35),
  );
  for (let i = 0; i < BLOCK_WORDS; i++) words[i] = next();
}

/** @throws Error at the first wrong block; whatever ends the I/O for good */
export async function soak({
  ios,
  seed,
  iosPerIncident,
  programs,
  report,
}: SoakOptions): Promise<SoakResult> {
  const folder = mkdtempSync(join(tmpdir(), "iova-soak-"));
  const socket = join(folder, "nvme");
  const options = { file: join(folder, "medium"), sizeBytes: 2 ** 24, idleAfterMs: 2 };
  const start = (): Promise<EmulatorProcess> =>
    EmulatorProcess.start(programs, { socket, device: "nvme", options });
  const use = new AddressUse();
  let emulator = await start();
  const nvme = await NvmeController.open(`vfio-user:${socket}`, {
    queues: 2,
    timeoutMs: 2000,
    vfioUser: { reconnect: { timeoutMs: PATIENCE_MS } },
    recovery: { attempts: 1000, delayMs: PAUSE_MS, retry: "all" },
  });
  try {
    const ns = await nvme.namespace(1);
    const run = new Run(ns, nvme, seed);
    const incidents: Record<string, number> = {};
    const samples: SoakSample[] = [];
    const random = randomFrom(seed ^ 0x5bd1e995);
    const count = (name: string): void => {
      incidents[name] = (incidents[name] ?? 0) + 1;
    };
    const incident = async (number: number): Promise<void> => {
      const kind = number % (faults.length + 3);
      const fault = faults[kind];
      if (fault !== undefined) {
        count(fault.kind);
        await emulator.order({ kind: "inject", fault: { ...fault, nth: 1 + (random() % 20) } });
      } else if (kind === faults.length + 2) {
        count("restart of the server");
        await emulator.close();
        emulator = await start();
      } else {
        const reset = kind === faults.length ? "controller" : "function";
        count(`${reset} reset`);
        // A reset that fails, as it may on a busy machine, leaves the controller down.
        await run.again(() => nvme.reset(reset, { outstanding: "all" }));
      }
    };
    let number = 0;
    while (run.ios < ios) {
      const part = run.doUntil(Math.min(ios, run.ios + iosPerIncident));
      await Promise.all([part, sleep(random() % 5).then(() => incident(number++))]);
      await emulator.order({ kind: "clearFaults" });
      if (run.ios < (samples.length * ios) / SAMPLES && run.ios < ios) continue;
      const { mappedBytes } = use;
      const sample = {
        ios: run.ios,
        descriptors: openDescriptors(),
        mappings: mappings().length,
        mappedBytes,
        residentBytes: residentBytes(),
      };
      samples.push(sample);
      report?.(sample);
    }
    return { ios: run.ios, compared: run.compared, rejected: run.rejected, incidents, samples };
  } finally {
    await nvme.close();
    await emulator.close();
    use.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Counts the I/O virtual addresses in use. */
class AddressUse {
  mappedBytes = 0;
  private readonly onMap = (message: unknown): void => {
    this.mappedBytes += (message as DmaMapTrace).sizeBytes;
  };
  private readonly onUnmap = (message: unknown): void => {
    this.mappedBytes -= (message as DmaUnmapTrace).sizeBytes;
  };

  constructor() {
    subscribe("iova:dma:map", this.onMap);
    subscribe("iova:dma:unmap", this.onUnmap);
  }

  close(): void {
    unsubscribe("iova:dma:map", this.onMap);
    unsubscribe("iova:dma:unmap", this.onUnmap);
  }
}

/** The I/O and its model. */
class Run {
  ios = 0;
  compared = 0;
  rejected = 0;
  /** By block: how often it was written. */
  private readonly generations = new Uint32Array(WORKERS * BLOCKS_PER_WORKER);
  private readonly expected = new Uint32Array(BLOCK_WORDS);
  private readonly workers: readonly { readonly buffer: DmaBuffer; readonly random: () => number }[];

  constructor(
    private readonly ns: NvmeNamespace,
    nvme: NvmeController,
    private readonly seed: number,
  ) {
    this.workers = Array.from({ length: WORKERS }, (_, i) => ({
      buffer: nvme.dma.alloc(MOST_BLOCKS * BLOCK_WORDS * 4),
      random: randomFrom(seed + i * 7919),
    }));
  }

  /** An error that an incident may bring about. */
  private readonly tolerate = (error: unknown): void => {
    if (!(error instanceof IovaError)) throw error;
    this.rejected++;
  };

  async doUntil(ios: number): Promise<void> {
    await Promise.all(
      this.workers.map(async ({ buffer, random }, number) => {
        while (this.ios < ios) {
          this.ios++;
          const blocks = 1 + (random() % MOST_BLOCKS);
          const lba = number * BLOCKS_PER_WORKER + (random() % (BLOCKS_PER_WORKER - blocks));
          if (random() % 2 === 0) await this.write(buffer, lba, blocks);
          else await this.read(buffer, lba, blocks);
        }
      }),
    );
  }

  /** Tries until it works. */
  async again(io: () => Promise<void>): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        await io();
        return;
      } catch (error) {
        if (performance.now() > end) throw error;
        this.tolerate(error);
        await sleep(PAUSE_MS);
      }
    }
  }

  private async write(buffer: DmaBuffer, lba: number, blocks: number): Promise<void> {
    const words = new Uint32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.sizeBytes / 4);
    for (let i = 0; i < blocks; i++) {
      const generation = (this.generations[lba + i] ?? 0) + 1;
      this.generations[lba + i] = generation;
      fill(words.subarray(i * BLOCK_WORDS), this.seed, lba + i, generation);
    }
    // A write that was rejected may have taken place or not; this one has the same data.
    await this.again(() => this.ns.write(lba, buffer, { length: blocks * BLOCK_WORDS * 4 }));
  }

  private async read(buffer: DmaBuffer, lba: number, blocks: number): Promise<void> {
    buffer.bytes.fill(0xee);
    await this.again(() => this.ns.read(lba, buffer, { length: blocks * BLOCK_WORDS * 4 }));
    const { bytes } = buffer;
    for (let i = 0; i < blocks; i++) {
      const generation = this.generations[lba + i] ?? 0;
      if (generation === 0) this.expected.fill(0);
      else fill(this.expected, this.seed, lba + i, generation);
      const at = i * BLOCK_WORDS * 4;
      const read = bytes.subarray(at, at + BLOCK_WORDS * 4);
      if (Buffer.compare(read, new Uint8Array(this.expected.buffer)) !== 0) {
        throw new Error(
          `block ${lba + i} is wrong after ${this.ios} I/Os of seed ${this.seed} (generation ${generation})`,
        );
      }
      this.compared++;
    }
  }
}

/** How much more a process may hold at the end than after a tenth of the I/O. */
const MOST_MORE = { descriptors: 2, mappings: 64, mappedBytes: 0, residentBytes: 64 * 2 ** 20 };

type Grown = keyof typeof MOST_MORE;

/** What has grown beyond its bound, as text; empty if all is flat. @param names what is looked at, by default everything */
export function growthOf(
  samples: readonly SoakSample[],
  names: readonly Grown[] = ["descriptors", "mappings", "mappedBytes", "residentBytes"],
): string[] {
  const first = samples[Math.min(1, samples.length - 1)];
  const last = samples.at(-1);
  if (first === undefined || last === undefined) return ["nothing was sampled"];
  return names
    .filter((name) => last[name] - first[name] > MOST_MORE[name])
    .map((name) => `${name}: ${first[name]} after ${first.ios} I/Os, ${last[name]} after ${last.ios}`);
}
