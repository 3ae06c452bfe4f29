/** The rings of a split virtqueue (Virtual I/O Device 1.2, section 2.7). */
import type { DmaSpace } from "iova";
import { bit, descriptorLayout, fullFence, publish, reg16, reg32, reg64 } from "iova/pci";
import { VirtioError } from "./error.js";
import type { Part, Used, VirtqueueRing } from "./ring-format.js";
import { DescriptorFlag, INDEX_MASK, RingMemory } from "./ring-memory.js";

const Descriptor = descriptorLayout("virtq_desc", 16, {
  address: reg64(0),
  length: reg32(8),
  flags: reg16(12, { fields: { next: bit(0), deviceWrites: bit(1), indirect: bit(2) } }),
  next: reg16(14),
});
/** Flags, index, then one of these for each slot, then the event index. */
const Available = descriptorLayout("virtq_avail", 2, { value: reg16(0) });
/** After flags and index. */
const UsedElement = descriptorLayout("virtq_used_elem", 8, {
  id: reg32(0, { access: "ro" }),
  length: reg32(4, { access: "ro" }),
});

const { next: NEXT, deviceWrites: DEVICE_WRITES, indirect: INDIRECT } = DescriptorFlag;
/** Of the halves before the entries. */
const FLAGS = 0;
const INDEX = 1;
const HEAD_HALVES = 2;
const USED_HEAD_BYTES = 4;
const NO_NOTIFY = 1;

/** Descriptors in a table, and two rings that say which of them the other side may have. */
export class SplitRing implements VirtqueueRing {
  readonly memory: RingMemory;
  private readonly descriptors: ReturnType<typeof Descriptor.on>;
  private readonly available: ReturnType<typeof Available.on>["value"];
  private readonly used: ReturnType<typeof UsedElement.on>;
  /** The device's flags and index, and behind its entries what it wants to be notified at. */
  private readonly usedHalves: ReturnType<typeof Available.on>["value"];
  /** The descriptors of each request, by its first one. The device could have changed what is in the table. */
  private readonly chains: (readonly number[] | undefined)[];

  constructor(
    dma: DmaSpace,
    private readonly slots: number,
    private readonly hasEventIndex: boolean,
  ) {
    const memory = new RingMemory(dma, slots, {
      descriptors: slots * Descriptor.sizeBytes,
      driver: (HEAD_HALVES + slots + 1) * 2,
      // The entries have words of 32 bits at 4 bytes behind its start.
      device: USED_HEAD_BYTES + slots * UsedElement.sizeBytes + 2,
    });
    this.memory = memory;
    this.descriptors = Descriptor.on(memory.descriptors);
    this.available = Available.on(memory.driver).value;
    this.usedHalves = Available.on(memory.device).value;
    this.used = UsedElement.on(memory.device.subarray(USED_HEAD_BYTES));
    this.chains = new Array<readonly number[] | undefined>(slots).fill(undefined);
  }

  get free(): number {
    return this.memory.free.length;
  }

  add(parts: readonly Part[], table = false): number {
    const { free, filled } = this.memory;
    const chain = free.splice(free.length - parts.length);
    this.fill(chain, parts, table ? INDIRECT : 0);
    const head = chain[0] ?? 0;
    this.chains[head] = chain;
    this.available.write(HEAD_HALVES + filled.advance(), head);
    return head;
  }

  /** Section 2.7.10 says when the device wants to be notified. */
  publish(): boolean {
    const before = this.available.read(INDEX);
    const now = this.memory.filled.passed & INDEX_MASK;
    publish();
    this.available.write(INDEX, now);
    fullFence();
    if (!this.hasEventIndex) return (this.usedHalves.read(FLAGS) & NO_NOTIFY) === 0;
    const event = this.usedHalves.read(HEAD_HALVES + this.slots * 4);
    return ((now - event - 1) & INDEX_MASK) < ((now - before) & INDEX_MASK);
  }

  next(): Used | undefined {
    const ready = (this.usedHalves.read(INDEX) - this.memory.taken.passed) & INDEX_MASK;
    if (ready === 0) return undefined;
    if (ready > this.slots)
      throw new VirtioError(`the device used ${ready} requests: the ring has ${this.slots}`);
    const at = this.memory.taken.advance();
    const id = this.used.id.read(at);
    const chain = this.chains[id];
    if (chain === undefined) throw new VirtioError(`the device used request ${id}, which isn't outstanding`);
    this.chains[id] = undefined;
    for (const slot of chain) this.memory.free.push(slot);
    return { id, writtenBytes: this.used.length.read(at) };
  }

  arm(): boolean {
    if (!this.hasEventIndex) return false;
    this.available.write(HEAD_HALVES + this.slots, this.memory.taken.passed & INDEX_MASK);
    fullFence();
    return this.usedHalves.read(INDEX) !== (this.memory.taken.passed & INDEX_MASK);
  }

  writeTable(memory: Uint8Array, parts: readonly Part[]): void {
    const { address, length, flags, next } = Descriptor.on(memory);
    for (const [i, part] of parts.entries()) {
      const isLast = i + 1 === parts.length;
      address.write(i, part.iova);
      length.write(i, part.sizeBytes);
      flags.write(i, (isLast ? 0 : NEXT) | (part.deviceWrites ? DEVICE_WRITES : 0));
      next.write(i, isLast ? 0 : i + 1);
    }
  }

  private fill(chain: readonly number[], parts: readonly Part[], more: number): void {
    const { address, length, flags, next } = this.descriptors;
    for (const [i, slot] of chain.entries()) {
      const part = parts[i];
      if (part === undefined) return;
      const following = chain[i + 1];
      address.write(slot, part.iova);
      length.write(slot, part.sizeBytes);
      flags.write(
        slot,
        more | (following === undefined ? 0 : NEXT) | (part.deviceWrites ? DEVICE_WRITES : 0),
      );
      next.write(slot, following ?? 0);
    }
  }
}
