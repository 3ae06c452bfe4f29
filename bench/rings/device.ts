/** Memory with a queue pair, shared with the C programs of this folder, and their controller working on it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, ftruncateSync, openSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { CQE_WORDS } from "../../src/nvme/queues/completion-queue.js";
import { SQE_WORDS } from "../../src/nvme/queues/submission-queue.js";
import { MappedMemory } from "../../src/sys/memory.js";

export const ENTRIES = 1024;
const SQ_BYTES = ENTRIES * SQE_WORDS * 4;
const CQ_BYTES = ENTRIES * CQE_WORDS * 4;
const PAGE = 4096;
const DOORBELLS_AT = SQ_BYTES + CQ_BYTES;
const READY_AT = DOORBELLS_AT + PAGE;
const QUIT_AT = READY_AT + PAGE;
const MEMORY_BYTES = QUIT_AT + PAGE;

/** Of queue 1, in words. */
export const SQ_DOORBELL = 2;
export const CQ_DOORBELL = 3;

/** How fast the controller is. */
export interface Speed {
  /** Commands per second; 0 without limit. */
  readonly rate: number;
  readonly latencyNs: number;
}

export class SharedQueues implements Disposable {
  readonly file: string;
  readonly sqWords: Uint32Array;
  readonly cqWords: Uint32Array;
  readonly doorbells: Uint32Array;
  protected readonly words: Uint32Array;
  private readonly parts: readonly MappedMemory[];

  constructor(folder: string) {
    this.file = join(folder, "rings");
    rmSync(this.file, { force: true });
    const fd = openSync(this.file, "w+");
    ftruncateSync(fd, MEMORY_BYTES);
    const all = MappedMemory.ofFile(fd, 0, MEMORY_BYTES, "rings");
    this.sq = MappedMemory.ofFile(fd, 0, SQ_BYTES, "submission queue");
    this.cq = MappedMemory.ofFile(fd, SQ_BYTES, CQ_BYTES, "completion queue");
    closeSync(fd);
    this.parts = [all, this.sq, this.cq];
    this.words = all.words;
    this.sqWords = this.sq.words;
    this.cqWords = this.cq.words;
    this.doorbells = this.words.subarray(DOORBELLS_AT / 4, DOORBELLS_AT / 4 + 4);
  }

  /** The rings, as memory of their own. */
  readonly sq: MappedMemory;
  readonly cq: MappedMemory;

  [Symbol.dispose](): void {
    for (const part of this.parts) part.close();
  }
}

/** The controller runs on the last processor if there are two, and its host on the first. */
const [ownCpu, deviceCpu] = [0, availableParallelism() - 1];

/** Keeps this thread, and the programs that it starts, off the controller's processor. */
export function keepToOwnCpu(): void {
  execFileSync("taskset", ["-cp", String(ownCpu), String(process.pid)], { stdio: "ignore" });
}

/** With the C controller on it. */
export class Device extends SharedQueues {
  private readonly child: ChildProcess;

  constructor(program: string, folder: string, { rate, latencyNs }: Speed) {
    super(folder);
    const args = ["-c", String(deviceCpu), program, this.file, String(rate), String(latencyNs)];
    this.child = spawn("taskset", args, { stdio: ["ignore", "inherit", "inherit"] });
    while (Atomics.load(this.words, READY_AT / 4) === 0) {
      // It starts on the other processor.
    }
  }

  override [Symbol.dispose](): void {
    this.words[QUIT_AT / 4] = 1;
    this.child.unref();
    super[Symbol.dispose]();
  }
}

/** The controller in turns with its host on one thread, as complete_next() in rings.h does in C. */
export class InlineController {
  private head = 0;
  private tail = 0;
  private phase = 1;

  constructor(private readonly queues: SharedQueues) {}

  completeAll(): void {
    const { sqWords, cqWords, doorbells } = this.queues;
    const end = doorbells[SQ_DOORBELL] ?? 0;
    while (this.head !== end) {
      const cid = (sqWords[this.head * SQE_WORDS] ?? 0) >>> 16;
      this.head = (this.head + 1) % ENTRIES;
      const at = this.tail * CQE_WORDS;
      cqWords[at] = 0;
      cqWords[at + 1] = 0;
      cqWords[at + 2] = this.head | (1 << 16);
      cqWords[at + 3] = cid | (this.phase << 16);
      if (++this.tail === ENTRIES) {
        this.tail = 0;
        this.phase ^= 1;
      }
    }
  }
}
