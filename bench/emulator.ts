/**
 * Measures the emulated NVMe controller alone: 4 KiB random reads through the library's rings, with the controller polling
 * on one thread and the host on another, without a server or messages.
 *
 * Each thread needs a core. On a busy machine, the best of the short windows says more than the median. With `--inline`,
 * host and controller take turns on one thread, which needs one core, and the cost of a command is that of both.
 *
 * Finally, with a server: the time from connecting to the driver's first read (`--first-read`: only that).
 *
 *   node dist/bench/emulator.js [--seconds S] [--rounds N] [--size MIB] [--inline] [--first-read]
 */
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { EmulatedNvme } from "../src/emulator/nvme/controller.js";
import { CompletionQueue } from "../src/nvme/queues/completion-queue.js";
import { SubmissionQueue } from "../src/nvme/queues/submission-queue.js";
import { AdminOpcode, IoOpcode } from "../src/nvme/spec/opcodes.js";
import { NvmeRegister } from "../src/nvme/spec/registers.js";
import { MappedMemory } from "../src/sys/memory.js";
import { memfd } from "../src/sys/syscalls.js";
import type { ClientMemory, MemorySpan } from "../src/vfio-user/server/emulated-device.js";
import { measureFirstRead } from "./first-read.js";

const BASE = 0x1_0000_0000;
const BLOCK_BYTES = 4096;
const ENTRIES = 256;
/** Where things are in the host's memory. */
const ADMIN_SQ = 0;
const ADMIN_CQ = 4096;
const IO_SQ = 8192;
const IO_CQ = IO_SQ + ENTRIES * 64;
const DATA = 1 << 20;
const RAM_BYTES = DATA + ENTRIES * BLOCK_BYTES;

interface Setup {
  /** The host's memory. The controller's thread maps it itself, as a server does. */
  readonly ram: number;
  readonly stop: SharedArrayBuffer;
  readonly mediumBytes: number;
}

/** The host's memory is one mapping. */
class OneMapping implements ClientMemory {
  readonly generation = 0;
  private readonly bytes: Uint8Array<SharedArrayBuffer>;
  private readonly words: Uint32Array<SharedArrayBuffer>;
  private readonly offset: number;

  /** @param memory is kept here, because it is unmapped if nothing refers to it */
  constructor(readonly memory: MappedMemory) {
    const { buffer, byteOffset } = memory.bytes;
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.offset = byteOffset;
  }

  find(iova: number, lengthBytes: number, _write: boolean, span: MemorySpan): boolean {
    if (iova < BASE || iova + lengthBytes > BASE + RAM_BYTES) return false;
    span.bytes = this.bytes;
    span.words = this.words;
    span.offset = this.offset + (iova - BASE);
    return true;
  }

  canCopy(): boolean {
    return false;
  }

  copyFrom(): boolean {
    return false;
  }

  copyTo(): boolean {
    return false;
  }

  read(): Promise<void> {
    return Promise.resolve();
  }

  write(): Promise<void> {
    return Promise.resolve();
  }
}

/** An enabled controller. */
function start({ ram, mediumBytes }: Setup, polled: boolean): EmulatedNvme {
  const memory = MappedMemory.ofFile(ram, 0, RAM_BYTES, "memory of the host");
  const device = EmulatedNvme.create({ sizeBytes: mediumBytes, blockSizeBytes: 4096 }, polled);
  device.connect({ memory: new OneMapping(memory), raise: () => {} });
  const bar = device.bars[0];
  const register = (at: number, value: number): void => {
    bar?.write(at, new Uint8Array(Uint32Array.of(value).buffer));
  };
  register(NvmeRegister.AQA, (15 << 16) | 15);
  register(NvmeRegister.ASQ + 4, BASE / 2 ** 32);
  register(NvmeRegister.ASQ, ADMIN_SQ);
  register(NvmeRegister.ACQ + 4, BASE / 2 ** 32);
  register(NvmeRegister.ACQ, ADMIN_CQ);
  register(NvmeRegister.CC, (6 << 16) | (4 << 20) | 1);
  return device;
}

/** Where the doorbells are, as a client is told. */
interface DoorbellFile {
  readonly fd: number;
  readonly fdOffset: number;
}

function doorbellsOf(device: EmulatedNvme): DoorbellFile {
  const area = device.bars[0]?.mappable?.[0];
  if (area === undefined) throw new Error("this machine's pages are too large to share doorbells");
  const { fd, fdOffset } = area;
  return { fd, fdOffset };
}

/** The controller's thread. */
function serve(setup: Setup): void {
  const device = start(setup, true);
  parentPort?.postMessage(doorbellsOf(device));
  const flag = new Int32Array(setup.stop);
  const timer = setInterval(() => {
    if (Atomics.load(flag, 0) === 0) return;
    clearInterval(timer);
    device.close();
  }, 10);
}

function admin(sq: SubmissionQueue, cq: CompletionQueue, words: readonly number[], pump: () => void): void {
  sq.words.set(words, sq.slot);
  sq.post();
  sq.ring();
  while (cq.peek() < 0) pump();
  const status = (cq.words[cq.peek() + 3] ?? 0) >>> 17;
  if (status !== 0) throw new Error(`admin command 0x${(words[0] ?? 0).toString(16)}: status ${status}`);
  cq.take();
  cq.ring();
}

const WINDOW_MS = 1;

/**
 * Reads at a queue depth for some time.
 * @param pump lets the controller work, if it has no thread of its own
 * @returns reads per second: on the whole, and in the best window
 */
function measure(
  sq: SubmissionQueue,
  cq: CompletionQueue,
  blocks: number,
  depth: number,
  seconds: number,
  pump: () => void = () => {},
): { mean: number; best: number } {
  const { words } = sq;
  let random = 0x9e37_79b9;
  let posted = 0;
  let taken = 0;
  const post = (cid: number): void => {
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    const { slot } = sq;
    words[slot] = IoOpcode.read | (cid << 16);
    words[slot + 1] = 1;
    words[slot + 6] = DATA + cid * BLOCK_BYTES;
    words[slot + 7] = BASE / 2 ** 32;
    words[slot + 10] = (random >>> 0) % blocks;
    words[slot + 11] = 0;
    words[slot + 12] = 0;
    sq.post();
    posted++;
  };
  for (let cid = 0; cid < depth; cid++) post(cid);
  sq.ring();
  const start = performance.now();
  const end = start + seconds * 1000;
  let looks = 0;
  let isOver = false;
  let windowStart = start;
  let windowTaken = 0;
  let best = 0;
  while (taken < posted) {
    pump();
    for (let at = cq.peek(); at >= 0; at = cq.peek()) {
      const word = cq.words[at + 3] ?? 0;
      if (word >>> 17 !== 0) throw new Error(`read failed: status ${word >>> 17}`);
      cq.take();
      taken++;
      if (!isOver) post(word & 0xffff);
    }
    cq.ring();
    sq.ring();
    if (++looks % 16 !== 0) continue;
    const now = performance.now();
    isOver ||= now >= end;
    if (now - windowStart < WINDOW_MS) continue;
    best = Math.max(best, (taken - windowTaken) / ((now - windowStart) / 1000));
    windowStart = now;
    windowTaken = taken;
  }
  return { mean: taken / ((performance.now() - start) / 1000), best };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "1" },
      rounds: { type: "string", default: "5" },
      size: { type: "string", default: "64" },
      inline: { type: "boolean", default: false },
      "first-read": { type: "boolean", default: false },
    },
  });
  const seconds = Number(values.seconds);
  const rounds = Number(values.rounds);
  if (values["first-read"]) {
    process.stdout.write(await measureFirstRead(rounds));
    return;
  }
  const mediumBytes = Number(values.size) << 20;
  const blocks = mediumBytes / BLOCK_BYTES;
  const ramFd = memfd("bench-host", RAM_BYTES);
  const ram = MappedMemory.ofFile(ramFd, 0, RAM_BYTES, "memory of the host");
  const stop = new SharedArrayBuffer(4);
  const setup: Setup = { ram: ramFd, stop, mediumBytes };
  let device: EmulatedNvme | undefined;
  let file: DoorbellFile;
  if (values.inline) {
    device = start(setup, false);
    file = doorbellsOf(device);
  } else {
    const worker = new Worker(new URL(import.meta.url), { workerData: setup });
    file = await new Promise<DoorbellFile>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  }
  const pump = (): void => void device?.pump();
  const doorbells = MappedMemory.ofFile(file.fd, file.fdOffset, 4096, "doorbells");
  const ring = (at: number, count: number): Uint32Array => ram.words.subarray(at / 4, at / 4 + count);
  const asq = new SubmissionQueue(0, 16, ring(ADMIN_SQ, 256), doorbells.words, 0);
  const acq = new CompletionQueue(0, 16, ring(ADMIN_CQ, 64), doorbells.words, 1);
  const size = ((ENTRIES - 1) << 16) | 1;
  const high = BASE / 2 ** 32;
  admin(asq, acq, [AdminOpcode.createIoCompletionQueue, 0, 0, 0, 0, 0, IO_CQ, high, 0, 0, size, 1], pump);
  admin(
    asq,
    acq,
    [AdminOpcode.createIoSubmissionQueue, 0, 0, 0, 0, 0, IO_SQ, high, 0, 0, size, 0x1_0001],
    pump,
  );
  const sq = new SubmissionQueue(1, ENTRIES, ring(IO_SQ, ENTRIES * 16), doorbells.words, 2);
  const cq = new CompletionQueue(1, ENTRIES, ring(IO_CQ, ENTRIES * 4), doorbells.words, 3);
  // Every block is written once, because unwritten memory is all one page of zeros.
  for (let lba = 0; lba < blocks; lba++) {
    sq.words.set([IoOpcode.write, 1, 0, 0, 0, 0, DATA, high, 0, 0, lba, 0, 0, 0, 0, 0], sq.slot);
    sq.post();
    sq.ring();
    while (cq.peek() < 0) pump();
    cq.take();
    cq.ring();
  }
  const depths = [1, 32, 128];
  const results = new Map(depths.map((depth) => [depth, { means: [0], best: 0 }]));
  for (let round = 0; round < rounds; round++) {
    for (const depth of depths) {
      const { mean, best } = measure(sq, cq, blocks, depth, seconds, pump);
      const result = results.get(depth);
      if (result === undefined) continue;
      result.means[round] = mean;
      result.best = Math.max(result.best, best);
    }
  }
  process.stdout.write(`4 KiB random reads from ${values.size} MiB, ${rounds} times ${seconds} s\n`);
  for (const [depth, { means, best }] of results) {
    const sorted = means.sort((a, b) => a - b);
    const show = (value: number): string => (value / 1e6).toFixed(2);
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
    const cost = values.inline ? `, ${(1e9 / median).toFixed(0)} ns for host and controller together` : "";
    process.stdout.write(
      `QD ${String(depth).padStart(3)}: median ${show(median)} M IOPS, best ${WINDOW_MS} ms ${show(best)}${cost}\n`,
    );
  }
  Atomics.store(new Int32Array(stop), 0, 1);
  doorbells.close();
  device?.close();
  ram.close();
  if (!values.inline) process.stdout.write(await measureFirstRead(rounds));
}

if (isMainThread) await main();
else serve(workerData as Setup);
