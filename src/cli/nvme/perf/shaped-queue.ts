/**
 * A queue of `iova nvme perf` whose commands differ from each other: reads and writes, several sizes, SGLs, metadata, protection
 * information, a rate, and data that is verified. It costs more CPU time for each command than {@link PerfQueue}.
 */
import { PSDT_SGL } from "../../../nvme/command/sgl.js";
import { ProtectionInformation } from "../../../nvme/protection/information.js";
import { writeIoEntry } from "../../../nvme/queues/submission-entry.js";
import { IoOpcode } from "../../../nvme/spec/opcodes.js";
import { MPTR } from "../../../nvme/spec/queue-entries.js";
import { LatencyHistogram, wholeNs } from "./histogram.js";
import { PerfQueue, type PerfQueueSetup } from "./queue.js";
import { type PerfShape, Prinfo } from "./shape.js";
import { WrongBlockList, type WrongBlocks } from "./wrong-blocks.js";

const NS_PER_MS = 1e6;
const TWO_32 = 2 ** 32;
/** First bit of PRINFO in the upper half of CDW12. */
const PRINFO_SHIFT = 10;
/** Marks a unit that a command works on; the bits below count the writes to it. */
const BUSY = 0x80;

export class ShapedQueue extends PerfQueue {
  private readonly reads = new LatencyHistogram();
  private readonly writes = new LatencyHistogram();
  /** Slots without a command. */
  private readonly free: number[] = [];
  /** Of each slot's command: its first unit in the range, its size, and 1 for a write. */
  private readonly unit: Float64Array;
  private readonly size: Uint8Array;
  private readonly isWrite: Uint8Array;
  /** The range of this queue, in units of the smallest size. Queues that verify have ranges of their own. */
  private readonly firstUnit: number;
  private readonly units: number;
  /** Of each unit, if data is verified. */
  private readonly marks: Uint8Array;
  private readonly words: Uint32Array;
  private readonly information: ProtectionInformation | undefined;
  private readonly wrongBlocks = new WrongBlockList();
  /** A pass over the range: what it does, and its next unit. */
  private pass: "fill" | "check" | undefined;
  private passAt = 0;
  /** Whether completions count: until the measurement ends. */
  private counts = true;
  private moved = 0;
  private sentCommands = 0;
  private sentBytes = 0;
  private rateSince = 0;

  constructor(
    setup: PerfQueueSetup,
    private readonly shape: PerfShape,
  ) {
    super(setup);
    const { depth, places } = setup.plan;
    this.unit = new Float64Array(depth);
    this.size = new Uint8Array(depth);
    this.isWrite = new Uint8Array(depth);
    const { verify, protection } = shape;
    this.units = verify ? Math.floor(places / setup.of) : places;
    this.firstUnit = verify ? this.units * (setup.id - 1) : 0;
    this.marks = new Uint8Array(verify ? this.units : 0);
    this.place %= this.units;
    const { data } = setup.area;
    this.words = new Uint32Array(data.buffer, data.byteOffset, data.byteLength >> 2);
    this.information = protection === undefined ? undefined : new ProtectionInformation(protection);
    this.pass = verify ? "fill" : undefined;
  }

  override get kinds(): readonly LatencyHistogram[] {
    return [this.reads, this.writes];
  }

  override get bytes(): number {
    return this.moved;
  }

  override get wrong(): WrongBlocks | undefined {
    return this.shape.verify ? this.wrongBlocks.blocks : undefined;
  }

  override get isInPass(): boolean {
    return this.pass !== undefined;
  }

  override beginCheck(): boolean {
    if (!this.shape.verify) return false;
    this.pass = "check";
    this.passAt = 0;
    return true;
  }

  override reset(): void {
    for (const histogram of [this.latencies, ...this.kinds]) histogram.reset();
    this.moved = 0;
  }

  override start(): void {
    this.now.fill(performance.now());
    for (let slot = 0; slot < this.setup.plan.depth; slot++) this.free.push(slot);
    this.turn();
  }

  override turn(): number {
    const count = this.complete();
    const sent = this.submit();
    this.sq.ring();
    this.giveBack(count);
    return count + sent;
  }

  override drain(): number {
    this.counts = false;
    const count = this.complete();
    this.giveBack(count);
    return count;
  }

  private complete(): number {
    const { cq, since, isWrite } = this;
    const count = cq.reap(cq.entries);
    const now = performance.now();
    // Nothing is late while the queue waits for its rate.
    if (count > 0 || this.isIdle) this.now[0] = now;
    for (let i = 0; i < count; i++) {
      const slot = this.settle(i);
      const ns = wholeNs((now - (since[slot] ?? 0)) * NS_PER_MS);
      if (this.counts) {
        this.latencies.record(ns);
        (isWrite[slot] === 1 ? this.writes : this.reads).record(ns);
        this.moved += this.blocksOf(slot) * this.shape.blockSizeBytes;
      }
      this.finish(slot);
      this.free.push(slot);
    }
    return count;
  }

  private get isIdle(): boolean {
    return this.free.length === this.setup.plan.depth;
  }

  /** Submits what there are free slots for. @returns how many */
  private submit(): number {
    if (this.pass !== undefined && this.passAt === this.units && this.isIdle) {
      const isOver = this.pass === "check";
      this.pass = undefined;
      if (isOver) return 0;
    }
    let sent = 0;
    while (this.free.length > 0 && this.mayIssue()) {
      this.issueNext(this.free.pop() ?? 0);
      sent++;
    }
    return sent;
  }

  private mayIssue(): boolean {
    if (this.pass !== undefined) return this.passAt < this.units;
    const { commandRate, byteRate } = this.shape;
    if (commandRate === 0 && byteRate === 0) return true;
    const now = performance.now();
    if (this.rateSince === 0) this.rateSince = now;
    const seconds = (now - this.rateSince) / 1000;
    return (
      (commandRate === 0 || this.sentCommands <= seconds * commandRate) &&
      (byteRate === 0 || this.sentBytes <= seconds * byteRate)
    );
  }

  private issueNext(slot: number): void {
    const { shape, setup, sq, marks } = this;
    const { blockSizeBytes, verify, sgl, prinfo, readPercent } = shape;
    const size = this.chooseSize();
    const blocks = shape.sizes[size]?.blocks ?? 0;
    const units = blocks / setup.plan.blocks;
    const unit = this.pass === undefined ? this.chooseUnit(units) : this.passAt;
    const writes = this.pass === undefined ? this.draw(100) >= readPercent : this.pass === "fill";
    this.unit[slot] = unit;
    this.size[slot] = size;
    this.isWrite[slot] = Number(writes);
    if (this.pass === undefined) {
      this.sentCommands++;
      this.sentBytes += blocks * blockSizeBytes;
    } else this.passAt += units;
    if (verify)
      for (let at = unit; at < unit + units; at++)
        marks[at] = BUSY | (((marks[at] ?? 0) + Number(writes)) & ~BUSY);
    const lba = this.lbaOf(slot);
    if (writes) this.make(slot, lba);

    const { words, slot: entry } = sq;
    const { prps, area } = setup;
    const at = (size * setup.plan.depth + slot) << 2;
    writeIoEntry(
      words,
      entry,
      (writes ? IoOpcode.write : IoOpcode.read) | (sgl ? PSDT_SGL : 0),
      slot,
      setup.plan.nsid,
      lba >>> 0,
      Math.floor(lba / TWO_32),
      blocks - 1,
      prinfo << PRINFO_SHIFT,
      prps[at] ?? 0,
      prps[at + 1] ?? 0,
      prps[at + 2] ?? 0,
      prps[at + 3] ?? 0,
    );
    words[entry + MPTR] = area.pointers[2 * slot] ?? 0;
    words[entry + MPTR + 1] = area.pointers[2 * slot + 1] ?? 0;
    if (this.information !== undefined) {
      const { cdw2, cdw3, cdw14 } = this.information.tagDwords({ referenceTag: this.referenceTag(lba) });
      words[entry + 2] = cdw2;
      words[entry + 3] = cdw3;
      words[entry + 14] = cdw14;
      // All bits of the application tag, which is 0.
      words[entry + 15] = 0xffff_0000;
    }
    sq.post();
    this.isOutstanding[slot] = 1;
    this.since[slot] = performance.now();
  }

  private blocksOf(slot: number): number {
    return this.shape.sizes[this.size[slot] ?? 0]?.blocks ?? 0;
  }

  private lbaOf(slot: number): number {
    return (this.firstUnit + (this.unit[slot] ?? 0)) * this.setup.plan.blocks;
  }

  private chooseSize(): number {
    const { sizes } = this.shape;
    if (this.pass === undefined) {
      const at = this.draw(100);
      return sizes.findIndex(({ upTo }) => at < upTo);
    }
    const last = sizes.length - 1;
    return this.passAt + (sizes[last]?.blocks ?? 0) / this.setup.plan.blocks <= this.units ? last : 0;
  }

  /** The first of so many units that no command works on. There are twice as many units as all commands use. */
  private chooseUnit(count: number): number {
    let at = this.isRandom ? this.draw(this.units - count + 1) : this.place;
    for (let free = 0; free < count; at++) {
      if (at + count - free > this.units) {
        at = 0;
        free = 0;
      }
      free = ((this.marks[at] ?? 0) & BUSY) === 0 ? free + 1 : 0;
    }
    this.place = at;
    return at - count;
  }

  private referenceTag(lba: number): bigint {
    if (this.information === undefined || this.information.format.type === 3) return 0n;
    return BigInt.asUintN(this.information.referenceTagBits, BigInt(lba));
  }

  /** Whether the host makes and checks protection information: with the action bit the controller does. */
  private get hostProtects(): ProtectionInformation | undefined {
    return (this.shape.prinfo & Prinfo.action) === 0 ? this.information : undefined;
  }

  /** The bytes of a command: its data, with interleaved metadata, and separate metadata. */
  private bytesOf(slot: number): [data: Uint8Array, metadata: Uint8Array | undefined] {
    const { data, slotBytes, metadata, metadataSlotBytes } = this.setup.area;
    const { strideBytes, metadataBytes } = this.shape;
    const blocks = this.blocksOf(slot);
    const from = slot * slotBytes;
    const metadataFrom = slot * metadataSlotBytes;
    return [
      data.subarray(from, from + blocks * strideBytes),
      metadata?.subarray(metadataFrom, metadataFrom + blocks * metadataBytes),
    ];
  }

  /** Makes the data of a write. */
  private make(slot: number, lba: number): void {
    if (this.shape.verify) this.pattern(slot, lba, false);
    this.hostProtects?.generate(...this.bytesOf(slot), { referenceTag: this.referenceTag(lba) });
  }

  /** Looks at the data of a command that is done. @throws NvmeError: right data with wrong protection information */
  private finish(slot: number): void {
    const { shape, marks } = this;
    const blocks = this.blocksOf(slot);
    const lba = this.lbaOf(slot);
    if (this.isWrite[slot] === 0 && (!shape.verify || this.pattern(slot, lba, true))) {
      this.hostProtects?.check(...this.bytesOf(slot), {
        referenceTag: this.referenceTag(lba),
        guard: (shape.prinfo & Prinfo.guard) !== 0,
        reference: (shape.prinfo & Prinfo.reference) !== 0,
        applicationTagMask: (shape.prinfo & Prinfo.application) === 0 ? 0 : 0xffff,
      });
    }
    if (!shape.verify) return;
    const first = this.unit[slot] ?? 0;
    const end = first + blocks / this.setup.plan.blocks;
    for (let at = first; at < end; at++) marks[at] = (marks[at] ?? 0) & ~BUSY;
  }

  /**
   * Writes what blocks hold, which depends on their addresses and on how often they were written, or compares it.
   * @returns whether all are right; notes those that aren't
   */
  private pattern(slot: number, lba: number, compares: boolean): boolean {
    let isRight = true;
    const { words, marks, setup, shape } = this;
    const blocks = this.blocksOf(slot);
    const unit = this.unit[slot] ?? 0;
    for (let block = 0; block < blocks; block++) {
      const count = (marks[unit + Math.floor(block / setup.plan.blocks)] ?? 0) & ~BUSY;
      const from = (slot * setup.area.slotBytes + block * shape.strideBytes) >> 2;
      const end = from + (shape.blockSizeBytes >> 2);
      const high = Math.floor((lba + block) / TWO_32);
      let x = (Math.imul(lba + block, 0x9e37_79b1) ^ Math.imul(count + 1, 0x85eb_ca6b) ^ high) | 1;
      for (let at = from; at < end; at++) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
        if (!compares) words[at] = x;
        else if (((words[at] ?? 0) ^ x) !== 0) {
          const byte = (at - from) * 4;
          this.wrongBlocks.add({ lba: lba + block, byte, found: words[at] ?? 0, expected: x >>> 0 });
          isRight = false;
          break;
        }
      }
    }
    return isRight;
  }
}
