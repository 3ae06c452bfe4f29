/**
 * A queue pair's loop of reads, in turns: a C program as a general library has it, and the library's ring layer. The
 * controller is a C program in shared memory, without limit and limited to what fast devices do. Wants two idle cores.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CommandIds } from "../../src/nvme/command-ids.js";
import { CompletionQueue, CQE_WORDS } from "../../src/nvme/completion-queue.js";
import { SQE_WORDS, writeIoEntry } from "../../src/nvme/submission-entry.js";
import { SubmissionQueue } from "../../src/nvme/submission-queue.js";
import { MappedMemory } from "../../src/sys/memory.js";
import { compileC } from "../c-program.js";
import { median } from "../rounds.js";

const ENTRIES = 1024;
const SQ_BYTES = ENTRIES * 64;
const CQ_BYTES = ENTRIES * 16;
const PAGE = 4096;
const MEMORY_BYTES = SQ_BYTES + CQ_BYTES + 3 * PAGE;
const OPCODE_READ = 2;

interface Load {
  readonly name: string;
  readonly depth: number;
  /** Commands per second; 0 without limit. */
  readonly rate: number;
  readonly latencyNs: number;
  /** What the ring layer promises, by C. */
  readonly atLeast: number;
}

const loads: readonly Load[] = [
  { name: "QD 1", depth: 1, rate: 0, latencyNs: 0, atLeast: 1 },
  { name: "QD 32", depth: 32, rate: 0, latencyNs: 0, atLeast: 1 },
  { name: "QD 128", depth: 128, rate: 0, latencyNs: 0, atLeast: 1 },
  { name: "QD 128, 10 M IOPS", depth: 128, rate: 10e6, latencyNs: 8000, atLeast: 0.99 },
];

/** Fresh shared memory with the simulated controller on it. */
class Device implements Disposable {
  readonly file: string;
  readonly memory: MappedMemory;
  private readonly child: ChildProcess;

  constructor(program: string, folder: string, { rate, latencyNs }: Load) {
    this.file = join(folder, "rings");
    rmSync(this.file, { force: true });
    const fd = openSync(this.file, "w+");
    ftruncateSync(fd, MEMORY_BYTES);
    this.memory = MappedMemory.ofFile(fd, 0, MEMORY_BYTES, "rings");
    closeSync(fd);
    const args = [this.file, String(rate), String(latencyNs)];
    this.child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
    const { words } = this.memory;
    const ready = (SQ_BYTES + CQ_BYTES + PAGE) / 4;
    while (Atomics.load(words, ready) === 0) {
      // It starts on the other core.
    }
  }

  [Symbol.dispose](): void {
    this.memory.words[(SQ_BYTES + CQ_BYTES + 2 * PAGE) / 4] = 1;
    this.memory.close();
    this.child.unref();
  }
}

/** The loop of host.c on our rings. @returns commands per second */
function runRings({ memory }: Device, depth: number, milliseconds: number): number {
  const { buffer, bytes } = memory;
  const at = bytes.byteOffset;
  const doorbells = new Uint32Array(buffer, at + SQ_BYTES + CQ_BYTES, 4);
  const sqWords = new Uint32Array(buffer, at, ENTRIES * SQE_WORDS);
  const cqWords = new Uint32Array(buffer, at + SQ_BYTES, ENTRIES * CQE_WORDS);
  const sq = new SubmissionQueue(1, ENTRIES, sqWords, doorbells, 2);
  const cq = new CompletionQueue(1, ENTRIES, cqWords, doorbells, 3);
  const cids = new CommandIds(depth);
  const load = new ReadLoad(sq, cq, cids);
  for (let i = 0; i < depth; i++) load.readNext();
  sq.ring();
  const start = performance.now();
  let end = start;
  for (let turns = 0; ; turns++) {
    load.turn();
    if ((turns & 1023) === 0) {
      end = performance.now();
      if (end - start > milliseconds) break;
    }
  }
  return (load.done / (end - start)) * 1000;
}

class ReadLoad {
  done = 0;
  private lbaLow = 0;

  constructor(
    private readonly sq: SubmissionQueue,
    private readonly cq: CompletionQueue,
    private readonly cids: CommandIds,
  ) {}

  readNext(): void {
    const { sq } = this;
    const lba = this.lbaLow;
    const prp = 0x1000_0000 + (lba & 0xff) * 4096;
    writeIoEntry(sq.words, sq.slot, OPCODE_READ, this.cids.take(), 1, lba, 0, 7, 0, prp, 1, 0, 0);
    sq.post();
    this.lbaLow = (lba + 8) >>> 0;
  }

  turn(): void {
    const { cq, cids } = this;
    const count = cq.reap(ENTRIES);
    if (count === 0) return;
    for (let i = 0; i < count; i++) {
      if ((cq.statuses[i] ?? 1) !== 0 || !cids.give(cq.cids[i] ?? -1)) throw new Error("a read failed");
      this.readNext();
    }
    this.done += count;
    cq.ring();
    this.sq.ring();
  }
}

const rounds = Number(process.argv[2] ?? 9);
const milliseconds = Number(process.argv[3] ?? 400);
const folder = mkdtempSync("/dev/shm/iova-rings-");
try {
  using device = compileC("rings/device.c");
  using host = compileC("rings/host.c");
  const runC = (load: Load): number => {
    using running = new Device(device.program, folder, load);
    const args = [running.file, String(load.depth), String(milliseconds)];
    const [done = 0, ns = 1] = execFileSync(host.program, args, { encoding: "utf8" }).split(" ").map(Number);
    return (done / ns) * 1e9;
  };
  const runOurs = (load: Load): number => {
    using running = new Device(device.program, folder, load);
    return runRings(running, load.depth, milliseconds);
  };
  for (const load of loads) {
    runOurs(load);
    const c: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < rounds; round++) {
      if (round % 2 === 0) {
        c.push(runC(load));
        ours.push(runOurs(load));
      } else {
        ours.push(runOurs(load));
        c.push(runC(load));
      }
    }
    const ratio = median(ours.map((rate, i) => rate / (c[i] ?? Number.NaN)));
    const mega = (rate: number): string => (rate / 1e6).toFixed(2).padStart(7);
    const verdict = ratio >= load.atLeast ? "" : `  below ${load.atLeast}`;
    process.stdout.write(
      `${load.name.padEnd(18)} C ${mega(median(c))} M/s   rings ${mega(median(ours))} M/s   ratio ${ratio.toFixed(3)}${verdict}\n`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
